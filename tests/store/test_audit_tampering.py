"""Each change of the audit log behind its back is found. AUDIT_CHANGES=10000 tries as many as the promise says."""

import os
from datetime import UTC, datetime

import pytest
from audit_log import SIGNER, entry, fill, seeded, without_triggers

from telemetry_server.store.access import audit, audit_checkpoints
from telemetry_server.store.access.audit_check import verify

NOW = datetime(2026, 11, 30, 10, 10, tzinfo=UTC)
ENTRIES, ERASED = 300, [7, 8, 200]
CHANGES = int(os.environ.get("AUDIT_CHANGES", "240"))

COLUMNS = {
    "audit_entries": {
        "entry_id": "gen_random_uuid()",
        "salt": "set_byte(salt, {byte}, get_byte(salt, {byte}) # {bit})",
        "recorded_at": "recorded_at + {number} * interval '1 microsecond'",
        "actor": "actor || '{number}'",
        "action": "action || 'x'",
        "subject_kind": "NULL",
        "subject_id": "reverse(subject_id) || '{number}'",
        "product": "'p{number}'",
        "network": "NULL",
        "reason": "'because {number}'",
        "details": "json_build_object('number', {number} + 1000)",
    },
    "audit_leaves": {
        "entry_id": "gen_random_uuid()",
        "commitment": "set_byte(commitment, {byte}, get_byte(commitment, {byte}) # {bit})",
        "leaf": "leaf + 100000",
    },
}


async def edit(connection, random):
    table = random.choice(list(COLUMNS))
    column = random.choice(list(COLUMNS[table]))
    value = COLUMNS[table][column].format(
        byte=random.randrange(32), bit=1 << random.randrange(8), number=random.randrange(1, 10**6)
    )
    leaf = random.choice([each for each in range(ENTRIES) if each not in ERASED])
    where = "entry_id = (SELECT entry_id FROM audit_leaves WHERE leaf = $1)"
    await connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {where}", leaf)
    return {leaf}


async def edit_what_is_erased(connection, random):
    leaf = random.choice(ERASED)
    column = random.choice(["entry_id", "commitment"])
    value = {"entry_id": "gen_random_uuid()", "commitment": "sha256(commitment)"}[column]
    await connection.execute(f"UPDATE audit_leaves SET {column} = {value} WHERE leaf = $1", leaf)


async def delete(connection, random):
    leaf = random.choice([each for each in range(ENTRIES) if each not in ERASED])
    which = "entry_id = (SELECT entry_id FROM audit_leaves WHERE leaf = $1)"
    for table in random.choice([["audit_entries"], ["audit_leaves"], ["audit_entries", "audit_leaves"]]):
        await connection.execute(
            f"DELETE FROM {table} WHERE {'leaf = $1' if table == 'audit_leaves' else which}", leaf
        )
    return {leaf}


async def close_the_gap(connection, random):
    """Deletes an entry and moves all later ones up."""
    leaf = random.choice([each for each in range(ENTRIES - 1) if each not in ERASED])
    await connection.execute(
        "DELETE FROM audit_entries WHERE entry_id = (SELECT entry_id FROM audit_leaves WHERE leaf = $1)", leaf
    )
    await connection.execute("DELETE FROM audit_leaves WHERE leaf = $1", leaf)
    await connection.execute("UPDATE audit_leaves SET leaf = leaf + 1000000 WHERE leaf > $1", leaf)
    await connection.execute("UPDATE audit_leaves SET leaf = leaf - 1000001 WHERE leaf > 1000000")


async def swap(connection, random):
    one, other = random.sample([each for each in range(ENTRIES) if each not in ERASED], 2)
    column = random.choice(["leaf", "entry_id", "commitment"])
    if column == "leaf":
        await connection.execute(
            "UPDATE audit_leaves SET leaf = leaf + 1000 WHERE leaf = ANY ($1)", [one, other]
        )
        await connection.execute("UPDATE audit_leaves SET leaf = $1 WHERE leaf = $2", other, one + 1000)
        await connection.execute("UPDATE audit_leaves SET leaf = $1 WHERE leaf = $2", one, other + 1000)
    else:
        value = f"(SELECT {column} FROM audit_leaves WHERE leaf = $1::bigint + $2 - l.leaf)"
        await connection.execute(
            f"UPDATE audit_leaves AS l SET {column} = {value} WHERE leaf = ANY (ARRAY[$1::bigint, $2])",
            one,
            other,
        )
    return {one, other}


async def insert(connection, random):
    """An entry without a leaf, or with one at a number that is taken, the later ones moved down."""
    leaf = random.randrange(ENTRIES)
    entry_id = await audit.record(connection, entry(leaf))
    await connection.execute("DELETE FROM audit_waiting")
    if random.random() < 0.3:
        return {None}
    await connection.execute("UPDATE audit_leaves SET leaf = leaf + 1000000 WHERE leaf >= $1", leaf)
    await connection.execute("UPDATE audit_leaves SET leaf = leaf - 999999 WHERE leaf >= 1000000")
    row = await connection.fetchrow("SELECT * FROM audit_entries WHERE entry_id = $1", entry_id)
    commitment = audit.commitment_of(row["salt"], audit.content_of(leaf, row))
    await connection.execute("INSERT INTO audit_leaves VALUES ($1, $2, $3)", leaf, entry_id, commitment)
    return None


async def cut(connection, random):
    first = random.randrange(ENTRIES)
    if random.random() < 0.7:
        await connection.execute(
            "DELETE FROM audit_entries WHERE entry_id IN (SELECT entry_id FROM audit_leaves WHERE leaf >= $1)",
            first,
        )
    await connection.execute("DELETE FROM audit_leaves WHERE leaf >= $1", first)
    if random.random() < 0.5:
        await connection.execute("DELETE FROM audit_nodes WHERE (position + 1) << level > $1", first)
    if random.random() < 0.5:
        await connection.execute("DELETE FROM audit_checkpoints WHERE size > $1", first)
    return {first, min(ERASED)}  # what records the erasures is cut off, too


@pytest.fixture
async def log(connection, tmp_path):
    """A log with erased entries and one checkpoint, which is outside, too."""
    await fill(connection, ENTRIES)
    await audit.erase(connection, ERASED, audit.Entry(actor="job:x", action=audit.ERASE))
    await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    await without_triggers(connection)
    await connection.execute("ALTER TABLE audit_leaves DROP CONSTRAINT audit_leaves_entry_is_unique")
    return list(audit_checkpoints.checkpoints_in(tmp_path, SIGNER.verifier))


@pytest.mark.timeout(1800 if CHANGES > 1000 else 180)
async def test_random_changes_are_all_found_and_the_first_bad_entry_is_named(connection, log):
    random = seeded(20261130)
    kinds = [edit, edit_what_is_erased, delete, close_the_gap, swap, insert, cut]
    assert (await verify(connection, SIGNER.verifier, log)).intact
    for number in range(CHANGES):
        change = kinds[number % len(kinds)]
        transaction = connection.transaction(isolation="repeatable_read")
        await transaction.start()
        bad = await change(connection, random)
        found = (await verify(connection, SIGNER.verifier, log)).first_bad
        await transaction.rollback()
        assert found is not None, f"change {number}, {change.__name__} of {bad}, is not found"
        if bad is not None:
            assert found.leaf in bad, f"change {number}, {change.__name__}: {found}"
    assert (await verify(connection, SIGNER.verifier, log)).intact


async def rewrite(connection, first):
    """Replaces everything from an entry on, consistently: leaves, hashes, and no trace of checkpoints."""
    size = await connection.fetchval("SELECT count(*) FROM audit_leaves")
    await connection.execute(
        "DELETE FROM audit_entries WHERE entry_id IN (SELECT entry_id FROM audit_leaves WHERE leaf >= $1)",
        first,
    )
    await connection.execute("DELETE FROM audit_leaves WHERE leaf >= $1", first)
    await connection.execute("DELETE FROM audit_nodes WHERE (position + 1) << level > $1", first)
    await connection.execute("DELETE FROM audit_checkpoints WHERE size > $1", first)
    await fill(connection, size - first, start=10_000)


@pytest.mark.parametrize("first", [0, 1, 255, 256, 299])
async def test_a_rewritten_log_fits_itself_and_no_checkpoint_from_outside(connection, tmp_path, first):
    sizes = [*range(20, ENTRIES, 40), ENTRIES]
    for size in sizes:
        await fill(connection, size - await connection.fetchval("SELECT count(*) FROM audit_leaves"))
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    outside = {each.size: each for each in audit_checkpoints.checkpoints_in(tmp_path, SIGNER.verifier)}
    await without_triggers(connection)
    await rewrite(connection, first)
    await audit_checkpoints.write_checkpoint(connection, SIGNER, None, NOW)  # signed by the same key
    assert (await verify(connection, SIGNER.verifier)).intact
    for size in sizes:
        found = (await verify(connection, SIGNER.verifier, [outside[size]])).first_bad
        if size <= first:
            assert found is None
        else:
            assert found.leaf <= first <= found.last
    before = max((size for size in sizes if size <= first), default=0)
    found = (await verify(connection, SIGNER.verifier, outside.values())).first_bad
    assert (found.leaf, found.last) == (before, min(size for size in sizes if size > first) - 1)


async def test_a_stored_checkpoint_that_was_changed_is_found(connection, log):
    await connection.execute("UPDATE audit_checkpoints SET note = replace(note, '301', '300')")
    found = (await verify(connection, SIGNER.verifier)).first_bad
    assert found.problem == (
        "the stored checkpoint of 301 entries is not valid. Its signature is wrong: its text was changed."
    )


async def test_an_erasure_that_is_not_recorded_is_found(connection, log):
    statement = "DELETE FROM audit_entries WHERE action = 'audit.erase'"
    await connection.execute(statement)
    found = (await verify(connection, SIGNER.verifier)).first_bad
    assert (found.leaf, found.problem) == (7, "its entry was deleted, and no erasure is recorded")
