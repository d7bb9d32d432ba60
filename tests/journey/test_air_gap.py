"""A copy without a network: bundles out, receipts back, by command, by API and by browser."""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from installation import Installation, make_ping, uuid7
from license_telemetry import cli
from patience import patient, wait_until
from places import ROOT
from test_journey import CHROMIUM, license_telemetry

NOWHERE = "http://127.0.0.1:9"
HOST = """
import sys, threading
from license_telemetry import Telemetry
shown = threading.Event()
def on_notice(notices):
    print("shown", notices[0]["version"], flush=True)
    shown.set()
telemetry = Telemetry(endpoint=sys.argv[1], product_key=sys.argv[2], state_dir=sys.argv[3], version="7.2.1",
                      on_notice=on_notice)
telemetry.feature("invoice.created", 3)
telemetry.ping()
print("queued", telemetry.flush(timeout=30), flush=True)
sys.stdin.readline()
telemetry.ping()
shown.wait(60)
telemetry.close()
"""


@pytest.fixture(scope="module")
def vendor(common_server, tmp_path_factory):
    """The server, with a notice in force."""
    text = tmp_path_factory.mktemp("notice") / "notice.txt"
    text.write_text("What we collect, and why.")
    common_server.command("privacy", "notice", "add", "2026-12-01", str(text))
    key = {"Authorization": f"Bearer {common_server.product_key}"}
    asked = urllib.request.Request(f"{common_server.url}/v1/enroll", b"{}", key)
    wait_until(lambda: json.load(urllib.request.urlopen(asked))["notice"], every=0.3)
    return common_server


@pytest.fixture
def copy(vendor, tmp_path, monkeypatch, capsys):
    """Makes copies of the software; each runs `license-telemetry` in its own state directory, without network."""
    for name in list(os.environ):
        if name.startswith("LICENSE_TELEMETRY") or name == "DO_NOT_TRACK":
            monkeypatch.delenv(name)

    def make(name, *, enrolled=True):
        def run(command, *arguments, endpoint=NOWHERE):
            where = ["--state-dir", str(tmp_path / name), "--product-key", vendor.product_key]
            capsys.readouterr()
            code = cli.main([command, *map(str, arguments), *where, "--endpoint", endpoint])
            out, err = capsys.readouterr()
            return code, out + err

        if enrolled:
            run("export", "--to", tmp_path / f"{name}-asks")
            taken = take(vendor, (tmp_path / f"{name}-asks").read_bytes())
            (tmp_path / f"{name}-identity").write_bytes(taken)
            assert run("import", tmp_path / f"{name}-identity")[0] == 0
        return run

    return make


def take(server, content):
    """The receipts for a bundle, by the API."""
    return urllib.request.urlopen(urllib.request.Request(f"{server.url}/v1/bundles", content)).read()


def refusal(server, content):
    with pytest.raises(urllib.error.HTTPError) as refused:
        take(server, content)
    with refused.value as answer:
        return answer.code, json.load(answer)["detail"]


def answers(receipts):
    return [json.loads(line) for line in receipts.splitlines()[1:-1]]


def statuses(receipts):
    return [
        result["status"]
        for each in answers(receipts)
        if each["path"] == "/v1/pings" and each["status"] == 200
        for result in json.loads(base64.b64decode(each["body"]))["results"]
    ]


def installation_of(run):
    return json.loads(run("status", "--json")[1])["installation_id"]


async def rows(server, run):
    sql = (
        "SELECT sequence, client_address, received_at > occurred_at AS later FROM pings"
        " WHERE installation_id = $1::text::uuid ORDER BY sequence"
    )
    return await server.fetch(sql, installation_of(run))


def command(server, bundle, receipts):
    return server.command(
        "bundle", "take", str(bundle), "--receipts", str(receipts), "--endpoint", server.url
    )


async def test_the_whole_loop_goes_without_a_network(vendor, tmp_path):
    """The host, the customer's commands and the vendor's are processes of their own; only files go between them."""
    offline = type("Offline", (), {"url": NOWHERE, "product_key": vendor.product_key})
    state = tmp_path / "state"
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, NOWHERE, vendor.product_key, str(state)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "client_sdk")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert host.stdout.readline().startswith("queued")
        license_telemetry(offline, state, "export", "--to", str(tmp_path / "asks"))
        assert command(vendor, tmp_path / "asks", tmp_path / "identity")["requests"] == [
            {"path": "/v1/enroll", "status": 201}
        ]
        said = license_telemetry(offline, state, "import", str(tmp_path / "identity")).stdout
        assert "This is now installation" in said
        license_telemetry(offline, state, "export", "--to", str(tmp_path / "pings"))
        pings = command(vendor, tmp_path / "pings", tmp_path / "receipts")["pings"]
        assert set(pings) == {"accepted"}
        said = license_telemetry(offline, state, "import", str(tmp_path / "receipts")).stdout
        assert "acknowledged, 0 refused; 0 still queued" in said
        host.stdin.write("on\n")
        host.stdin.flush()
        assert host.stdout.readline() == "shown 2026-12-01\n"
        assert host.wait(patient(60)) == 0
    finally:
        host.kill()
        host.stdin.close()
        host.stdout.close()
    known = json.loads(license_telemetry(offline, state, "status", "--json").stdout)
    sql = "SELECT features, client_address FROM v_pings WHERE installation_id = $1::text::uuid"
    kept = await vendor.fetch(sql, known["installation_id"])
    assert len(kept) == pings["accepted"]
    assert sum(json.loads(row["features"] or "{}").get("invoice.created", 0) for row in kept) in (0, 3)
    assert {row["client_address"] for row in kept} == {None}
    country = "SELECT country FROM installation_facts WHERE installation_id = $1::text::uuid"
    assert await vendor.fetchval(country, known["installation_id"]) == "unknown"


async def test_bundles_come_in_any_order_and_any_number_of_times(vendor, copy, tmp_path):
    run = copy("ordered")
    run("send")
    assert run("export", "--to", tmp_path / "one")[0] == 0
    run("send")
    assert run("export", "--to", tmp_path / "two")[0] == 0
    two = take(vendor, (tmp_path / "two").read_bytes())
    one = take(vendor, (tmp_path / "one").read_bytes())
    again = take(vendor, (tmp_path / "two").read_bytes())
    assert statuses(two) == ["accepted"] * 2
    assert statuses(one) == ["duplicate"]
    assert statuses(again) == ["duplicate"] * 2
    for name, content, acknowledged in (
        ("two", two, "2 pings acknowledged"),
        ("one", one, "0 pings acknowledged"),
        ("again", again, "0 pings acknowledged"),
    ):
        (tmp_path / f"{name}-receipts").write_bytes(content)
        code, said = run("import", tmp_path / f"{name}-receipts")
        assert (code, acknowledged in said, "0 still queued" in said) == (0, True, True), said
    assert [row["sequence"] for row in await rows(vendor, run)] == [1, 2]
    assert "nothing waits for the server" in run("export", "--to", tmp_path / "three")[1]


async def test_a_ping_that_goes_by_network_and_by_bundle_counts_once(vendor, copy, tmp_path):
    run = copy("both")
    run("send")
    run("export", "--to", tmp_path / "carried")
    run("send")
    assert run("send", endpoint=vendor.url)[0] == 0
    receipts = take(vendor, (tmp_path / "carried").read_bytes())
    assert statuses(receipts) == ["duplicate"]
    (tmp_path / "receipts").write_bytes(receipts)
    assert "0 pings acknowledged" in run("import", tmp_path / "receipts")[1]
    kept = await rows(vendor, run)
    assert [row["sequence"] for row in kept] == [1, 2, 3]
    assert str(kept[0]["client_address"]) == "127.0.0.1"  # over the network it came first


async def test_whose_ping_comes_by_bundle_first_keeps_no_address(vendor, copy, tmp_path):
    run = copy("addressless")
    run("send")
    run("export", "--to", tmp_path / "carried")
    take(vendor, (tmp_path / "carried").read_bytes())
    assert run("send", endpoint=vendor.url)[0] == 0
    first, *others = await rows(vendor, run)
    assert (first["client_address"], first["later"]) == (None, True)
    assert {str(row["client_address"]) for row in others} == {"127.0.0.1"}


def test_receipts_of_another_copy_and_damaged_ones_change_nothing(vendor, copy, tmp_path):
    mine, other = copy("mine"), copy("other")
    mine("send")
    mine("export", "--to", tmp_path / "bundle")
    receipts = take(vendor, (tmp_path / "bundle").read_bytes())
    changed = receipts.replace(b'"status":200', b'"status":400')
    assert changed != receipts
    for run, content, said in (
        (other, receipts, "these receipts are for installation"),
        (mine, changed, "changed on its way"),
        (mine, receipts[:-40], "cut short"),
        (mine, receipts.splitlines()[0], "cut short"),
        (mine, b"", "no file of receipts"),
        (mine, b"nonsense\n" * 3, "no file of receipts"),
        (mine, (tmp_path / "bundle").read_bytes(), "is a bundle for the server"),
        (mine, b'{"receipts":1}\n' + b" " * 33 * 2**20, "no file of receipts"),
        (mine, (tmp_path / "other-identity").read_bytes(), "the bundle of another copy"),
    ):
        (tmp_path / "file").write_bytes(content)
        code, words = run("import", tmp_path / "file")
        assert (code, said in words) == (1, True), words
        assert json.loads(run("status", "--json")[1])["queued"] == (1 if run is mine else 0)
    code, words = mine("import", tmp_path / "mine-identity")
    assert (code, "has its identity already" in words) == (0, True)


def test_a_clone_gets_an_identity_of_its_own_over_the_gap(vendor, copy, tmp_path):
    run = copy("original")
    run("send")
    shutil.copytree(tmp_path / "original", tmp_path / "clone")
    clone = copy("clone", enrolled=False)
    parent = installation_of(run)
    for number, which in enumerate((run, clone)):
        which("send")
        which("export", "--to", tmp_path / f"bundle{number}")
        (tmp_path / "receipts").write_bytes(take(vendor, (tmp_path / f"bundle{number}").read_bytes()))
        said = which("import", tmp_path / "receipts")[1]
    assert "Another copy goes on under this identity" in said
    clone("export", "--to", tmp_path / "asks")
    (tmp_path / "fresh").write_bytes(take(vendor, (tmp_path / "asks").read_bytes()))
    assert "This is now installation" in clone("import", tmp_path / "fresh")[1]
    assert installation_of(clone) != parent == installation_of(run)
    assert "the identity that this copy had before" in clone("import", tmp_path / "fresh")[1]
    clone("export", "--to", tmp_path / "last")
    assert set(statuses(take(vendor, (tmp_path / "last").read_bytes()))) == {"accepted"}


async def test_the_wish_to_be_forgotten_goes_over_the_gap_while_telemetry_is_off(vendor, copy, tmp_path):
    run = copy("leaving")
    run("send")
    run("export", "--to", tmp_path / "bundle")
    take(vendor, (tmp_path / "bundle").read_bytes())
    identity = installation_of(run)
    assert run("forget")[0] == 1  # no network: it waits
    assert "1 request" in run("export", "--to", tmp_path / "wish")[1]
    receipts = take(vendor, (tmp_path / "wish").read_bytes())
    (tmp_path / "receipts").write_bytes(receipts)
    assert [(each["path"], each["status"]) for each in answers(receipts)] == [("/v1/forget", 202)]
    assert "has erased this installation" in run("import", tmp_path / "receipts")[1]
    assert installation_of(run) is None
    asked = "SELECT count(*) FROM erasures WHERE subject = $1"
    assert await vendor.fetchval(asked, identity) == 1


# ── bundles made by hand ────────────────────────────────────────────────────────────────────


def sealed(installation, *requests, head=None):
    """A bundle, straight from the protocol."""
    head = head or {"bundle": 1, "bundle_id": str(uuid7()), "installation_id": installation.id}
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in (head, *requests))
    return lines + json.dumps({"seal": installation.sign(lines, "/v1/bundles")}).encode() + b"\n"


def carried(installation, *pings, path="/v1/pings"):
    body = installation.upload(*pings)
    headers = {"Telemetry-Signature": installation.sign(body, path), "X-Forwarded-For": "203.0.113.9"}
    return {"method": "POST", "path": path, "headers": headers, "body": base64.b64encode(body).decode()}


async def test_a_bundle_that_is_not_whole_is_refused_as_a_whole(vendor):
    one, other = await Installation.enrolled(vendor), await Installation.enrolled(vendor)
    good = sealed(one, carried(one, make_ping(1)), carried(one, make_ping(2)))
    lines = good.splitlines(keepends=True)
    unsealed = b"".join(lines[:-1])
    digest = json.dumps({"sha256": hashlib.sha256(unsealed).hexdigest()}).encode()
    foreign = Installation(vendor.url, {**vars(other), "installation_id": other.id, "secret": "A" * 43})
    for content, code, words in (
        (good[: len(good) // 2], 400, "cut short"),
        (b"".join([lines[0], lines[2], lines[3]]), 401, "changed on its way"),
        (b"".join([lines[0], lines[2], lines[1], lines[3]]), 401, "changed on its way"),
        (good.replace(b"POST", b"post"), 401, "changed on its way"),
        (sealed(foreign, carried(one, make_ping(1))), 401, "another vendor"),
        (unsealed + digest, 401, "one enrolment, and nothing else"),
        (unsealed + digest.replace(b'": "', b'": "0'), 400, "changed on its way"),
        (sealed(one, *[carried(one, make_ping(n)) for n in range(1, 202)]), 413, "at most 200 requests"),
        (good + b" " * 2 * 2**20, 413, "larger than"),
        (b'{"receipts": 1}\n' + good, 400, "receipts file"),
        (b"", 400, "no bundle"),
        (b"\xff\n" * 5, 400, "no bundle"),
        (sealed(one, {"path": "/v1/pings", "headers": {}, "body": "?"}), 400, "no request"),
        (sealed(one, ["nothing"]), 400, "no request"),
    ):
        status, said = refusal(vendor, content)
        assert (status, words in said) == (code, True), (words, status, said)
    sql = "SELECT count(*) FROM pings WHERE installation_id = ANY ($1::text[]::uuid[])"
    assert await vendor.fetchval(sql, [one.id, other.id]) == 0
    assert statuses(take(vendor, good)) == ["accepted"] * 2


async def test_each_request_is_answered_for_itself_and_by_its_own_signature(vendor):
    one, other = await Installation.enrolled(vendor), await Installation.enrolled(vendor)
    forged = carried(one, make_ping(2))
    forged["headers"]["Telemetry-Signature"] = other.sign(b"something else")
    bundle = sealed(
        one,
        carried(one, make_ping(1)),
        forged,
        carried(one, path="/v1/access"),
        carried(one, make_ping(3), make_ping(4, license={"status": "?"})),
    )
    receipts = take(vendor, bundle)
    assert [each["status"] for each in answers(receipts)] == [200, 401, 404, 200]
    assert statuses(receipts) == ["accepted", "accepted", "rejected"]
    lines, head = receipts[: receipts.rindex(b"\n", 0, -1) + 1], json.loads(receipts.splitlines()[0])
    seal = json.loads(receipts.splitlines()[-1])["seal"]
    assert seal == one.receipt(head["bundle_id"].encode(), lines)
    for each in answers(receipts):
        if each["status"] == 200:
            [sent] = [
                base64.b64decode(line["body"])
                for line in map(json.loads, bundle.splitlines()[1:-1])
                if hashlib.sha256(base64.b64decode(line["body"])).hexdigest() == each["sha256"]
            ]
            assert each["headers"]["Telemetry-Receipt"] == one.receipt(sent, base64.b64decode(each["body"]))
    address = "SELECT client_address FROM installations WHERE installation_id = $1::text::uuid"
    assert await vendor.fetchval(address, one.id) is None  # neither the carrier's nor a claimed one


# ── in a browser ────────────────────────────────────────────────────────────────────────────


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_bundle_is_carried_by_a_browser_of_the_vendor_and_of_a_customer(vendor, copy, tmp_path):
    from playwright.async_api import async_playwright

    run = copy("browsed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            for path, signed_in in (("/bundle", False), ("/bundles", True)):
                page = await browser.new_page(java_script_enabled=signed_in)
                wrong = []
                page.on("console", lambda said, wrong=wrong: wrong.append(said))
                if signed_in:
                    await page.goto(await asyncio.to_thread(lambda: vendor.sign_in_link))
                    await page.locator("form button").first.click()
                run("send")
                run("export", "--to", tmp_path / "bundle")
                await page.goto(vendor.url + path)
                await page.set_input_files("input[name=file]", tmp_path / "bundle")
                await page.click("text=Take the bundle")
                assert "1 ping accepted" in await page.locator("#taken").inner_text()
                if pictures := os.environ.get("PICTURES"):
                    for width in (380, 1440):
                        for scheme in ("light", "dark"):
                            await page.set_viewport_size({"width": width, "height": 900})
                            await page.emulate_media(color_scheme=scheme)
                            name = f"{pictures}/{path.strip('/')}-{width}-{scheme}.png"
                            await page.screenshot(path=name, full_page=True)
                async with page.expect_download() as download:
                    await page.click("#receipts")
                await (await download.value).save_as(tmp_path / "receipts")
                assert "1 ping acknowledged" in run("import", tmp_path / "receipts")[1]
                await page.set_input_files("input[name=file]", tmp_path / "receipts")
                await page.click("text=Take the bundle")
                assert "This is a receipts file" in await page.locator("[role=alert]").inner_text()
                errors = [said.text for said in wrong if said.type == "error"]
                assert [each for each in errors if "422" not in each] == []
        finally:
            await browser.close()
    assert [row["sequence"] for row in await rows(vendor, run)] == [1, 2]
    taken = "SELECT count(*) FROM audit_entries WHERE action = 'installation.bundle' AND subject_id = $1"
    assert await vendor.fetchval(taken, installation_of(run)) == 1
