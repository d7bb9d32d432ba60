"""The job "judge installations": a registry change, an expiry, a full license, and what happens beside it."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest
from checked_pings import make_checked_ping
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from judged_fleet import JudgedFleet
from patience import patient

from telemetry_server.jobs import verdicts as job
from telemetry_server.jobs.clock import take_back_future_times
from telemetry_server.keyring import open_keyring
from telemetry_server.model import LicenseSource, LicenseStatus, LicenseType, Overage, Verdict
from telemetry_server.store.database import connect_writer
from telemetry_server.store.fleet import verdicts
from telemetry_server.store.ingest.grant_cache import GrantCache
from telemetry_server.store.ingest.writer import GroupWriter
from telemetry_server.store.registry.products import add_product

HOUR = timedelta(hours=1)


@pytest.fixture
async def products(connection):
    billing, _ = await add_product(connection, "Billing", now=datetime.now(UTC))
    hosting, _ = await add_product(connection, "Hosting", now=datetime.now(UTC))
    return billing, hosting


@pytest.fixture
async def fleet(database, connection, tmp_path, products):
    async with GroupWriter(partial(connect_writer, database)) as writer:
        yield JudgedFleet(connection, writer, open_keyring(tmp_path / "keyring.json"), products[0])


@pytest.fixture
def small_batches(monkeypatch):
    """Batches so small that every test needs several."""
    monkeypatch.setattr(job, "_LICENSES", 2)
    monkeypatch.setattr(job, "_EXPIRED", 2)
    monkeypatch.setattr(job, "_INSTALLATIONS", 3)


# ── the registry changes ────────────────────────────────────────────────────────────────────


async def test_a_license_imported_later_explains_its_unknown_key(fleet, connection):
    one, two = await fleet.copy(), await fleet.copy()
    other = await fleet.copy("OTHER-KEY")
    await fleet.judge()
    assert await fleet.verdicts() == {"unknown_key": 3}
    rows = await connection.fetch("SELECT * FROM v_unknown_keys ORDER BY installations")
    assert [(row["product"], row["key_hint"], row["installations"]) for row in rows] == [
        ("billing", "-KEY", 1),
        ("billing", "KEY", 2),
    ]
    assert rows[1]["key_hash"] == fleet.keyring.hash_of_key("billing", "KEY").hex()
    await fleet.license()
    await fleet.judge()
    assert [await fleet.verdict(each) for each in (one, two, other)] == ["valid", "valid", "unknown_key"]
    assert await connection.fetchval("SELECT count(*) FROM v_unknown_keys") == 1
    assert await fleet.changes(one) == [("valid", "unknown_key"), ("unknown_key", "valid")]


async def test_a_change_of_the_registry_reaches_every_installation_of_the_license(fleet, small_batches):
    await fleet.license()
    copies = [await fleet.copy() for _ in range(8)]
    stranger = await fleet.copy("STRANGER")
    await fleet.judge()
    await fleet.license(status=LicenseStatus.REVOKED, source=LicenseSource.GIFT)
    await fleet.judge()
    assert await fleet.verdicts() == {"revoked": 8, "unknown_key": 1}
    row = await fleet.row(copies[0])
    assert (row["claim_mismatch"], row["source_mismatch"], row["judge_again"]) == (True, True, False)
    assert row["license_id"] == await fleet.connection.fetchval("SELECT license_id FROM licenses")
    assert (await fleet.row(stranger))["license_id"] is None


async def test_the_verdict_at_the_time_stays_with_the_ping(fleet):
    await fleet.license()
    one = await fleet.copy(verdict=Verdict.VALID)
    await fleet.license(status=LicenseStatus.SUSPENDED)
    await fleet.judge()
    assert await fleet.verdict(one) == "suspended"
    assert await fleet.connection.fetchval("SELECT verdict_of(verdict_code) FROM pings") == "valid"


async def test_a_change_of_verdict_is_told_with_the_last_ping_before_it(fleet):
    await fleet.license()
    one = await fleet.copy()
    await fleet.copy(of=one)
    await fleet.judge()
    await fleet.license(status=LicenseStatus.SUSPENDED)
    await fleet.judge()
    row = await fleet.connection.fetchrow("SELECT * FROM changes WHERE field = 'verdict'")
    assert (row["sequence"], row["before"], row["after"]) == (2, "valid", "suspended")
    assert row["changed_at"] == (await fleet.row(one))["judged_at"]


async def test_who_has_nothing_new_is_not_written(fleet):
    await fleet.license()
    await fleet.copy()
    await fleet.copy("STRANGER", verdict=Verdict.UNKNOWN_KEY)
    await fleet.judge()
    before = await fleet.written()
    await fleet.judge()
    assert await fleet.written() == before


async def test_a_key_of_another_product_is_known(fleet, products):
    await fleet.license()
    one = await fleet.copy(product=products[1])
    await fleet.judge()
    assert await fleet.verdict(one) == "wrong_product"
    assert await fleet.seats_used() == 0
    await fleet.license(slug="hosting")
    await fleet.judge()
    assert await fleet.verdict(one) == "valid"
    assert await fleet.seats_used() == 1


# ── time passes ─────────────────────────────────────────────────────────────────────────────


async def test_a_license_expires_without_anybody_touching_it(fleet, small_batches):
    for number in range(5):
        await fleet.license(f"KEY{number}", expires_at=fleet.now + HOUR)
    copies = [await fleet.copy(f"KEY{number}") for number in range(5)]
    await fleet.judge()
    assert await fleet.verdicts() == {"valid": 5}
    fleet.passed += HOUR
    await fleet.judge()
    assert await fleet.verdicts() == {"expired": 5}
    row = await fleet.row(copies[0])
    assert not row["claim_mismatch"], "it claimed so before the license expired"
    await fleet.copy("KEY0", of=copies[0], verdict=Verdict.EXPIRED)
    await fleet.judge()
    assert not (await fleet.row(copies[1]))["claim_mismatch"]


async def test_a_license_that_expired_by_a_clock_ahead_is_valid_again(fleet, connection):
    await fleet.license(expires_at=fleet.now + timedelta(days=10))
    copy = await fleet.copy()
    await fleet.judge()
    assert await fleet.verdict(copy) == "valid"
    fleet.passed = timedelta(days=40)
    await fleet.judge()
    assert await fleet.verdict(copy) == "expired"
    fleet.passed = timedelta(0)
    await fleet.judge()
    assert "watermarks: 1" in await take_back_future_times(connection, fleet.now)
    await fleet.judge()
    assert await fleet.verdict(copy) == "valid"
    fleet.passed = timedelta(days=11)
    await fleet.judge()
    assert await fleet.verdict(copy) == "expired"


async def test_what_changed_last_is_judged_first_and_a_long_queue_by_and_by(fleet, monkeypatch):
    monkeypatch.setattr(job, "_LICENSES", 2)
    monkeypatch.setattr(job, "_INSTALLATIONS", 3)
    monkeypatch.setattr(job, "SHARE", timedelta(0))
    copies = [await fleet.copy(f"KEY{number}") for number in range(7)]
    while await fleet.connection.fetchval("SELECT bool_or(judge_again) FROM installation_facts"):
        await fleet.judge()
    for number in range(7):
        await fleet.license(f"KEY{number}")
    await fleet.judge()
    assert await fleet.verdicts() == {"unknown_key": 5, "valid": 2}
    assert await fleet.verdict(copies[6]) == "valid"
    await fleet.license("KEY0", status=LicenseStatus.REVOKED)
    await fleet.judge()
    assert await fleet.verdict(copies[0]) == "revoked"
    for _ in range(2):
        await fleet.judge()
    assert await fleet.verdicts() == {"valid": 6, "revoked": 1}


async def test_a_license_that_expires_while_somebody_changes_it_is_seen_the_next_time(fleet, database):
    await fleet.license(expires_at=fleet.now + HOUR)
    one = await fleet.copy()
    await fleet.judge()
    fleet.passed += HOUR
    changing = await asyncpg.connect(database)
    try:
        transaction = changing.transaction()
        await transaction.start()
        await changing.execute("UPDATE licenses SET seats = 5")
        await asyncio.wait_for(fleet.judge(), patient(20))
        await transaction.rollback()
    finally:
        await changing.close()
    assert await fleet.verdict(one) == "valid"
    await fleet.judge()
    assert await fleet.verdict(one) == "expired"


async def test_expiries_while_no_job_ran_are_made_up_for(fleet):
    await fleet.license(expires_at=fleet.now + HOUR)
    one = await fleet.copy()
    await fleet.judge()
    fleet.passed += timedelta(days=40)
    await fleet.judge()
    assert await fleet.verdict(one) == "expired"


# ── seats ───────────────────────────────────────────────────────────────────────────────────


async def test_seats_are_taken_by_copies_that_are_there_and_not_in_a_free_environment(fleet, products):
    await fleet.license(seats=9)
    copies = [await fleet.copy() for _ in range(4)]
    await fleet.copy(environment="staging")
    await fleet.copy(product=products[1])
    await fleet.connection.execute(
        "UPDATE installation_facts SET life = 'lost' WHERE installation_id = $1", copies[0]
    )
    await fleet.judge()
    assert await fleet.seats_used() == 3


async def test_the_copy_too_many_makes_all_of_them_over_seats_and_its_end_makes_them_valid(fleet):
    await fleet.license(seats=2)
    copies = [await fleet.copy() for _ in range(2)]
    free = await fleet.copy(environment="development")
    await fleet.judge()
    assert await fleet.verdicts() == {"valid": 3}
    third = await fleet.copy()
    await fleet.judge()
    assert await fleet.verdicts() == {"over_seats": 3, "valid": 1}
    assert await fleet.verdict(free) == "valid"
    await fleet.copy("ANOTHER", of=third)
    await fleet.judge()
    assert [await fleet.verdict(each) for each in (*copies, third)] == ["valid", "valid", "unknown_key"]
    assert await fleet.seats_used() == 2


async def test_a_copy_that_is_lost_frees_its_seat(fleet):
    await fleet.license(seats=1)
    one, _ = await fleet.copy(), await fleet.copy()
    await fleet.judge()
    assert await fleet.verdicts() == {"over_seats": 2}
    await fleet.connection.execute(
        "UPDATE installation_facts SET life = 'lost', judge_again = true WHERE installation_id = $1", one
    )
    await fleet.judge()
    assert await fleet.verdicts() == {"valid": 2}
    await fleet.copy(of=one)
    await fleet.judge()
    assert await fleet.verdicts() == {"over_seats": 2}


async def test_more_seats_and_another_strategy_count_at_once(fleet):
    await fleet.license(seats=2)
    for _ in range(3):
        await fleet.copy()
    await fleet.judge()
    assert await fleet.verdicts() == {"over_seats": 3}
    await fleet.license(overage=Overage.HALF)
    await fleet.judge()
    assert await fleet.verdicts() == {"valid": 3}


# ── ingest beside it ────────────────────────────────────────────────────────────────────────


async def test_a_ping_that_an_old_memory_judged_is_judged_again(fleet):
    await fleet.license()
    one = await fleet.copy()
    await fleet.license(status=LicenseStatus.REVOKED)
    await fleet.judge()
    await fleet.copy(of=one, verdict=Verdict.VALID)
    assert await fleet.verdict(one) == "valid"
    await fleet.judge()
    assert await fleet.verdict(one) == "revoked"


class Between:
    """Does something once, between what the job read and what it writes."""

    def __init__(self, monkeypatch, call):
        self.call = call
        self.write = verdicts.write_judgements
        monkeypatch.setattr(verdicts, "write_judgements", self)

    async def __call__(self, *arguments):
        call, self.call = self.call, None
        if call:
            await call()
        return await self.write(*arguments)


async def test_an_installation_that_changes_while_it_is_judged_stays_due(fleet, monkeypatch):
    await fleet.license()
    one = await fleet.copy()

    async def moves_to_another_key():
        await fleet.copy("STRANGER", of=one, verdict=Verdict.UNKNOWN_KEY)

    Between(monkeypatch, moves_to_another_key)
    await fleet.judge()
    row = await fleet.row(one)
    assert (row["verdict"], row["judge_again"]) == ("unknown_key", True)
    await fleet.judge()
    row = await fleet.row(one)
    assert (row["verdict"], row["judge_again"], row["license_id"]) == ("unknown_key", False, None)
    assert await fleet.seats_used() == 0


@pytest.mark.parametrize("change", ["life = 'lost'", "judged_at = judged_at + '1 s'"])
async def test_what_a_license_changed_is_not_written_over_something_newer(fleet, monkeypatch, change):
    await fleet.license()
    one = await fleet.copy()
    await fleet.judge()
    await fleet.license(status=LicenseStatus.REVOKED)

    async def changes():
        await fleet.connection.execute(f"UPDATE installation_facts SET {change}")

    Between(monkeypatch, changes)
    await fleet.judge()
    row = await fleet.row(one)
    assert (row["verdict"], row["judge_again"]) == ("valid", True)
    await fleet.judge()
    assert await fleet.verdict(one) == "revoked"


async def test_an_address_that_changes_meanwhile_is_no_evidence(fleet, monkeypatch):
    await fleet.license()
    one = await fleet.copy(address="198.51.100.9")
    await fleet.judge()
    await fleet.license(addresses=("192.0.2.0/24",))

    async def moves():
        await fleet.copy(of=one, address="192.0.2.7")

    Between(monkeypatch, moves)
    await fleet.judge()
    assert await fleet.verdict(one) == "valid"
    await fleet.judge()
    assert await fleet.verdict(one) == "valid"
    await fleet.copy(of=one, address="198.51.100.9")
    await fleet.connection.execute("UPDATE installation_facts SET judge_again = true")
    await fleet.judge()
    assert await fleet.verdict(one) == "wrong_place"
    await fleet.connection.execute("UPDATE installations SET client_address = '198.51.100.0/24'")
    await fleet.connection.execute("UPDATE installation_facts SET judge_again = true")
    await fleet.judge()
    assert await fleet.verdict(one) == "valid"


async def test_a_license_that_changes_while_it_is_judged_by_stays_stale(fleet, monkeypatch):
    await fleet.license()
    one = await fleet.copy()
    await fleet.judge()
    await fleet.license(status=LicenseStatus.SUSPENDED)

    async def is_revoked():
        await fleet.license(status=LicenseStatus.REVOKED)

    Between(monkeypatch, is_revoked)
    await fleet.judge()
    assert await fleet.verdict(one) == "suspended"
    assert await fleet.connection.fetchval("SELECT stale FROM licenses")
    await fleet.judge()
    assert await fleet.verdict(one) == "revoked"
    assert not await fleet.connection.fetchval("SELECT stale FROM licenses")


async def test_a_product_that_comes_meanwhile_gives_a_stale_license_another_key_in_time(fleet, monkeypatch):
    await fleet.license()
    await fleet.copy()
    await fleet.judge()
    await fleet.license(status=LicenseStatus.SUSPENDED)
    third, _ = await add_product(fleet.connection, "Third", now=fleet.now)
    one = await fleet.copy(product=third, verdict=Verdict.UNKNOWN_KEY)
    await fleet.connection.execute("UPDATE installation_facts SET judge_again = false")

    async def is_said_again():
        await fleet.license(status=LicenseStatus.SUSPENDED)

    Between(monkeypatch, is_said_again)
    await fleet.judge()
    await fleet.judge()
    assert await fleet.verdict(one) == "wrong_product"


async def test_a_registry_change_under_way_is_not_waited_for_and_loses_no_seat(fleet, database):
    await fleet.license(seats=1)
    one = await fleet.copy()
    changing = await asyncpg.connect(database)
    try:
        transaction = changing.transaction()
        await transaction.start()
        await changing.execute("UPDATE licenses SET seats = 5")
        await asyncio.wait_for(fleet.judge(), patient(20))
        assert (await fleet.row(one))["judge_again"]
        await transaction.rollback()
    finally:
        await changing.close()
    await fleet.judge()
    assert await fleet.seats_used() == 1
    assert not (await fleet.row(one))["judge_again"]


async def test_the_writer_and_the_job_never_wait_for_each_other_for_ever(fleet, monkeypatch):
    monkeypatch.setattr(job, "_INSTALLATIONS", 50)
    await fleet.license()
    copies = [await fleet.copy() for _ in range(50)]
    await fleet.judge()

    async def pings():
        for round_ in range(6):
            await asyncio.gather(*(fleet.copy(of=each, version=str(round_)) for each in reversed(copies)))

    async def judges():
        for _ in range(12):
            await fleet.connection.execute("UPDATE licenses SET stale = true")
            await fleet.connection.execute(
                "UPDATE installation_facts SET judge_again = true, verdict = 'expired' WHERE installation_id = ANY ($1)",
                sorted(copies)[:1],
            )
            await fleet.judge()

    await asyncio.gather(pings(), judges())
    await fleet.judge()
    assert await fleet.verdicts() == {"valid": 50}
    assert (
        await fleet.connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
        == 0
    )


# ── killed anywhere ─────────────────────────────────────────────────────────────────────────


class Killed(Exception):
    """The process ends here."""


async def test_killed_after_any_statement_the_next_run_ends_up_the_same(fleet, monkeypatch, small_batches):
    await fleet.license(seats=3)
    await fleet.license("ENDS", expires_at=fleet.now + HOUR)
    copies = [await fleet.copy() for _ in range(4)] + [await fleet.copy("ENDS") for _ in range(4)]
    await fleet.judge()
    fleet.passed += HOUR

    async def upset():
        await fleet.license(overage=Overage.HALF)
        await fleet.license("ENDS", expires_at=fleet.now)
        await fleet.connection.execute("DELETE FROM changes")
        await fleet.connection.execute("UPDATE licenses SET stale = true, seats_used = 0")
        await fleet.connection.execute(
            "UPDATE installation_facts SET verdict = 'no_key', judge_again = true, counted_key_hash = NULL"
        )

    survived = 0
    for allowed in range(200):
        await upset()
        if await _killed(fleet.connection, allowed, fleet):
            survived += 1
            await fleet.judge()
        assert await fleet.verdicts() == {"valid": 4, "expired": 4}, allowed
        assert await fleet.seats_used() == 8
        assert not await fleet.connection.fetchval("SELECT bool_or(stale) FROM licenses")
        assert not await fleet.connection.fetchval("SELECT bool_or(judge_again) FROM installation_facts")
        assert {len(await fleet.changes(each)) for each in copies} == {1}, allowed
        if survived <= allowed:
            break
    assert survived > 15


async def _killed(connection, allowed, fleet):
    """Runs the job on a connection that ends after `allowed` statements; whether it came to that."""
    dying = Dying(connection, allowed)
    try:
        await job.judge_installations(dying, fleet.now)
    except Killed:
        return True
    return False


class Dying:
    """A connection that is used up after some statements."""

    def __init__(self, connection, allowed):
        self.connection, self.allowed = connection, allowed

    def __getattr__(self, name):
        call = getattr(self.connection, name)
        if name == "transaction":
            return call

        async def counted(*arguments, **named):
            if self.allowed <= 0:
                raise Killed
            self.allowed -= 1
            return await call(*arguments, **named)

        return counted


async def test_two_runs_beside_each_other_come_to_the_same(fleet, database, small_batches):
    await fleet.license(seats=3)
    for number in range(20):
        await fleet.copy(("KEY", "STRANGER")[number % 2])
    others = [await connect_writer(database) for _ in range(2)]
    try:
        await asyncio.gather(*(job.judge_installations(other, fleet.now) for other in others))
    finally:
        for other in others:
            await other.close()
    await fleet.judge()
    assert await fleet.verdicts() == {"over_seats": 10, "unknown_key": 10}
    assert await fleet.seats_used() == 10


# ── ingest and the job agree ────────────────────────────────────────────────────────────────

LICENSES = st.fixed_dictionaries(
    {
        "status": st.sampled_from(LicenseStatus),
        "type": st.sampled_from(LicenseType),
        "seats": st.none() | st.integers(1, 3),
        "overage": st.sampled_from(Overage),
        "source": st.none() | st.sampled_from(LicenseSource),
        "expires_at": st.sampled_from([None, -HOUR, HOUR]),
        "addresses": st.sampled_from([(), ("192.0.2.0/24",)]),
    }
)
SAYS = st.fixed_dictionaries(
    {
        "key": st.sampled_from(["KEY", "STRANGER", None]),
        "status": st.sampled_from(["licensed", "trial", "expired", "invalid", "unlicensed"]),
        "source": st.sampled_from(["direct", "trial", "unknown"]),
        "environment": st.sampled_from(["production", "staging", "unknown"]),
        "address": st.sampled_from(["192.0.2.7", "198.51.100.9", None]),
    }
)


@given(granted=LICENSES, says=st.lists(SAYS, min_size=1, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_ping_right_after_the_job_changes_no_verdict(fleet, database, granted, says):
    """What a verdict rests on is read alike from a ping and from the database: nothing flaps."""
    ends = granted["expires_at"]
    await fleet.connection.execute("TRUNCATE installations, installation_facts, states, pings, changes")
    await fleet.license(**granted | {"expires_at": ends and fleet.now + ends})
    copies = [(await fleet.copy(**said), said) for said in says]
    await fleet.judge()
    await fleet.judge()
    async with GrantCache(partial(connect_writer, database)) as cache:
        for one, said in copies:
            row = await fleet.row(one)
            judged = await judged_at_ingest(fleet, cache, said)
            stored = (row["verdict"], row["claim_mismatch"], row["source_mismatch"])
            assert judged == stored


async def judged_at_ingest(fleet, cache, said):
    """The step of the pipeline on a ping that says so."""
    from telemetry_server.enrich.steps import add_verdict
    from telemetry_server.model import Arrival, Sender

    key = said["key"] and fleet.keyring.hash_of_key("billing", said["key"])
    ping = make_checked_ping(
        license_status=said["status"],
        license_source=said["source"],
        environment=said["environment"],
        license_key_hash=key,
    )
    arrival = Arrival("", "", b"", None, said["address"], fleet.now, items=[ping])
    arrival.sender = Sender(fleet.product, None, b"")
    if (fetched := cache.prefetch(arrival)) is not None:
        await fetched
    add_verdict(cache.find)(arrival)
    return (ping.verdict, ping.claim_mismatch, ping.source_mismatch)
