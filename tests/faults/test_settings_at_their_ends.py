"""A real server with each setting at its least and at its most: pings, sign-in and every job work."""

import asyncio
import subprocess
import sys
from contextlib import nullcontext
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from installation import Installation, post
from patience import patient
from places import ROOT

from telemetry_server.app import job_table
from telemetry_server.jobs.runner import run_job
from telemetry_server.settings import read_settings

pytestmark = pytest.mark.every_postgres

LEAST = {
    "address_retention_days": 0,
    "enrolments_per_hour": 1,
    "most_incoming_mebibytes": 1,
    "most_waiting_mebibytes": 16,
    "network_cpu_percent": 1,
    "network_mebibytes_per_minute": 8,
    "notice_url": "http://a/",
    "notice_version": "1",
    "public_url": "http://a",
    "retention_days": "ping=1,fact=1,usage=1",
    "session_hours": 1,
    "uploads_per_minute": 1,
    "writer_lanes": 1,
}
# Not the most of workers and writer_lanes: the test's machine has no room for them.
MOST = {
    "address_retention_days": 36_500,
    "enrolments_per_hour": 1_000_000_000,
    "most_incoming_mebibytes": 65_536,
    "most_waiting_mebibytes": 65_536,
    "network_cpu_percent": 100,
    "network_mebibytes_per_minute": 1_048_576,
    "notice_url": "https://a/" + "p" * 2_038,
    "notice_version": "v" * 64,
    "public_url": "HTTPS://" + "A" * 63 + ".Example:65535/",
    "retention_days": "ping=36500,fact=36500,usage=36500",
    "session_hours": 8_760,
    "trusted_proxies": "127.0.0.0/8,8.0.0.0/8,2400::/16",
    "uploads_per_minute": 1_000_000_000,
    "writer_lanes": 8,
}


async def signed_in(server):
    """The session cookie that a browser gets for the first sign-in link; the server's own URL is used."""
    token = parse_qs(urlsplit(server.sign_in_link).query)["token"][0]
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"http://{server.listen}/sign-in", data={"token": token}, allow_redirects=False
        )
    return answer.status, answer.headers.get("Set-Cookie", "")


@pytest.mark.parametrize("settings", [LEAST, MOST], ids=["least", "most"])
async def test_a_server_at_the_ends_of_its_settings_works(make_server, connection, settings, unused_tcp_port):
    server = make_server(listen=f"127.0.0.1:{unused_tcp_port}", **settings)
    server.url = f"http://{server.listen}"
    installation = await Installation.enrolled(server)
    assert (await installation.send()).statuses == ["accepted"]

    status, cookie = await signed_in(server)
    assert status == 303
    assert f"Max-Age={settings['session_hours'] * 3600};" in cookie
    assert ("Secure" in cookie, cookie.startswith("__Host-")) == (settings is MOST,) * 2

    assert await asyncio.to_thread(server.terminate) == 0
    environment = {f"TELEMETRY_{name.upper()}": str(value) for name, value in settings.items()}
    environment["TELEMETRY_DATA"] = str(server.data)
    jobs = job_table(read_settings(environment, {}))
    assert len(jobs) > 10
    for job in jobs:
        assert await run_job(job, lambda: nullcontext(connection))


async def test_empty_elements_of_a_forwarded_address_are_ignored_on_both_ways(make_server):
    server = make_server(trusted_proxies="127.0.0.0/8,10.0.0.0/8")
    installation = await Installation.enrolled(server)
    for ways in ({}, {"Accept": "*/*", "Connection": "keep-alive, x"}):  # the second one is left to aiohttp
        body = installation.upload(installation.ping())
        headers = {
            "Telemetry-Signature": installation.sign(body),
            "X-Forwarded-For": "203.0.113.9, , 10.0.0.7,",
        }
        assert (await post(f"{server.url}/v1/pings", body, headers | ways)).status == 200
    found = await server.fetch("SELECT DISTINCT host(client_address) AS address FROM pings")
    assert [row["address"] for row in found] == ["203.0.113.9"]


def refused(arguments=(), **settings):
    environment = {"PATH": "/usr/bin:/bin"} | {
        f"TELEMETRY_{name.upper()}": text for name, text in settings.items()
    }
    done = subprocess.run(
        [sys.executable, "-m", "telemetry_server", "serve", *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=patient(60), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_wrong_settings_end_a_server_before_it_makes_anything(tmp_path):
    data = tmp_path / "data"
    said = refused(
        ("--data", str(data), "--workers", "0"),
        public_url="telemetry.example.com",
        session_hours="99999999999",
        trusted_proxies="0.0.0.0/0",
        database_url="postgresql://telemetry:hunter2@x/y@db/telemetry",
    )
    for name in ("WORKERS", "PUBLIC_URL", "SESSION_HOURS", "TRUSTED_PROXIES", "DATABASE_URL"):
        assert f"TELEMETRY_{name}=" in said
    assert "hunter2" not in said
    assert "Traceback" not in said
    assert not data.exists()
