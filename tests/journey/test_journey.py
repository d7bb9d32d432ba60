"""From a real SDK process over a real server to the page in a real browser."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.request

import pytest
from license_telemetry import _facts as facts
from patience import patient
from places import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def license_telemetry(server, state, *arguments, check=True):
    """Runs the SDK's command as a customer's machine would."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LICENSE_TELEMETRY", "DO_NOT"))
    }
    environment |= {
        "PYTHONPATH": str(ROOT / "client_sdk"),
        "LICENSE_TELEMETRY_ENDPOINT": server.url,
        "LICENSE_TELEMETRY_PRODUCT_KEY": server.product_key,
        "LICENSE_TELEMETRY_STATE_DIR": str(state),
    }
    return subprocess.run(
        [sys.executable, "-m", "license_telemetry", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=check,
        timeout=patient(60),
    )


SEND = (
    "send",
    "--status",
    "licensed",
    "--key",
    "ABCD-EFGH-7Q2K",
    "--source",
    "marketplace",
    "--feature",
    "invoice.created=12",
)


async def test_one_command_sends_this_machines_server_information(server, tmp_path):
    sent = license_telemetry(server, tmp_path / "state", *SEND)
    assert sent.returncode == 0, sent.stderr
    rows = await server.fetch("SELECT * FROM v_pings ORDER BY sequence")
    here, virtual = facts.operating_system(), facts.virtualization()
    last = rows[-1]
    assert (last["os_type"], last["os_name"], last["os_version"]) == (
        here["type"],
        here["name"],
        here["version"],
    )
    assert (last["virtualization_vm"], last["virtualization_container"]) == (
        virtual["vm"],
        virtual["container"],
    )
    assert (last["license_status"], last["license_source"], last["license_key_hint"]) == (
        "licensed",
        "marketplace",
        "7Q2K",
    )
    counts = [json.loads(row["features"]) for row in rows if row["features"]]
    assert counts == [{"invoice.created": 12}]
    assert await server.fetchval("SELECT host(client_address) FROM installations") == "127.0.0.1"


async def test_preview_shows_what_is_then_sent_and_sends_nothing(server, tmp_path):
    preview = json.loads(license_telemetry(server, tmp_path / "state", "preview").stdout)
    assert await server.fetchval("SELECT count(*) FROM pings") == 0
    license_telemetry(server, tmp_path / "state", "send")
    [row] = await server.fetch("SELECT facts FROM v_pings")
    shown = preview.get("ping", preview)
    kept = json.loads(row["facts"])
    for section in ("os", "host", "virtualization", "runtime"):
        told = {name: value for name, value in shown[section].items() if value is not None}
        assert told == kept[section]


async def test_the_api_tells_what_the_sdk_sent(server, tmp_path):
    license_telemetry(server, tmp_path / "state", *SEND)
    request = urllib.request.Request(
        f"{server.url}/api/v1/installations", headers={"Authorization": f"Bearer {server.token}"}
    )
    [item] = json.load(await asyncio.to_thread(urllib.request.urlopen, request))["items"]
    assert item["os"]["name"] == facts.operating_system()["name"]
    assert item["license"]["status"] == "licensed"
    assert item["client_address"] == "127.0.0.1"


async def test_a_cloned_state_directory_is_seen_as_a_fork_and_goes_on_as_a_child(server, tmp_path):
    license_telemetry(server, tmp_path / "one", "send")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    license_telemetry(server, tmp_path / "one", "send")
    license_telemetry(server, tmp_path / "two", "send")
    assert await server.fetchval("SELECT count(*) FROM forks") >= 1
    assert await server.fetchval("SELECT count(*) FROM installations") == 2
    [lineage] = await server.fetch("SELECT installation_id, parent_id FROM lineage")
    parent = await server.fetchval("SELECT min(installation_id::text)::uuid FROM installations")
    assert lineage["parent_id"] == parent
    again = license_telemetry(server, tmp_path / "two", "send")
    assert again.returncode == 0
    assert await server.fetchval("SELECT count(*) FROM installations") == 2


async def test_what_was_exported_offline_is_counted_once_when_it_is_imported(server, tmp_path):
    enrolment = tmp_path / "enrolment.json"
    subprocess.run(
        [sys.executable, "-m", "telemetry_server", "enroll", server.product_slug, "--output", enrolment],
        env=os.environ | {"TELEMETRY_DATABASE_URL": server.database, "TELEMETRY_DATA": str(server.data)},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    state = tmp_path / "offline"
    offline = type("Offline", (), {"url": "http://127.0.0.1:9", "product_key": server.product_key})
    license_telemetry(offline, state, "import-enrolment", str(enrolment))
    license_telemetry(offline, state, *SEND, check=False)
    carried = tmp_path / "carried.jsonl"
    license_telemetry(offline, state, "export", str(carried))
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-m", "telemetry_server", "import", carried, "--endpoint", server.url],
            env=os.environ | {"TELEMETRY_DATABASE_URL": server.database, "TELEMETRY_DATA": str(server.data)},
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
    kept = await server.fetch("SELECT sequence FROM pings")
    assert len(kept) == len({row["sequence"] for row in kept}) >= 1


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
async def test_the_page_shows_this_machine_in_a_real_browser(server, tmp_path):
    from playwright.async_api import async_playwright, expect

    license_telemetry(server, tmp_path / "state", *SEND)
    here, virtual = facts.operating_system(), facts.virtualization()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                "--no-sandbox",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        page = await browser.new_page()
        problems = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto(f"{server.url}/")
        assert "/sign-in" in page.url
        await page.goto(server.sign_in_link)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("body")).to_contain_text(here["name"])
        await page.goto(f"{server.url}/installations")
        await page.locator("tbody a").first.click()
        body = page.locator("body")
        for text in (
            here["name"],
            here["version"],
            virtual["vm"] or "",
            "licensed",
            "marketplace",
            "127.0.0.1",
        ):
            await expect(body).to_contain_text(text)
        await page.get_by_role("link", name="Features", exact=True).last.click()
        for text in ("invoice.created", "12"):
            await expect(body).to_contain_text(text)
        await browser.close()
    assert problems == []
