"""The audit log: entries, leaves, proofs, erasure and checkpoints."""

import asyncio
import base64
import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from audit_log import KEYRING, SIGNER, entry, fill, without_triggers
from places import ROOT

from telemetry_server.merkle_tree import GrowingTree, root_above
from telemetry_server.store.access import audit, audit_check, audit_checkpoints, audit_log, audit_owner

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 30, 10, 10, tzinfo=UTC)
AUDIT_TABLES = [
    "audit_entries",
    "audit_waiting",
    "audit_leaves",
    "audit_nodes",
    "audit_checkpoints",
    "witnessed_checkpoints",
]
EVERYTHING = audit.AuditFilter()
ERASURE = audit.Entry(actor="job:x", action=audit.ERASE, reason="request of the person")


@pytest.fixture
async def other(database):
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def verified(connection, *outside):
    checkpoints = [SIGNER.verifier.open(note) for note in outside]
    return await audit_check.verify(connection, SIGNER.verifier, checkpoints)


# ── entries ────────────────────────────────────────────────────────────────────────────────


async def test_an_entry_comes_back_as_it_was_recorded_and_gets_its_leaf_later(connection):
    wanted = entry(7, product="billing", reason="ticket 4711", details={"fields": ["email"], "at": NOW})
    entry_id = await audit.record(connection, wanted, NOW)
    [found] = await audit.find(connection, EVERYTHING, limit=10)
    assert (found.entry_id, found.leaf, found.recorded_at) == (entry_id, None, NOW)
    assert found.details == {"fields": ["email"], "at": "2026-11-30T10:10:00Z"}
    assert (found.actor, found.product, found.reason) == ("api:ann-0", "billing", "ticket 4711")
    assert await audit_log.number_entries(connection) == 1
    assert [each.leaf for each in await audit.find(connection, EVERYTHING, limit=10)] == [0]


async def test_an_entry_lives_and_dies_with_the_transaction_of_the_change(connection):
    with pytest.raises(ZeroDivisionError):
        async with connection.transaction():
            await audit.record(connection, entry())
            raise ZeroDivisionError
    assert await audit.find(connection, EVERYTHING, limit=10) == []


async def test_entries_do_not_wait_for_one_another(connection, other):
    await other.execute("SET statement_timeout = '2s'")
    async with connection.transaction():
        await audit.record(connection, entry(1))
        await audit.record(other, entry(2))
        assert await audit_log.number_entries(other) == 1
    assert await audit_log.number_entries(other) == 1
    assert [each.leaf for each in await audit.find(connection, EVERYTHING, limit=10)] == [0, 1]


async def test_two_servers_never_number_at_once(connection, other):
    await audit.record(connection, entry(1))
    async with connection.transaction():
        assert await audit_log.number_entries(connection) == 1
        assert await audit_log.number_entries(other) == 0
    for number in range(50):
        await audit.record(connection, entry(number))
    counts = await asyncio.gather(audit_log.number_entries(connection), audit_log.number_entries(other))
    assert sum(counts) == 50
    assert (await verified(connection)).intact


async def test_text_that_postgresql_does_not_store_is_written_out(connection):
    odd = "a\0b\ud800\u202e"
    await audit.record(connection, entry(actor=odd, subject_id=odd * 200, details={odd: [odd, {"x": odd}]}))
    await audit_log.number_entries(connection)
    [found] = await audit.find(connection, EVERYTHING, limit=10)
    assert found.actor == r"a\u0000b\ud800\u202e"
    assert len(found.subject_id) == 300
    assert found.details == {found.actor: [found.actor, {"x": found.actor}]}
    assert (await verified(connection)).intact


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({"actor": "api:ann-3"}, [3]),
        ({"action": "customer"}, [5, 4]),
        ({"action": "customer.view"}, [4]),
        ({"action": "customer.v"}, []),
        ({"subject_kind": "customer"}, [5, 4]),
        ({"subject_id": "c-5"}, [5]),
        ({"product": "billing"}, [4]),
        ({"since": NOW + timedelta(minutes=4)}, [5, 4]),
        ({"until": NOW + timedelta(minutes=1)}, [0]),
        ({"action": "customer", "until": NOW + timedelta(minutes=5)}, [4]),
    ],
    ids=str,
)
async def test_entries_are_found_by(connection, wanted, numbers):
    for number in range(4):
        await audit.record(connection, entry(number), NOW + timedelta(minutes=number))
    for number, action in (4, "customer.view"), (5, "customer.change"):
        about = {"action": action, "subject_kind": "customer", "subject_id": f"c-{number}"}
        about |= {"product": "billing"} if number == 4 else {}
        await audit.record(connection, entry(number, **about), NOW + timedelta(minutes=number))
    found = await audit.find(connection, audit.AuditFilter(**wanted), limit=10)
    assert [each.details["number"] for each in found] == numbers


async def test_the_next_page_goes_on_below_the_last_entry(connection):
    await fill(connection, 5)
    first = await audit.find(connection, EVERYTHING, limit=3)
    last = first[-1].recorded_at, first[-1].entry_id
    rest = await audit.find(connection, EVERYTHING, before=last, limit=3)
    assert [each.leaf for each in (*first, *rest)] == [4, 3, 2, 1, 0]


# ── append-only ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'x'",
        "TRUNCATE audit_entries",
        "DELETE FROM audit_entries",
        "UPDATE audit_leaves SET commitment = commitment",
        "DELETE FROM audit_leaves",
        "TRUNCATE audit_leaves",
        "UPDATE audit_nodes SET level = 9",
        "DELETE FROM audit_nodes",
        "TRUNCATE audit_nodes",
        "UPDATE audit_checkpoints SET note = ''",
        "DELETE FROM audit_checkpoints",
        "TRUNCATE audit_checkpoints",
        "DELETE FROM witnessed_checkpoints",
    ],
)
async def test_the_log_refuses(connection, statement):
    await fill(connection, 2)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="audit log"):
        await connection.execute(statement)


async def test_an_entry_without_a_leaf_cannot_be_deleted(connection):
    await audit.record(connection, entry())
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only after the log says so"):
        await connection.execute("DELETE FROM audit_entries")


async def test_a_role_of_its_own_keeps_the_server_from_switching_the_triggers_off(
    connection, database, monkeypatch
):
    server, owner = f"server_{uuid.uuid4().hex[:8]}", f"owner_{uuid.uuid4().hex[:8]}"
    for name, statement in audit_owner.SQL.items():  # roles are shared by all databases of the cluster
        monkeypatch.setitem(audit_owner.SQL, name, statement.replace("telemetry_audit", owner))
    await connection.execute(f"CREATE ROLE {server} LOGIN")
    for name in ("schema_migrations", *AUDIT_TABLES):
        await connection.execute(f"ALTER TABLE {name} OWNER TO {server}")
    for _ in range(2):
        await audit_owner.protect(database)
    as_server = await asyncpg.connect(database.replace("postgres@", f"{server}@"))
    await fill(as_server, 300)
    await audit_checkpoints.write_checkpoint(as_server, SIGNER, None, NOW)
    assert await audit.erase(as_server, [5], ERASURE) == 1
    for statement in (
        "UPDATE audit_entries SET actor = 'x'",
        "DELETE FROM audit_leaves",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_nodes",
        "ALTER TABLE audit_leaves DISABLE TRIGGER USER",
        "SET session_replication_role = replica",
        "DROP FUNCTION refuse_audit_change CASCADE",
        "DROP TABLE audit_checkpoints",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_server.execute(statement)
    assert (await verified(as_server)).intact
    await audit_owner.give_back(database)
    await as_server.execute("ALTER TABLE audit_leaves DISABLE TRIGGER USER; DELETE FROM audit_leaves")
    await as_server.close()
    await connection.execute(f"DROP OWNED BY {server}, {owner} CASCADE; DROP ROLE {server}, {owner}")


def test_the_statement_in_the_documentation_is_that_of_the_embedded_postgresql():
    page = (ROOT / "docs" / "audit.md").read_text()
    statement = page.partition("```sql\n")[2].partition("\n```")[0]
    assert audit_owner.SQL["protect"].endswith(f"\n{statement}")


# ── erasure ──────────────────────────────────────────────────────────────────────────────────


async def test_an_erased_entry_is_gone_and_the_tree_is_as_before(connection):
    await fill(connection, 20)
    note = await audit_checkpoints.write_checkpoint(connection, SIGNER, None, NOW)
    assert await audit.erase(connection, [3, 4, 11], ERASURE) == 3
    await audit_log.number_entries(connection)
    assert (
        await connection.fetchval("SELECT count(*) FROM audit_entries WHERE details ->> 'number' = '3'") == 0
    )
    result = await verified(connection, note)
    assert (result.intact, result.entries, result.erased) == (True, 21, 3)
    newest, *_ = await audit.find(connection, EVERYTHING, limit=1)
    assert (newest.action, newest.reason) == ("audit.erase", "request of the person")
    assert newest.details == {"leaves": "{[3,5),[11,12)}"}


async def test_what_records_an_erasure_stays(connection):
    await fill(connection, 3)
    await audit.erase(connection, [0], ERASURE)
    await audit_log.number_entries(connection)
    assert await audit.erase(connection, [0, 3], ERASURE) == 0
    assert await audit.forget(connection, datetime.now(UTC) + timedelta(days=1), ERASURE) == 2
    assert await connection.fetchval("SELECT count(*) FROM audit_entries") == 2


async def test_old_entries_are_forgotten_a_number_at_a_time(connection, monkeypatch):
    monkeypatch.setattr(audit, "_ERASED_AT_ONCE", 4)
    for number in range(10):
        await audit.record(connection, entry(number), NOW + timedelta(days=number))
    await audit_log.number_entries(connection)
    assert await audit.forget(connection, NOW + timedelta(days=9), ERASURE) == 9
    await audit_log.number_entries(connection)
    left = await audit.find(connection, audit.AuditFilter(action="installation"), limit=20)
    assert [each.leaf for each in left] == [9]
    result = await verified(connection)
    assert (result.intact, result.erased) == (True, 9)


# ── proofs ───────────────────────────────────────────────────────────────────────────────────


def checked_by_hand(proof, size, root):
    """The entry in a proof, checked with the standard library alone."""
    head, path_and_note = proof.split("\nindex ", 1)
    extra = json.loads(base64.b64decode(head.split("extra ")[1]))
    lines, _, note = path_and_note.partition("\n\n")
    index, *path = lines.splitlines()
    commitment = hashlib.sha256(bytes.fromhex(extra["salt"]) + extra["content"].encode()).digest()
    entry_id = bytes.fromhex(extra["entry_id"].replace("-", ""))
    leaf = hashlib.sha256(b"\0" + entry_id + commitment).digest()
    assert note.splitlines()[1:3] == [str(size), base64.b64encode(root).decode()]
    assert root_above(leaf, int(index), size, [base64.b64decode(each) for each in path]) == root
    return json.loads(extra["content"])


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 700])
async def test_a_single_entry_is_proven_without_the_others(connection, count):
    await fill(connection, count)
    note = await audit_checkpoints.write_checkpoint(connection, SIGNER, None, NOW)
    checkpoint = SIGNER.verifier.open(note)
    for leaf in {0, count // 2, count - 1}:
        proof = await audit_log.prove(connection, leaf, checkpoint.size)
        found = checked_by_hand(proof.with_checkpoint(note), count, checkpoint.root)
        assert (found["leaf"], found["details"]["number"]) == (leaf, leaf)
        assert len(proof.path) <= 10
        assert "ann-" not in proof.with_checkpoint(note).replace(found["actor"], "")


async def test_an_entry_is_proven_by_its_id_too_and_not_once_it_is_erased(connection):
    await fill(connection, 5)
    [found] = await audit.find(connection, audit.AuditFilter(subject_id=entry(2).subject_id), limit=5)
    assert (await audit_log.prove(connection, found.entry_id, 5)).leaf == 2
    await audit.erase(connection, [2], ERASURE)
    with pytest.raises(audit_log.NoSuchEntry):
        await audit_log.prove(connection, found.entry_id, 5)


async def test_roots_follow_from_stored_hashes_at_every_size(connection):
    tree, roots = GrowingTree(), {}
    for size in (100, 156, 1, 300, 211):
        await fill(connection, size, start=tree.size)
        for row in await connection.fetch(
            "SELECT * FROM audit_leaves WHERE leaf >= $1 ORDER BY leaf", tree.size
        ):
            tree.append(audit.hash_of_leaf(row["entry_id"], row["commitment"]))
            roots[tree.size] = tree.root
    for size in (1, 99, 255, 256, 257, 511, 512, 513, 767, 768):
        assert await audit_log.root_of(connection, size) == roots[size]
    assert await connection.fetchval("SELECT count(*) FROM audit_nodes") == 4


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────


async def test_a_checkpoint_is_written_into_the_directory_and_only_if_the_log_grew(connection, tmp_path):
    assert await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW) is None
    await audit.record(connection, entry())
    note = await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    file = tmp_path / "2026-11-30" / "1.checkpoint"
    assert file.read_text() == note
    assert SIGNER.verifier.open(note).size == 1
    assert (
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW + timedelta(days=1))
        == note
    )
    await fill(connection, 300)
    for _ in range(2):
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    assert audit_checkpoints.newest_file(tmp_path).name == "301.checkpoint"
    assert await connection.fetchval("SELECT count(*) FROM audit_checkpoints") == 2


async def test_a_log_that_lacks_its_last_checkpoint_gets_no_new_one(connection, tmp_path):
    await fill(connection, 300)
    await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    await without_triggers(connection)
    await connection.execute("TRUNCATE audit_entries, audit_leaves, audit_nodes, audit_checkpoints")
    await fill(connection, 100)
    with pytest.raises(audit_checkpoints.LogRewritten, match=r"300 entries in .*300\.checkpoint"):
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    await fill(connection, 400)
    with pytest.raises(audit_checkpoints.LogRewritten):
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)
    assert await connection.fetchval("SELECT count(*) FROM audit_checkpoints") == 0


async def test_the_directory_of_another_log_is_refused(connection, tmp_path):
    await fill(connection, 3)
    (tmp_path / "2026-11-30").mkdir()
    other = audit_checkpoints.signer_of(type(KEYRING)("k", {}, "k1", bytes(32)))
    (tmp_path / "2026-11-30" / "2.checkpoint").write_text(other.sign(2, bytes(32)))
    with pytest.raises(audit_checkpoints.WrongCheckpoint, match="no valid checkpoint of this log"):
        await audit_checkpoints.write_checkpoint(connection, SIGNER, tmp_path, NOW)


def test_checkpoints_are_read_from_files_directories_and_mails(tmp_path):
    (tmp_path / "2026-11-30").mkdir()
    for size in 1, 2:
        (tmp_path / "2026-11-30" / f"{size}.checkpoint").write_text(SIGNER.sign(size, bytes(32)))
    (tmp_path / "mail").write_text(f"Hello,\r\n\r\n{SIGNER.sign(3, bytes(32))}\r\n-- \r\n")
    (tmp_path / "empty").write_text("nothing")
    read = audit_checkpoints.checkpoints_in
    assert [each.size for each in read(tmp_path, SIGNER.verifier)] == [1, 2]
    assert [each.size for each in read(tmp_path / "mail", SIGNER.verifier)] == [3]
    with pytest.raises(audit_checkpoints.WrongCheckpoint, match="no checkpoint in it"):
        list(read(tmp_path / "empty", SIGNER.verifier))
