"""Files that spreadsheets, databases and other systems wrote, imported into a real registry.

One test for each file of foreign_files/: what the registry holds afterwards, or what is said of the rows.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.rows import RowFormat, WrongFile
from telemetry_server.enrich.verdict import Claim, judge, never_matching
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author, LicenseRow
from telemetry_server.store.ingest import grant_cache
from telemetry_server.store.ingest.grant_cache import grant_of
from telemetry_server.store.registry.customers import customer_by_id, list_customers
from telemetry_server.store.registry.history import ChangeOutcome
from telemetry_server.store.registry.license_import import importing
from telemetry_server.store.registry.licenses import key_hashes, licenses_by_key_hash, list_licenses
from telemetry_server.store.registry.products import add_product

pytestmark = pytest.mark.every_postgres

FILES = Path(__file__).parent / "foreign_files"
NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
BY = Author("cli:maria")
ELSEWHERE = "198.51.100.9"
ELSEWHERE_6 = "2a02:898::1"


class Registry:
    """A registry that takes files, and what came of the last one."""

    def __init__(self, connection, hashes):
        self.connection, self.hashes = connection, hashes
        self.problems, self.alike = {}, []

    async def take(self, name, mapping=None, **options):
        """How many rows came to what."""
        with (FILES / name).open("rb") as file:
            found = list(LicenseFile(file, RowFormat.CSV, mapping, today=NOW.date(), **options))
        self.rows = [each for each in found if isinstance(each, LicenseRow)]
        self.problems = {
            each.line: f"{each.column}: {each.detail}"
            for row in found
            if not isinstance(row, LicenseRow)
            for each in row
        }
        async with importing(self.connection, self.hashes, by=BY) as run:
            batch = await run.take(self.rows, now=NOW)
        self.alike = batch.alike
        counts = dict.fromkeys(ChangeOutcome, 0)
        for kept in batch.rows:
            counts[kept.outcome] += 1
        counts[ChangeOutcome.WRONG] += len(self.problems)
        return {outcome.value: count for outcome, count in counts.items() if count}

    async def license(self, key):
        own = self.hashes.own(key)
        return (await licenses_by_key_hash(self.connection, [own])).get(own)

    async def customer(self, key):
        return await customer_by_id(self.connection, (await self.license(key)).customer_id)

    async def verdict(self, key, address, now=NOW):
        """What is said of a copy with that key at that address."""
        rows = await self.connection.fetch(grant_cache.SQL["grants_of_keys"], [self.hashes.own(key)])
        grant = grant_of(rows[0])
        claim = Claim(grant.product_id, True, "licensed", "unknown", "production", address, now)
        return judge(claim, grant, now).verdict


@pytest.fixture
async def hashes(connection, tmp_path):
    await add_product(connection, "ACME Billing", now=NOW)
    return await key_hashes(connection, open_keyring(tmp_path / "keyring.json"), "acme-billing")


@pytest.fixture
def registry(connection, hashes):
    return Registry(connection, hashes)


def test_every_file_has_a_test():
    text = Path(__file__).read_text("utf-8")
    assert {path.name for path in FILES.iterdir() if f'"{path.name}"' not in text} == set()


# ── keys ────────────────────────────────────────────────────────────────────────────────────


async def test_a_key_that_a_spreadsheet_shortened_is_no_key(registry):
    assert await registry.take("excel-scientific-keys.csv") == {"wrong": 4}
    assert "'1.23457E+12' is a number that a spreadsheet" in registry.problems[2]


async def test_what_cannot_be_seen_is_no_part_of_a_key(registry):
    assert await registry.take("key-zero-width.csv") == {"new": 2}
    assert await registry.license("ZW-0001-AAAA")
    assert await registry.license("ZW-0002-BBBB")


async def test_keys_that_look_alike_are_several_licenses_and_said_to_be(registry):
    assert await registry.take("keys-look-alike.csv") == {"new": 4}
    assert registry.alike == [(3, 2), (4, 2), (5, 2)]


async def test_a_formula_for_a_text_is_the_text_and_an_error_is_no_value(registry):
    assert await registry.take("excel-formulas.csv") == {"new": 1, "wrong": 4}
    assert (await registry.license("00012345")).order_reference == "0047"
    assert registry.problems[3].startswith("seats: '#N/A' is what a spreadsheet shows")
    assert registry.problems[4].startswith("order_reference: '1.23457E+12' is what a spreadsheet leaves")
    assert registry.problems[5].startswith("customer_name: '#NAME?'")
    assert registry.problems[6].startswith("key: '123456789.0' is a number")


async def test_an_error_of_a_table_in_any_language_is_no_key(registry):
    assert await registry.take("excel-errors-in-other-languages.csv") == {"new": 3, "wrong": 8}
    assert all(
        "is what a spreadsheet shows where it has no value" in said for said in registry.problems.values()
    )
    assert [bool(await registry.license(key)) for key in ("#1-plain-key!", "#KEY/A", "Err:5021")] == [
        True
    ] * 3


async def test_a_number_as_java_writes_it_is_no_key(registry):
    assert await registry.take("java-scientific-keys.csv") == {"new": 1, "wrong": 3}
    assert await registry.license("1E15")


async def test_what_pandas_and_other_programs_write_for_no_value_is_none(registry):
    assert await registry.take("pandas-missing.csv") == {"new": 2, "wrong": 2}
    for key, seats in (("PAND-0001", 2), ("PAND-0002", None)):
        found = await registry.license(key)
        assert (found.seats, found.expires_at, found.customer_id) == (seats, None, None)
    assert set(registry.problems) == {4, 5}


# ── the form of a file ──────────────────────────────────────────────────────────────────────


async def test_a_head_that_comes_again_is_no_license(registry):
    assert await registry.take("concatenated-bom-head.csv") == {"new": 2}
    assert await registry.license("key") is None


async def test_rows_of_empty_cells_say_nothing(registry):
    assert await registry.take("trailing-empty-rows.csv") == {"new": 1}


async def test_a_head_in_capitals_is_the_same_head(registry):
    assert await registry.take("upper-head.csv") == {"new": 1}
    assert (await registry.license("U-1")).seats == 2


async def test_excel_may_say_what_separates_cells(registry):
    assert await registry.take("excel-sep.csv") == {"new": 1}
    assert (await registry.license("SEP-0001")).seats == 2


async def test_lines_may_end_as_on_old_macs(registry):
    assert await registry.take("old-mac.csv") == {"new": 2}
    assert (await registry.license("CR-0002")).seats == 3


async def test_windows_1252_is_refused_with_how_to_convert_it(registry):
    assert await registry.take("excel-cp1252.csv") == {"wrong": 2}
    assert "iconv -f WINDOWS-1252 -t UTF-8 FILE" in registry.problems[2]
    text = (FILES / "excel-cp1252.csv").read_bytes().decode("WINDOWS-1252")
    assert "Jürgen “JM” Müller" in text  # the advice is good


async def test_utf_16_is_refused_with_how_to_convert_it(registry):
    with pytest.raises(WrongFile, match="iconv -f UTF-16 -t UTF-8 FILE"):
        await registry.take("excel-unicode-text.txt")


async def test_a_quote_behind_a_backslash_costs_its_own_row_and_says_why(registry):
    assert await registry.take("backslash-quotes.csv") == {"new": 1, "wrong": 1}
    assert r"the file has a quote in a cell as \"" in registry.problems[2]
    assert (await registry.customer("BQ-0002")).name == "C:\\"


async def test_a_line_with_tabs_is_a_row_whatever_quotes_are_in_it(registry):
    assert await registry.take("tabs.tsv") == {"new": 4}
    names = [(await registry.customer(f"TAB-000{n}")).name for n in (1, 2, 3, 4)]
    assert names == ['"Big" Corp', 'Ann "the boss" Lee', '"open', "Quoted, Ltd"]
    assert (await registry.license("TAB-0002")).directories == ("C:\\Users\\x",)


async def test_null_of_phpmyadmin_is_no_value(registry):
    assert await registry.take("phpmyadmin.csv") == {"new": 2}
    assert (await registry.customer("PMA-0001")).name is None
    assert (await registry.license("PMA-0002")).seats is None


# ── values ──────────────────────────────────────────────────────────────────────────────────


async def test_seats_are_a_number_also_as_pandas_writes_it(registry):
    assert await registry.take("seats.csv") == {"new": 2, "wrong": 3}
    assert all("leave it empty for any number" in problem for problem in registry.problems.values())
    assert (await registry.license("S-0005")).seats == 2


async def test_inactive_is_not_said_to_be_active(registry):
    assert await registry.take("status-inactive.csv") == {"wrong": 1}
    assert "write active" not in registry.problems[2]
    assert "is none of active, suspended, revoked, refunded" in registry.problems[2]


async def test_dates_in_other_forms_are_refused_with_the_form_that_is_good(registry):
    assert await registry.take("dates.csv") == {"new": 2, "wrong": 4}
    assert [registry.problems[line].rpartition(" ")[2] for line in (2, 3, 4)] == ["2027-12-31"] * 3
    assert "leave it empty" in registry.problems[5]
    assert (await registry.license("D-0005")).expires_at is None
    assert (await registry.license("D-0006")).expires_at is None


async def test_seconds_since_1970_are_a_time_and_at_midnight_a_date(registry):
    assert await registry.take("epoch-dates.csv") == {"new": 4}
    after = datetime(2027, 1, 1, tzinfo=UTC)
    assert [(await registry.license(f"EP-000{n}")).expires_at for n in (1, 2, 3, 4)] == [
        after,
        after,
        datetime(2026, 12, 31, 10, tzinfo=UTC),
        datetime(2026, 11, 30, tzinfo=UTC),
    ]


async def test_a_license_is_good_through_its_last_day(registry):
    assert await registry.take("expires-today.csv") == {"new": 1}
    last = datetime(2026, 11, 29, 23, 59, 59, 999999, tzinfo=UTC)
    assert await registry.verdict("DAY-0001-AAAA", ELSEWHERE, last) == "valid"
    assert await registry.verdict("DAY-0001-AAAA", ELSEWHERE, last + timedelta(microseconds=1)) == "expired"


# ── customers ───────────────────────────────────────────────────────────────────────────────


async def test_one_buyer_is_one_customer_however_the_address_is_written(registry):
    assert await registry.take("one-buyer.csv") == {"new": 4}
    [customer] = await list_customers(registry.connection, now=NOW)
    assert customer.email == "ann@xn--bcher-kva.example"


async def test_a_customer_from_before_is_found_by_the_letters_of_its_domain(registry):
    await registry.connection.execute(
        "INSERT INTO customers (customer_id, email, name, created_at, updated_at) "
        "VALUES (gen_random_uuid(), 'ann@bücher.example', 'Ann', now(), now())"
    )
    await registry.take("one-buyer.csv")
    [customer] = await list_customers(registry.connection, now=NOW)
    assert customer.email == "ann@xn--bcher-kva.example"


async def test_one_buyer_at_envato_is_one_customer(registry):
    for _ in range(2):
        await registry.take("envato-one-buyer.csv", "envato")
        [customer] = await list_customers(registry.connection, now=NOW)
        assert (customer.account, customer.name) == ("envato:ann_lee", "ann_lee")
        assert customer.email == "ann@example.com"
    assert {each.customer_id for each in await list_licenses(registry.connection, now=NOW)} == {
        customer.customer_id
    }


# ── other systems ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("file", ["envato-sale-and-reversal.csv", "envato-reversal-no-type.csv"])
async def test_a_sale_that_was_taken_back_is_refunded(registry, file):
    assert await registry.take(file, "envato") == {"new": 1, "changed": 1}
    found = await registry.license("env-r001-aaaa")
    assert (found.status, found.source, f"{found.starts_at:%F}") == ("refunded", "marketplace", "2026-09-07")
    assert await registry.take(file, "envato") == {"unchanged": 2}


async def test_a_list_of_sales_may_begin_with_the_newest_and_name_fees(registry):
    await registry.take("envato-newest-first.csv", "envato")
    taken_back, sold = await registry.license("env-n001-aaaa"), await registry.license("env-n002-bbbb")
    assert (taken_back.status, sold.status) == ("refunded", "active")
    assert {f"{each.starts_at:%F}" for each in (taken_back, sold)} == {"2026-09-07"}


async def test_a_negative_amount_takes_a_sale_back_wherever_its_sign_stands(registry):
    await registry.take("envato-signs.csv", "envato")
    keys = [f"env-s00{number}-aaaa" for number in range(1, 7)]
    statuses = [(await registry.license(key)).status for key in keys]
    assert statuses == ["refunded"] * 5 + ["active"]


async def test_a_list_that_mysql_wrote_is_read_as_it_was_meant(registry):
    assert await registry.take("whmcs-mysql-batch.tsv", "whmcs") == {"new": 2}
    one, two = await registry.license("BATCH-0001"), await registry.license("BATCH-0002")
    assert (one.domains, one.directories) == (("a.example", "www.a.example"), ("C:\\inetpub\\app",))
    assert (two.domains, two.directories) == ((), ())
    ann, ben = await registry.customer("BATCH-0001"), await registry.customer("BATCH-0002")
    assert (ann.name, ann.company, ann.tax_id) == ("Ann O'Neil", None, None)
    assert (ben.name, ben.company) == ("Ben Lo", "Smith & Sons")


async def test_what_is_expired_at_whmcs_has_a_date_that_came(registry):
    assert await registry.take("whmcs-expired-future-due.csv", "whmcs") == {"wrong": 1}
    assert "2027-11-01 is still to come" in registry.problems[2]


WHMCS_KEYS = (
    "WH-ONLY-PRIVATE-0001",
    "WH-LOOPBACK-0002",
    "WH-MAPPED-0003",
    "WH-V4-ONLY-0004",
    "WH-LOOPBACK6-0005",
    "WH-ZERO-0006",
    "WH-MIXED-0007",
)
NAMING_A_PUBLIC_ADDRESS = {"WH-MAPPED-0003", "WH-V4-ONLY-0004", "WH-MIXED-0007"}


async def test_addresses_of_whmcs_are_recorded_and_accuse_nobody(registry):
    assert await registry.take("whmcs-private-validip.csv", "whmcs") == {"new": 7}
    for key in WHMCS_KEYS:
        for address in (ELSEWHERE, ELSEWHERE_6):
            assert await registry.verdict(key, address) == "valid", (key, address)
    assert (await registry.license("WH-MAPPED-0003")).addresses == ("11.2.3.7",)
    assert (await registry.license("WH-ONLY-PRIVATE-0001")).addresses == ("10.0.0.5",)


async def test_enforced_addresses_of_whmcs_accuse_only_where_a_copy_could_match(registry):
    await registry.take("whmcs-private-validip.csv", "whmcs", enforce_addresses=True)
    elsewhere = {key for key in WHMCS_KEYS if await registry.verdict(key, ELSEWHERE) == "wrong_place"}
    assert elsewhere == NAMING_A_PUBLIC_ADDRESS
    assert {await registry.verdict(key, ELSEWHERE_6) for key in WHMCS_KEYS} == {"valid"}
    assert await registry.verdict("WH-MAPPED-0003", "11.2.3.7") == "valid"
    assert await registry.verdict("WH-MIXED-0007", "11.2.3.9") == "valid"


async def test_the_import_knows_which_addresses_can_never_match(registry):
    await registry.take("whmcs-private-validip.csv", "whmcs")
    never = [address for row in registry.rows for address in never_matching(row.patch.addresses)]
    assert never == ["10.0.0.5", "127.0.0.1", "::1", "0.0.0.0", "10.0.0.9"]
    again = await registry.take("whmcs-private-validip.csv", "whmcs")
    assert again == {"unchanged": 7}


async def test_a_later_import_takes_back_what_an_earlier_version_enforced(registry):
    await registry.take("whmcs-private-validip.csv", "whmcs")
    await registry.connection.execute("UPDATE licenses SET addresses_enforced = true")
    assert await registry.verdict("WH-V4-ONLY-0004", ELSEWHERE) == "wrong_place"
    assert await registry.take("whmcs-private-validip.csv", "whmcs") == {"changed": 7}
    assert await registry.verdict("WH-V4-ONLY-0004", ELSEWHERE) == "valid"
