"""The license registry: changes, their history, and whose key is whose."""

import json
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from places import ROOT

from telemetry_server.check.filters.filter_fields import CUSTOMERS, LICENSES
from telemetry_server.check.filters.parser import parse_filter
from telemetry_server.check.licenses.columns import license_row
from telemetry_server.keyring import license_key_digest, open_keyring
from telemetry_server.model import (
    UNSET,
    Author,
    CustomerPatch,
    LicensePatch,
    LicenseRow,
    LicenseSource,
    LicenseStatus,
    LicenseType,
    Overage,
)
from telemetry_server.store.registry.customers import (
    CustomerExists,
    CustomerUnnamed,
    NoSuchCustomer,
    change_customer,
    create_customer,
    customer_by_id,
    list_customers,
)
from telemetry_server.store.registry.history import ChangeOutcome, Entity, history
from telemetry_server.store.registry.license_changes import change_license, create_license, keep_licenses
from telemetry_server.store.registry.licenses import (
    LicenseExists,
    NoSuchLicense,
    WrongLicense,
    key_hashes,
    license_by_id,
    licenses_by_key_hash,
    list_licenses,
)
from telemetry_server.store.registry.products import add_product
from telemetry_server.store.registry.releases import (
    Edition,
    Release,
    editions_of,
    keep_edition,
    keep_release,
    releases_of,
)

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MARIA = Author("cli:maria", "a call from the customer")
KEY = "ACME-1234-5678-7Q2K"


@pytest.fixture
async def hashes(connection, tmp_path):
    """Keys of the product acme-billing, beside which there is acme-hosting."""
    await add_product(connection, "ACME Billing", now=NOW)
    await add_product(connection, "ACME Hosting", now=NOW)
    return await key_hashes(connection, open_keyring(tmp_path / "keyring.json"), "acme-billing")


@pytest.fixture
def keep(connection, hashes):
    """Keeps rows of (key, patch)."""

    async def keep(*rows, now=NOW, **options):
        numbered = [LicenseRow(line, key, None, patch) for line, (key, patch) in enumerate(rows, 1)]
        return await keep_licenses(connection, hashes, numbered, by=MARIA, now=now, **options)

    return keep


def row(key=KEY, **patch):
    return key, LicensePatch(**patch)


async def everything(connection):
    """All rows of the registry, to see that nothing was written."""
    tables = ("licenses", "license_keys", "customers", "registry_changes")
    return {table: await connection.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in tables}


def test_a_key_has_the_digest_it_has_on_the_wire():
    for vector in json.loads((ROOT / "tests" / "wire" / "key_digests.json").read_text()):
        assert license_key_digest(vector["product"], vector["license_key"]) == vector["key_digest"]


async def test_a_license_is_kept_as_it_was_said(connection, hashes):
    patch = LicensePatch(
        status=LicenseStatus.SUSPENDED,
        type=LicenseType.SUBSCRIPTION,
        source=LicenseSource.MARKETPLACE,
        source_detail="codecanyon",
        order_reference="A-1",
        edition="pro",
        seats=3,
        overage=Overage.HALF,
        domains=("example.com", "*.example.org"),
        addresses=("192.0.2.0/24", "2001:db8::1"),
        addresses_enforced=False,
        directories=("/var/www/a b",),
        free_environments=("testing",),
        starts_at=NOW,
        expires_at=LATER,
        custom={"deal": "Q4", "tier": 2},
        customer=CustomerPatch(email="ann@example.com", name="Ann"),
    )
    made = await create_license(connection, hashes, KEY, patch, by=MARIA, now=NOW)
    for name in LicensePatch.__dataclass_fields__:
        if name not in {"customer", "customer_id"}:
            assert getattr(made, name) == getattr(patch, name), name
    assert made.key_hint == "7Q2K"
    assert made.product == "acme-billing"
    assert made.stale
    customer = await customer_by_id(connection, made.customer_id)
    assert (customer.email, customer.name, customer.company) == ("ann@example.com", "Ann", None)


async def test_the_key_is_found_by_the_hash_that_pings_carry(connection, hashes):
    made = await create_license(connection, hashes, f" {KEY} ", LicensePatch(), by=MARIA, now=NOW)
    carried = hashes.keyring.license_key_hash(license_key_digest("acme-billing", KEY))
    assert await licenses_by_key_hash(connection, [carried]) == {carried: made}


async def test_nothing_of_the_key_is_kept_but_hashes_and_a_hint(connection, keep):
    await keep(row("a-secret-license-key", custom={"x": "y"}), row("short"))
    kept = str(await everything(connection))
    assert "secret" not in kept
    assert "short" not in kept


async def test_a_key_is_known_under_the_slug_of_every_product(connection, hashes, keep):
    await keep(row())
    [found] = await list_licenses(connection, now=NOW)
    rows = await connection.fetch("SELECT * FROM license_keys JOIN products USING (product_id)")
    assert {(each["slug"], each["key_hash"]) for each in rows} == {
        (slug, hashes.keyring.hash_of_key(slug, KEY)) for slug in ("acme-billing", "acme-hosting")
    }
    assert {each["license_id"] for each in rows} == {found.license_id}


async def test_a_key_that_comes_again_is_made_known_to_products_that_came_since(connection, hashes, keep):
    await keep(row())
    await connection.execute("UPDATE licenses SET stale = false")
    await add_product(connection, "ACME Mail", now=LATER)
    again = await key_hashes(connection, hashes.keyring, "acme-billing")
    batch = await keep_licenses(
        connection, again, [LicenseRow(1, KEY, None, LicensePatch())], by=MARIA, now=LATER
    )
    assert batch.rows[0].outcome is ChangeOutcome.UNCHANGED
    assert await connection.fetchval("SELECT count(*) FROM license_keys") == 3
    assert await connection.fetchval("SELECT stale FROM licenses")


async def test_one_key_may_be_sold_for_two_products(connection, hashes, keep):
    await keep(row())
    hosting = await key_hashes(connection, hashes.keyring, "acme-hosting")
    await create_license(connection, hosting, KEY, LicensePatch(), by=MARIA, now=NOW)
    own = await connection.fetch("""
        SELECT k.product_id AS hashed_for, l.product_id
        FROM license_keys AS k JOIN licenses AS l USING (license_id)
    """)
    assert len(own) == 2
    assert all(each["hashed_for"] == each["product_id"] for each in own)


async def test_a_row_that_says_nothing_new_writes_nothing(connection, keep):
    rows = (row(seats=2, customer=CustomerPatch(email="ann@example.com")), row("KEY-2-OF-TWO"))
    await keep(*rows)
    before = await everything(connection)
    batch = await keep(*rows, now=LATER)
    assert [kept.outcome for kept in batch.rows] == [ChangeOutcome.UNCHANGED] * 2
    assert batch.customers == []
    assert await everything(connection) == before


async def test_a_dry_run_tells_the_same_and_writes_nothing(connection, keep):
    await keep(row(seats=2))
    before = await everything(connection)
    rows = (row(seats=3, customer=CustomerPatch(name="Ann")), row("KEY-2-OF-TWO"))
    dry = await keep(*rows, dry_run=True)
    assert await everything(connection) == before
    done = await keep(*rows)
    assert [kept.outcome for kept in dry.rows] == [kept.outcome for kept in done.rows]
    assert dry.rows[0].before["seats"] == done.rows[0].before["seats"] == 2


async def test_every_change_is_in_the_history_with_who_and_why_and_what_changed(connection, keep):
    await keep(row(seats=2, source=LicenseSource.DIRECT))
    batch = await keep(row(seats=5, source=LicenseSource.DIRECT, expires_at=NOW), now=LATER)
    license_id = str(batch.rows[0].license_id)
    newest, first = await history(connection, Entity.LICENSE, license_id)
    assert (newest.actor, newest.reason, newest.changed_at) == ("cli:maria", MARIA.reason, LATER)
    assert newest.before == {"seats": 2, "expires_at": None}
    assert newest.after == {"seats": 5, "expires_at": "2026-11-22T10:00:00Z"}
    assert first.before is None
    assert first.after["seats"] == 2
    assert "expires_at" not in first.after


async def test_the_history_is_read_page_by_page(connection, keep):
    for seats in range(1, 6):
        batch = await keep(row(seats=seats), now=NOW + timedelta(seconds=seats))
    license_id = str(batch.rows[0].license_id)
    newest = await history(connection, Entity.LICENSE, license_id, limit=2)
    older = await history(
        connection, Entity.LICENSE, license_id, before=(newest[-1].changed_at, newest[-1].change_id)
    )
    assert [change.after["seats"] for change in (*newest, *older)] == [5, 4, 3, 2, 1]


async def test_a_change_sets_stale_and_leaves_the_count_of_seats(connection, keep):
    batch = await keep(row())
    await connection.execute("UPDATE licenses SET stale = false, seats_used = 7")
    _, found = await change_license(
        connection,
        batch.rows[0].license_id,
        LicensePatch(status=LicenseStatus.REVOKED),
        by=MARIA,
        now=LATER,
    )
    assert (found.status, found.stale, found.seats_used) == (LicenseStatus.REVOKED, True, 7)
    assert (found.created_at, found.updated_at) == (NOW, LATER)


async def test_unset_leaves_a_field_and_none_clears_it(connection, keep):
    await keep(
        row(seats=2, edition="pro", overage=Overage.ANY, free_environments=(), custom={"a": 1, "b": 2})
    )
    await keep(row(seats=None, overage=None, free_environments=None, custom={"a": None, "c": 3}))
    [found] = await list_licenses(connection, now=NOW)
    assert (found.seats, found.edition, found.overage) == (None, "pro", Overage.NONE)
    assert found.free_environments == ("development", "staging")
    assert found.custom == {"b": 2, "c": 3}


async def test_a_license_of_a_key_is_made_once(connection, hashes):
    await create_license(connection, hashes, KEY, LicensePatch(), by=MARIA, now=NOW)
    with pytest.raises(LicenseExists):
        await create_license(connection, hashes, KEY, LicensePatch(seats=1), by=MARIA, now=NOW)
    with pytest.raises(NoSuchLicense):
        await change_license(connection, uuid4(), LicensePatch(), by=MARIA, now=NOW)


async def test_a_license_ends_after_it_starts_whichever_date_is_told(connection, hashes, keep):
    made = await create_license(connection, hashes, KEY, LicensePatch(starts_at=LATER), by=MARIA, now=NOW)
    batch = await keep(row(expires_at=NOW))
    assert batch.rows[0].outcome is ChangeOutcome.WRONG
    assert batch.rows[0].problem.column == "expires_at"
    with pytest.raises(WrongLicense, match="is not after starts_at"):
        await change_license(connection, made.license_id, LicensePatch(expires_at=LATER), by=MARIA, now=NOW)
    assert await license_by_id(connection, made.license_id) == made


async def test_a_wrong_row_leaves_nothing_and_the_good_ones_are_kept(connection, keep):
    customer = CustomerPatch(email="ann@example.com")
    batch = await keep(
        row("KEY-1-OF-THREE"),
        row("KEY-2-OF-THREE", starts_at=LATER, expires_at=NOW, customer=customer),
        row("KEY-3-OF-THREE", customer_id=uuid4()),
    )
    assert [kept.outcome for kept in batch.rows] == [
        ChangeOutcome.NEW,
        ChangeOutcome.WRONG,
        ChangeOutcome.WRONG,
    ]
    assert await connection.fetchval("SELECT count(*) FROM licenses") == 1
    assert await list_customers(connection, now=NOW) == []


async def test_two_rows_about_one_key_must_say_the_same(connection, keep):
    batch = await keep(row(seats=2), row(seats=2), row(seats=3))
    assert [kept.outcome for kept in batch.rows] == [
        ChangeOutcome.NEW,
        ChangeOutcome.REPEATED,
        ChangeOutcome.WRONG,
    ]
    assert "line 1 is about the same license" in batch.rows[2].problem.detail
    assert (await list_licenses(connection, now=NOW))[0].seats == 2


async def test_a_license_of_another_product_is_not_found_by_its_id(connection, hashes, keep):
    batch = await keep(row())
    hosting = await key_hashes(connection, hashes.keyring, "acme-hosting")
    rows = [LicenseRow(1, None, batch.rows[0].license_id, LicensePatch(seats=9))]
    refused = await keep_licenses(connection, hosting, rows, by=MARIA, now=NOW)
    assert refused.rows[0].outcome is ChangeOutcome.WRONG
    taken = await keep_licenses(connection, hashes, rows, by=MARIA, now=NOW)
    assert taken.rows[0].outcome is ChangeOutcome.CHANGED


async def test_the_longest_and_the_strangest_that_is_let_through_can_be_kept(connection, hashes):
    wide = "\U0001f511"
    cells = {
        "key": wide * 512,
        "source_detail": wide * 256,
        "order_reference": wide * 256,
        "edition": wide * 64,
        "seats": str(2**31 - 1),
        "customer_email": f"{wide * 248}@a.bcd",
        "customer_name": wide * 256,
        "customer_company": "\"\\'",
        "customer_tax_id": wide * 64,
        "customer_technical_contact": "a\nb\tc",
        "domains": [f"{n}.{'ä' * 60}.example" for n in range(100)],
        "addresses": ["0.0.0.0/0", "::/0", "::ffff:192.0.2.1", "192.0.2.1/31", "255.255.255.255"],
        "directories": [f"/{wide * 1000}{n}" for n in range(20)],
        "free_environments": [wide * 64],
        "starts_at": "1970-01-01",
        "expires_at": "9999-12-31T23:59:59.999999Z",
        "custom": {f"{'n' * 62}{n:02}": wide * 1000 for n in range(46)}
        | {"int": 2**53 - 1, "float": 0.1, "tiny": 5e-324, "no": False},
    }
    row = license_row(1, cells)
    assert isinstance(row, LicenseRow), row
    for outcome in (ChangeOutcome.NEW, ChangeOutcome.UNCHANGED):
        batch = await keep_licenses(connection, hashes, [row], by=MARIA, now=NOW)
        assert batch.rows[0].outcome is outcome
        assert batch.customers == [] or outcome is ChangeOutcome.NEW


# ── customers ───────────────────────────────────────────────────────────────────────────────


async def test_licenses_of_one_email_have_one_customer(connection, keep):
    await keep(
        row("KEY-1-OF-THREE", customer=CustomerPatch(email="ann@example.com", name="Ann")),
        row("KEY-2-OF-THREE", customer=CustomerPatch(email="ann@example.com", company="ACME")),
    )
    await keep(row("KEY-3-OF-THREE", customer=CustomerPatch(email="ann@example.com")))
    [customer] = await list_customers(connection, now=NOW)
    assert (customer.name, customer.company) == ("Ann", "ACME")
    assert (
        len(
            await list_licenses(
                connection, parse_filter(f"customer={customer.customer_id}", LICENSES), now=NOW
            )
        )
        == 3
    )


async def test_a_customer_without_email_is_the_licenses_own(connection, keep):
    await keep(
        row("KEY-1-OF-TWO", customer=CustomerPatch(name="Bob")),
        row("KEY-2-OF-TWO", customer=CustomerPatch(name="Bob")),
    )
    assert len(await list_customers(connection, now=NOW)) == 2
    batch = await keep(row("KEY-1-OF-TWO", customer=CustomerPatch(name="Robert")), now=LATER)
    assert batch.rows[0].outcome is ChangeOutcome.UNCHANGED
    assert batch.customers[0].after() == {"name": "Robert"}
    assert {customer.name for customer in await list_customers(connection, now=NOW)} == {"Bob", "Robert"}


async def test_another_email_is_another_customer(connection, keep):
    await keep(row(customer=CustomerPatch(email="ann@example.com", name="Ann")))
    batch = await keep(row(customer=CustomerPatch(email="bob@example.com", name="Bob")))
    assert batch.rows[0].outcome is ChangeOutcome.CHANGED
    assert sorted(customer.name for customer in await list_customers(connection, now=NOW)) == ["Ann", "Bob"]


async def test_a_license_lets_go_of_its_customer(connection, keep):
    await keep(row(customer=CustomerPatch(email="ann@example.com")))
    await keep(row(customer=None))
    [found] = await list_licenses(connection, now=NOW)
    assert found.customer_id is None
    assert len(await list_customers(connection, now=NOW)) == 1


async def test_a_customer_is_made_and_changed_with_its_history(connection):
    made = await create_customer(
        connection, CustomerPatch(email="ann@example.com", custom={"crm": "17"}), by=MARIA, now=NOW
    )
    outcome, changed = await change_customer(
        connection, made.customer_id, CustomerPatch(company="ACME", custom={"crm": None}), by=MARIA, now=LATER
    )
    assert outcome is ChangeOutcome.CHANGED
    assert changed == msgspec.structs.replace(made, company="ACME", custom={}, updated_at=LATER)
    newest, _ = await history(connection, Entity.CUSTOMER, str(made.customer_id))
    assert newest.before == {"company": None, "custom": {"crm": "17"}}
    assert newest.after == {"company": "ACME", "custom": {}}
    again, _ = await change_customer(connection, made.customer_id, CustomerPatch(), by=MARIA, now=LATER)
    assert again is ChangeOutcome.UNCHANGED


async def test_customers_are_told_apart(connection):
    ann = await create_customer(connection, CustomerPatch(email="ann@example.com"), by=MARIA, now=NOW)
    bob = await create_customer(connection, CustomerPatch(email="bob@example.com"), by=MARIA, now=NOW)
    with pytest.raises(CustomerExists):
        await create_customer(connection, CustomerPatch(email="ann@example.com"), by=MARIA, now=NOW)
    with pytest.raises(CustomerExists, match=str(ann.customer_id)):
        await change_customer(
            connection, bob.customer_id, CustomerPatch(email="ann@example.com"), by=MARIA, now=NOW
        )
    with pytest.raises(CustomerUnnamed):
        await change_customer(connection, bob.customer_id, CustomerPatch(email=None), by=MARIA, now=NOW)
    with pytest.raises(NoSuchCustomer):
        await change_customer(connection, uuid4(), CustomerPatch(), by=MARIA, now=NOW)
    assert await list_customers(connection, parse_filter("email=BOB@example.com", CUSTOMERS), now=NOW) == [
        bob
    ]
    assert await list_customers(connection, now=NOW, after=ann.customer_id) == [bob]


# ── finding ─────────────────────────────────────────────────────────────────────────────────


async def test_licenses_are_found_by_order_and_listed_page_by_page(connection, keep):
    await keep(*(row(f"KEY-{n}-OF-FIVE", order_reference=f"A-{n % 2}") for n in range(5)))

    async def listed(asked, **page):
        return await list_licenses(connection, parse_filter(asked, LICENSES), now=NOW, **page)

    assert len(await listed("order=A-0")) == 3
    first = await listed("product=acme-billing", limit=3)
    rest = await listed("product=acme-billing", after=first[-1].license_id)
    assert len({found.license_id for found in (*first, *rest)}) == 5
    assert await listed("product=acme-hosting") == []
    assert await listed("status=revoked") == []


# ── editions and releases ───────────────────────────────────────────────────────────────────


async def test_an_edition_is_made_once_and_renamed_with_history(connection, hashes):
    for name, outcome in (("Pro", "new"), ("Pro", "unchanged"), ("Professional", "changed")):
        edition = Edition("pro", name)
        assert await keep_edition(connection, hashes.product, edition, by=MARIA, now=NOW) == outcome
    assert await editions_of(connection, hashes.product) == [Edition("pro", "Professional")]
    assert len(await history(connection, Entity.EDITION, "acme-billing/pro")) == 2


async def test_a_release_gathers_its_builds(connection, hashes):
    for version in ("7.9", "7.10"):
        await keep_release(connection, hashes.product, Release(version, None, ("a" * 64,)), by=MARIA, now=NOW)
    outcome, release = await keep_release(
        connection,
        hashes.product,
        Release("7.10", date(2026, 11, 1), ("b" * 64, "a" * 64)),
        by=MARIA,
        now=LATER,
    )
    assert outcome is ChangeOutcome.CHANGED
    assert release == Release("7.10", date(2026, 11, 1), ("a" * 64, "b" * 64))
    assert [each.version for each in await releases_of(connection, hashes.product)] == ["7.10", "7.9"]
    newest, _ = await history(connection, Entity.RELEASE, "acme-billing/7.10")
    assert newest.after == {"released_on": "2026-11-01", "builds": ["a" * 64, "b" * 64]}


# ── beside others ───────────────────────────────────────────────────────────────────────────


async def test_one_change_waits_for_the_other(connection, database, hashes):
    """Without the lock the second would not see the first's license, and fail on its key."""
    import asyncio

    other = await asyncpg.connect(database)
    try:
        transaction = connection.transaction()
        await transaction.start()
        rows = [LicenseRow(1, KEY, None, LicensePatch(customer=CustomerPatch(email="ann@example.com")))]
        await keep_licenses(connection, hashes, rows, by=MARIA, now=NOW)
        second = asyncio.ensure_future(keep_licenses(other, hashes, rows, by=MARIA, now=NOW))
        await asyncio.wait([second], timeout=0.3)
        assert not second.done()
        await transaction.commit()
        assert (await second).rows[0].outcome is ChangeOutcome.UNCHANGED
    finally:
        await other.close()


def test_a_patch_says_nothing_unless_it_is_told():
    assert {getattr(LicensePatch(), name) for name in LicensePatch.__dataclass_fields__} == {UNSET}
    assert UUID(int=0) != UNSET
