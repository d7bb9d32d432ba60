"""`serve` as a process: what it prints where, and that a signal ends it whatever it waits for."""

import asyncio
import os
import pty
import re
import select
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from installation import Installation
from patience import patient, wait_until

from telemetry_server.store.embedded.postmaster import Processes

SERVE = ("serve", "--listen", "127.0.0.1:0", "--product", "Example")


@contextmanager
def started(command, *arguments, **options):
    """Ends with the block, and is killed if it does not."""
    process = command.start(*arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until_said(read, words):
    said = ""
    while words not in said:
        line = read()
        assert line, said
        said += line
    return said


# ── the sign-in link ────────────────────────────────────────────────────────────────────────


def read_terminal(descriptor):
    ready, _, _ = select.select([descriptor], [], [], 60)
    return os.read(descriptor, 4096).decode() if ready else ""


async def test_the_sign_in_link_is_shown_on_a_terminal_and_works(operator):
    ours, theirs = pty.openpty()
    with started(operator, *SERVE, stdout=theirs, stderr=subprocess.DEVNULL):
        said = until_said(lambda: read_terminal(ours), "db psql")
        link = re.search(r"Sign in +(\S+/sign-in\?token=\S+)", said)[1]
        async with aiohttp.ClientSession() as session:
            answer = await session.post(
                link.partition("?")[0], data={"token": link.partition("token=")[2]}, allow_redirects=False
            )
            assert answer.status == 303
    os.close(ours)
    os.close(theirs)


async def test_a_log_gets_the_command_and_no_link(operator, connection):
    """A journal is kept, and read by many."""
    with started(operator, *SERVE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said = until_said(process.stdout.readline, "db psql")
        assert "token=" not in said
        assert await connection.fetchval("SELECT count(*) FROM sign_in_links") == 0
        command = re.search(r"Sign in +with the link of: \S+ (sign-in .*)", said)[1]
        link = operator(*command.split()).stdout
        url = re.search(r"Address +(\S+)", said)[1]
        assert link.startswith(f"{url}/sign-in?token=")
        async with aiohttp.ClientSession() as session, session.get(link.strip()) as page:
            assert page.status == 200
        process.terminate()
        assert process.wait(patient(30)) == 0
        assert "token=" not in process.stdout.read()
        process.stdout.close()


# ── signals ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_that_waits_for_its_postgresql(fresh, sign):
    """After a crash PostgreSQL may replay its log for hours: here it waits for an archive."""
    fresh("product", "list")
    asked = fresh.data / "run" / "asked"
    with (fresh.data / "postgres" / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = 'touch {asked}; sleep 300; false'\n")
    (fresh.data / "postgres" / "recovery.signal").touch()
    with started(fresh, *SERVE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait_until(asked.exists)
        process.send_signal(sign)
        assert process.wait(patient(60)) == 0
    assert Processes(fresh.data / "postgres").all() == []


@pytest.mark.slow(reason="PostgreSQL hangs, and each wait for it comes to its end")
@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_ends_a_server_that_gets_no_answer_from_postgresql(operator, cluster, workers):
    """The driver waits for PostgreSQL even to give a question up."""
    arguments = (*SERVE, "--workers", workers)
    with started(operator, *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        said = until_said(process.stdout.readline, "Sign in")
        server = type("Server", (), {})()
        server.url = re.search(r"Address +(\S+)", said)[1]
        server.product_key = re.search(r"Product key +(\S+)", said)[1]
        assert (await (await Installation.enrolled(server)).send()).statuses == ["accepted"]
        stopped = Processes(cluster.pgdata).all()
        for each in stopped:
            each.suspend()
        try:
            time.sleep(3)
            process.terminate()
            assert process.wait(patient(60)) == 0
        finally:
            for each in stopped:
                each.resume()
        process.stdout.close()


# ── doctor ──────────────────────────────────────────────────────────────────────────────────

BOUND_SECONDS = patient(45)
"""The 20 of doctor, and what a busy machine takes to load it."""


def doctor(command, *arguments):
    begun = time.monotonic()
    findings = command.json("doctor", *arguments, exit_code=1)["checks"]
    assert time.monotonic() - begun < BOUND_SECONDS
    return {finding["check"]: finding for finding in findings}


async def test_doctor_does_not_wait_for_who_holds_a_lock(operator, connection):
    async with connection.transaction():
        await connection.execute("LOCK TABLE jobs")
        found = await asyncio.to_thread(doctor, operator)
    assert found["PostgreSQL"]["outcome"] == "failed"
    assert "stopped answering" in found["PostgreSQL"]["detail"]
    assert found["clocks"]["outcome"] == "ok"
    assert "server" in found


async def test_doctor_does_not_wait_for_a_postgresql_that_hangs(fresh):
    fresh("product", "list")
    asked = fresh.data / "run" / "asked"
    with (fresh.data / "postgres" / "postgresql.auto.conf").open("a") as conf:
        conf.write(f"restore_command = 'touch {asked}; sleep 300; false'\n")
    (fresh.data / "postgres" / "recovery.signal").touch()
    found = await asyncio.to_thread(doctor, fresh)
    assert found["PostgreSQL"]["outcome"] == "failed"
    assert "Waited 8 s for PostgreSQL" in found["PostgreSQL"]["detail"]


def drip(listener, end):
    """Answers with a byte a second, so that no single wait is long."""
    client, _ = listener.accept()
    with client:
        client.sendall(b"HTTP/1.1 200 OK\r\n")
        while not end.wait(1):
            try:
                client.sendall(b"X-Drip: 1\r\n")
            except OSError:
                return


@pytest.mark.slow(reason="the check that never ends is given up after 18 seconds")
def test_doctor_gives_up_what_never_ends_and_shows_the_rest(operator):
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dripping = threading.Thread(target=drip, args=(listener, end))
        dripping.start()
        found = doctor(operator, "--listen", f"127.0.0.1:{listener.getsockname()[1]}")
        end.set()
        dripping.join()
    assert 'The check "server" did not end within 18 s' in found["doctor"]["detail"]
    assert found["PostgreSQL"]["outcome"] == "ok"


async def test_doctor_says_why_a_running_server_is_not_ready(make_server, command_line):
    server = make_server()
    await server.fetch("DELETE FROM schema_migrations WHERE version = 1")
    command = command_line(server.data, database_url=server.database)
    found = await asyncio.to_thread(doctor, command, "--listen", server.listen)
    assert found["server"]["outcome"] == "failed"
    assert "is not ready: migrations 1 to do" in found["server"]["detail"]


async def test_a_postgresql_with_too_few_connections_is_said_at_the_start_and_by_doctor(
    make_server, command_line
):
    server = make_server(writer_lanes=64)  # the PostgreSQL of the tests has 60
    [line] = [line for line in server.errors().splitlines() if '"few connections"' in line]
    assert "Raise max_connections" in line
    command = command_line(server.data, database_url=server.database, writer_lanes=64)
    found = {
        finding["check"]: finding for finding in command.json("doctor", "--listen", server.listen)["checks"]
    }
    assert found["connections"]["outcome"] == "warning"
    assert "TELEMETRY_WRITER_LANES" in found["connections"]["detail"]


@pytest.mark.slow(reason="eight processes start and are all asked")
async def test_eight_processes_find_enough_connections_at_the_embedded_postgresql(fresh):
    """As on a machine of eight cores: once each of their uploads was refused for good."""
    arguments = (*SERVE, "--workers", 8)
    with started(fresh, *arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        said = until_said(process.stdout.readline, "db psql")
        found = re.search(r"Product key +(\S+)", said)[1], re.search(r"Address +(\S+)", said)[1]
        server = SimpleNamespace(product_key=found[0], url=found[1])
        await asyncio.sleep(3)  # each process holds the connections of its jobs by now

        async def uploads():
            installation = await Installation.enrolled(server)
            return [(await installation.send()).status for _ in range(4)]

        answers = await asyncio.gather(*(uploads() for _ in range(40)))
        assert {status for statuses in answers for status in statuses} == {200}
        process.terminate()
        assert process.wait(60) == 0
        process.stdout.close()
