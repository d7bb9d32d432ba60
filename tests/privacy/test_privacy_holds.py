"""Legal holds: two persons, the rows that they name and no others, and what follows when they have ended."""

from datetime import timedelta

import asyncpg
import pytest
from demo_fleet_of_days import settled

from telemetry_server.check.fields import Level, load_registry
from telemetry_server.jobs.retention import forget_old_pings
from telemetry_server.keyring import open_keyring
from telemetry_server.model import Author
from telemetry_server.privacy.jobs import carry_out_erasures, keep_to_levels, keeping_held
from telemetry_server.privacy.store import erasing, holds, level_limits
from telemetry_server.privacy.store.holds import Scope, WrongHold
from telemetry_server.privacy.store.subject_export import TABLES
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.access.audit_checkpoints import signer_of

NOT_HELD = {
    "access_links": "digests of links, which have run out",
    "customer_levels": "a limit, not what was reported",
    "installation_levels": "a limit, not what was reported",
    "erased_installations": "kept for ever",
    "restricted_installations": "what a restriction hides",
    "followed_installations": "a copy of the newest pings for some minutes",
    "support_grants": "sealed access is never held",
    "case_findings": "which finding is in which case",
    "case_holds": "the hold of the case itself",
    "case_handovers": "kept as its case",
    "case_pauses": "kept as its case",
    "notices": "kept for ever",
    **dict.fromkeys(
        (
            "erasures",
            "subject_requests",
            "subject_request_steps",
            "holds",
            "held_rows",
            "restrictions",
            "disclosures",
        ),
        "the privacy officer's own records",
    ),
}
"""The tables of a subject's export that no hold names, and why."""


def test_a_hold_can_name_each_table_about_a_subject_or_a_reason_says_why_not():
    assert set(TABLES) - set(holds.HOLDABLE) == set(NOT_HELD)
    assert set(holds.HOLDABLE) <= set(TABLES)


@pytest.fixture
async def fleet(database):
    """A connection, the time, and the installations of a small fleet with a history."""
    connection = await asyncpg.connect(database)
    now, copies = await settled(connection, database, installations=4, days=5)
    yield connection, now, copies
    await connection.close()


async def held(connection, now, scope, **more):
    """A hold in force."""
    wanted = {"ground": "claim 4711", "expires_on": now.date() + timedelta(days=30), "case_reference": None}
    hold_id = await holds.propose(connection, scope, **{**wanted, **more}, person="ann", by="ann", now=now)
    await holds.confirm(connection, hold_id, person="bob", by="bob", now=now)
    return hold_id


async def count(connection, table, copy):
    return await connection.fetchval(f"SELECT count(*) FROM {table} WHERE installation_id = $1", copy)


async def test_one_person_cannot_make_a_hold_and_none_is_without_an_end(fleet):
    connection, now, copies = fleet
    scope = Scope(subject=Subject("installation", copies[0]), tables=("pings",))
    wanted = {"ground": "claim", "case_reference": None, "by": "ann", "now": now}
    until = now.date() + timedelta(days=30)
    hold_id = await holds.propose(connection, scope, expires_on=until, person="ann", **wanted)
    with pytest.raises(WrongHold, match="another person"):
        await holds.confirm(connection, hold_id, person="Ann", by="ann", now=now)
    assert (await holds.hold(connection, hold_id)).state(now.date()) == "proposed"
    with pytest.raises(WrongHold, match="366 days"):
        later = now.date() + timedelta(days=400)
        await holds.propose(connection, scope, expires_on=later, person="ann", **wanted)
    with pytest.raises(WrongHold, match="cannot be held"):
        sealed = Scope(subject=scope.subject, tables=("support_grants",))
        await holds.propose(connection, sealed, expires_on=until, person="ann", **wanted)


async def test_an_erasure_keeps_exactly_the_rows_of_a_hold_and_is_completed_after_it(fleet, tmp_path):
    connection, now, copies = fleet
    gone, other = copies[:2]
    pings, others = await count(connection, "pings", gone), await count(connection, "pings", other)
    assert pings > 0
    one = Subject("installation", gone)
    hold_id = await held(connection, now, Scope(subject=one, tables=("pings", "changes")))
    changes = await count(connection, "changes", gone)
    asked = await erasing.ask(connection, one, by="a test", reason=None, now=now)
    keyring = tmp_path / "keyring.json"
    signer_of(open_keyring(keyring))
    job = carry_out_erasures(load_registry(), keyring, 35)
    await job(connection, now)
    first = await erasing.certificate_of(connection, asked)
    assert f"kept under legal hold {hold_id}" in first
    assert f"pings {pings}" in first
    kept = await holds.held_rows(connection, hold_id)
    assert {table: len(rows) for table, rows in kept.items()} == {
        table: rows for table, rows in {"pings": pings, "changes": changes}.items() if rows
    }
    assert {row["installation_id"] for row in kept["pings"]} == {str(gone)}
    assert await count(connection, "pings", gone) == await count(connection, "installations", gone) == 0
    assert await count(connection, "pings", other) == others
    await holds.release(connection, hold_id, reason="settled", person="ann", by="ann", now=now)
    await job(connection, now + timedelta(days=3))
    last = await erasing.certificate_of(connection, asked)
    assert "legal hold" not in last
    assert f"erased from the live store: {(now + timedelta(days=3)).date()}" in last
    assert await connection.fetchval("SELECT count(*) FROM held_rows") == 0


async def test_the_rows_of_a_hold_outlive_their_partition_and_go_when_it_expires(fleet, tmp_path):
    connection, now, copies = fleet
    pings = await count(connection, "pings", copies[0])
    scope = Scope(
        subject=Subject("installation", copies[0]), tables=("pings",), fields=("received_at", "verdict")
    )
    ends = now.date() + timedelta(days=200)
    hold_id = await held(connection, now, scope, expires_on=ends)
    registry = load_registry().keeping([("ping", 30), ("usage", 30), ("fact", 30)])
    later = now + timedelta(days=100)
    await keeping_held(forget_old_pings(registry))(connection, later)
    assert await connection.fetchval("SELECT count(*) FROM pings") == 0
    kept = (await holds.held_rows(connection, hold_id))["pings"]
    assert len(kept) == pings
    assert set(kept[0]) == {"installation_id", "sequence", "received_at", "verdict"}
    job = carry_out_erasures(load_registry(), tmp_path / "keyring.json", 35)
    await job(connection, later)
    assert (await holds.hold(connection, hold_id)).rows == pings
    await job(connection, now + timedelta(days=202))
    expired = await holds.hold(connection, hold_id)
    assert (expired.rows, expired.state(ends + timedelta(days=1))) == (0, "expired")


async def test_a_hold_on_a_period_keeps_no_row_of_another_time(fleet):
    connection, now, copies = fleet
    [first, *_, last] = await connection.fetch(
        "SELECT received_at FROM pings WHERE installation_id = $1 ORDER BY sequence", copies[0]
    )
    scope = Scope(
        subject=Subject("installation", copies[0]),
        tables=("pings",),
        since=first["received_at"] + timedelta(seconds=1),
        until=last["received_at"],
    )
    hold_id = await held(connection, now, scope)
    kept = (await holds.held_rows(connection, hold_id))["pings"]
    assert len(kept) == await count(connection, "pings", copies[0]) - 2


async def test_what_a_level_removes_stays_in_a_hold(fleet):
    connection, now, copies = fleet
    with_uses = (
        "SELECT count(*) FROM pings WHERE installation_id = $1 AND num_nonnulls(counters, features) > 0"
    )
    [copy, *_] = [each for each in copies if await connection.fetchval(with_uses, each)]
    pings = await connection.fetchval(with_uses, copy)
    one = Subject("installation", copy)
    hold_id = await held(connection, now, Scope(subject=one, tables=("pings",)))
    await level_limits.set_limit(connection, one, Level.LICENSE, by=Author("ann"), now=now)
    await keeping_held(keep_to_levels(load_registry()))(connection, now + timedelta(hours=3))
    assert await connection.fetchval(with_uses, copy) == 0
    kept = (await holds.held_rows(connection, hold_id))["pings"]
    assert sum(1 for row in kept if row["features"]) == pings
