"""The witness of other logs: what it keeps, and what it refuses."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from audit_log import KEYRING, SIGNER, fill
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from telemetry_server.errors import BadRequest, Forbidden, NotFound
from telemetry_server.merkle_tree import GrowingTree
from telemetry_server.signed_note import NoteSigner
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_log import prove_consistency, root_of
from telemetry_server.store.access.audit_witness import (
    AnotherSize,
    Inconsistent,
    Submission,
    cosigner_of,
    keep,
    kept,
)

pytestmark = pytest.mark.every_postgres

NOW = datetime(2026, 11, 30, 10, 10, tzinfo=UTC)
KNOWN = [NoteSigner(bytes([7]) * 32, "license-telemetry/audit").verifier, SIGNER.verifier]
COSIGNER = cosigner_of(KEYRING)


async def take(database, old, proof, note, known=KNOWN):
    return await keep(database, Submission(old, proof, note), known, COSIGNER, NOW)


def fork(size):
    """The checkpoint of a log of other entries, signed by the same key."""
    tree = GrowingTree()
    for leaf in range(size):
        tree.append(bytes([leaf % 256]) * 32)
    return SIGNER.sign(size, tree.root)


async def note_of(connection, size):
    return SIGNER.sign(size, await root_of(connection, size))


async def test_checkpoints_that_contain_each_other_are_kept_with_the_cosignature(connection):
    await fill(connection, 700)
    before = 0
    for size in (1, 2, 255, 256, 300, 513, 700):
        proof = await prove_consistency(connection, before, size)
        line = await take(connection, before, proof, await note_of(connection, size))
        assert line.startswith(f"— {COSIGNER.verifier.name} ")
        before = size
    again = await take(connection, 700, [], await note_of(connection, 700))
    assert again.startswith("— ")
    found = await kept(connection, SIGNER.verifier.name, 3)
    assert [each.size for each in found] == [700, 513, 300]
    assert found[0].note == await note_of(connection, 700) + line
    assert await kept(connection, "another log", 9) == []


async def test_a_log_that_was_rewritten_is_refused(connection):
    await fill(connection, 300)
    await take(connection, 0, [], await note_of(connection, 300))
    with pytest.raises(Inconsistent):
        await take(connection, 300, await prove_consistency(connection, 256, 300), fork(400))
    with pytest.raises(Inconsistent):
        await take(connection, 300, [], fork(400))
    for old, note in (
        (300, fork(300)),
        (0, fork(400)),
        (200, fork(250)),
        (0, await note_of(connection, 300)),
    ):
        with pytest.raises(AnotherSize) as refused:
            await take(connection, old, [], note)
        assert refused.value.size == 300
    assert [each.size for each in await kept(connection, None, 9)] == [300]


async def test_a_restored_log_begins_anew_once_the_operator_says_so(connection):
    await take(connection, 0, [], fork(400))
    with pytest.raises(AnotherSize):
        await take(connection, 0, [], fork(300))
    said = audit.Entry(actor="cli:root", action="witness.restore", subject_id=SIGNER.verifier.name)
    await audit.record(connection, said, NOW + timedelta(seconds=1))
    later = NOW + timedelta(minutes=1)
    await keep(connection, Submission(0, [], fork(300)), KNOWN, COSIGNER, later)
    with pytest.raises(AnotherSize):
        await keep(connection, Submission(400, [], fork(400)), KNOWN, COSIGNER, later)
    assert [each.size for each in await kept(connection, None, 9)] == [300, 400]


async def test_of_two_heads_that_fork_at_once_one_is_kept(database, connection):
    async with asyncpg.create_pool(database, min_size=4, max_size=4) as pool:
        forks = [fork(size) for size in (10, 11, 12)] + [SIGNER.sign(13, bytes(32))]
        found = await asyncio.gather(*(take(pool, 0, [], each) for each in forks), return_exceptions=True)
    assert sorted(isinstance(each, AnotherSize) for each in found) == [False, True, True, True]
    assert len(await kept(connection, None, 9)) == 1


@pytest.mark.parametrize(
    ("old", "note", "refused"),
    [
        (0, NoteSigner(bytes([9]) * 32, "license-telemetry/audit").sign(5, bytes(32)), NotFound),
        (0, fork(5).replace("\n5\n", "\n6\n"), Forbidden),
        (0, fork(5).replace("— license", "— another"), Forbidden),
        (0, SIGNER.sign(0, bytes(32)), BadRequest),
        (6, fork(5), BadRequest),
    ],
    ids=["of another log", "changed", "without its signature", "empty", "smaller"],
)
async def test_a_checkpoint_is_refused_that_is(connection, old, note, refused):
    with pytest.raises(refused):
        await take(connection, old, [], note)
    assert await kept(connection, None, 9) == []


def test_a_submission_is_read_as_it_is_written():
    submitted = Submission(7, [bytes(32), bytes([1]) * 32], fork(9))
    assert Submission.parsed(submitted.text) == submitted
    wrong = [
        "",
        "old 7\n",
        submitted.text.replace("old 7", "old 07"),
        submitted.text.replace("\n\n", "\n", 1),
    ]
    for text in (
        *wrong,
        submitted.text.replace("old ", "new "),
        Submission(0, [bytes(32)] * 64, fork(9)).text,
    ):
        with pytest.raises(BadRequest):
            Submission.parsed(text)


async def test_a_checkpoint_with_more_lines_than_three_is_refused(connection):
    """What the witness cosigns is what it checked."""
    key = Ed25519PrivateKey.from_private_bytes(KEYRING.audit_seed)
    name, text = SIGNER.verifier.name, fork(5).rpartition("\n\n")[0] + "\nmore\n"
    signature = base64.b64encode(SIGNER.verifier.key_id + key.sign(text.encode())).decode()
    with pytest.raises(BadRequest, match="other lines"):
        await take(connection, 0, [], f"{text}\n— {name} {signature}\n")


async def test_the_cosignature_has_the_time_of_the_witness(connection):
    first = await take(connection, 0, [], fork(5))
    later = Submission(5, [], fork(5))
    second = await keep(connection, later, KNOWN, COSIGNER, NOW + timedelta(seconds=1))
    assert first != second
