"""The jobs of the audit log, and timestamps from an authority that is OpenSSL."""

import asyncio
import contextlib
import http.server
import threading
from datetime import UTC, datetime, timedelta

import pytest
from audit_log import SIGNER, entry
from patience import patient
from timestamp_authority import Authority, needs_openssl

from telemetry_server.app import job_table
from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.jobs.audit_checkpoint import write_audit_checkpoint
from telemetry_server.jobs.audit_witness import send_to_witness
from telemetry_server.jobs.retention import forget_audit_entries
from telemetry_server.jobs.timestamps import NoTimestamp, timestamp
from telemetry_server.keyring import open_keyring
from telemetry_server.settings import Settings
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_check import verify
from telemetry_server.store.access.audit_checkpoints import LogRewritten, signer_of
from telemetry_server.store.access.audit_log import number_entries

NOW = datetime(2026, 11, 30, 10, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("tsa"))
    yield authority
    authority.server.shutdown()
    authority.server.server_close()


async def test_the_job_signs_with_a_key_that_follows_from_the_keyring(connection, tmp_path):
    keyring = open_keyring(tmp_path / "keyring.json")
    run = write_audit_checkpoint(keyring.path, tmp_path / "out", "")
    assert await run(connection, NOW) == "the audit log is empty"
    await audit.record(connection, entry())
    assert await run(connection, NOW) == "the checkpoint has 1 entries"
    note = (tmp_path / "out" / "2026-11-30" / "1.checkpoint").read_text()
    assert signer_of(open_keyring(keyring.path)).verifier.open(note).size == 1
    assert note == await connection.fetchval("SELECT note FROM audit_checkpoints")


async def test_the_job_erases_what_is_older_than_the_setting(connection):
    for days in 29, 31, 400:
        await audit.record(connection, entry(days), NOW - timedelta(days=days))
    await number_entries(connection)
    assert await forget_audit_entries(30)(connection, NOW) == "erased 2 entries"
    await number_entries(connection)
    erasure, left = await audit.find(connection, audit.AuditFilter(), limit=9)
    assert (erasure.actor, erasure.reason) == ("job:forget audit entries", "older than 30 days")
    assert left.details["number"] == 29
    assert (await verify(connection, SIGNER.verifier)).intact


def test_checkpoints_are_written_every_ten_minutes():
    every = {job.name: job.every for job in job_table(Settings())}
    assert every[JobName.WRITE_AUDIT_CHECKPOINT] == timedelta(minutes=10)
    assert every[JobName.FORGET_AUDIT_ENTRIES] == timedelta(days=1)


# ── the witness ──────────────────────────────────────────────────────────────────────────────


class Refusing(http.server.BaseHTTPRequestHandler):
    """A witness that gives one answer."""

    answer = (401, b"Sign in")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def test_a_witness_that_refuses_or_is_not_there_fails_the_job(connection, tmp_path):
    assert await send_to_witness("http://127.0.0.1:9", "")(connection, NOW) == "no checkpoint"
    await audit.record(connection, entry())
    await write_audit_checkpoint(open_keyring(tmp_path / "keyring.json").path, None, "")(connection, NOW)
    with pytest.raises(Unavailable, match="The witness does not answer"):
        await send_to_witness("http://127.0.0.1:9", "")(connection, NOW)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        send = send_to_witness(f"http://127.0.0.1:{server.server_port}", "a token")
        for answer, error in (
            ((401, b"Sign in"), Unavailable),
            ((302, b""), Unavailable),
            ((409, b"nonsense"), Unavailable),
            ((409, b"7"), LogRewritten),
            ((422, b""), LogRewritten),
        ):
            Refusing.answer = answer
            with pytest.raises(error):
                await send(connection, NOW)
        server.shutdown()


async def test_a_witness_whose_answer_drips_holds_up_neither_the_job_nor_the_end_of_the_process(
    connection, tmp_path
):
    await audit.record(connection, entry())
    await write_audit_checkpoint(open_keyring(tmp_path / "keyring.json").path, None, "")(connection, NOW)
    ends, closed = asyncio.Event(), asyncio.Event()

    async def drip(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        with contextlib.suppress(ConnectionError):
            while not ends.is_set():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        closed.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        send = send_to_witness(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "", 1)
        with pytest.raises(Unavailable, match="no whole answer within 1 seconds"):
            await send(connection, NOW)
        with pytest.raises(Unavailable, match="an earlier request"):
            await send(connection, NOW)  # and no second thread
        async with asyncio.timeout(patient(10)):
            await asyncio.get_running_loop().shutdown_default_executor()
            ends.set()
            await closed.wait()


# ── timestamps ───────────────────────────────────────────────────────────────────────────────


@needs_openssl
async def test_a_checkpoint_gets_a_timestamp_that_openssl_confirms(connection, tmp_path, authority):
    keyring = open_keyring(tmp_path / "keyring.json")
    run = write_audit_checkpoint(keyring.path, tmp_path / "out", authority.url)
    await audit.record(connection, entry())
    assert await run(connection, NOW) == "the checkpoint has 1 entries, got a timestamp"
    checkpoint = tmp_path / "out" / "2026-11-30" / "1.checkpoint"
    token = checkpoint.with_suffix(".tsr")
    assert authority.confirms(checkpoint, token)
    assert not authority.confirms(tmp_path / "keyring.json", token)
    assert await run(connection, NOW) == "the checkpoint has 1 entries, has its timestamp"


@needs_openssl
async def test_without_the_authority_the_checkpoint_is_written_and_the_timestamp_later(
    connection, tmp_path, authority, capfd
):
    keyring = open_keyring(tmp_path / "keyring.json")
    away = write_audit_checkpoint(keyring.path, tmp_path / "out", "http://127.0.0.1:9/")
    await audit.record(connection, entry())
    assert "no timestamp: " in await away(connection, NOW)
    assert "no timestamp" in capfd.readouterr().err
    again = write_audit_checkpoint(keyring.path, tmp_path / "out", authority.url)
    assert await again(connection, NOW) == "the checkpoint has 1 entries, got a timestamp"


@needs_openssl
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: b"<html>", "not one of RFC 3161"),
        (lambda _: bytes.fromhex("30053003020102"), "refuses, with status 2"),
    ],
    ids=["no answer of RFC 3161", "a refusal"],
)
def test_other_answers_are_refused(authority, monkeypatch, answer, said):
    monkeypatch.setattr(authority, "answer", answer)
    with pytest.raises(NoTimestamp, match=said):
        timestamp(authority.url, b"data")


@needs_openssl
def test_a_timestamp_of_something_else_is_refused(authority, monkeypatch):
    kept = timestamp(authority.url, b"other")
    monkeypatch.setattr(authority, "answer", lambda _: kept)
    with pytest.raises(NoTimestamp, match="another request"):
        timestamp(authority.url, b"data")
