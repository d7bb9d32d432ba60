"""What deploy/ ships does what it says: proxies before a real server, the unit before systemd's own check."""

import contextlib
import shutil
import socket
import ssl
import subprocess
import sys

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import unused_port
from installation import Installation, post
from patience import patient, wait_until
from places import ROOT

HOST = "telemetry.example.com"
DEPLOY = ROOT / "deploy"


def shipped(file, *changes):
    """The shipped file with each of `changes` made, every one of them once."""
    text = (DEPLOY / file).read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy with the shipped configuration, on a free port of 127.0.0.1, for `with`."""

    def __init__(self, name, place, upstream):
        self.program = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
        if self.program is None:
            pytest.skip(f"{name} is not here")
        self.name, self.place, self.upstream = name, place, upstream
        self.port = unused_port()
        self.pem, self.key = place / "pem", place / "key"
        subprocess.run(
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={HOST} -keyout {self.key}"
            f" -out {self.pem} -addext subjectAltName=DNS:{HOST}".split(),
            check=True,
            capture_output=True,
        )

    def nginx(self):
        server = shipped(
            "proxy/nginx.conf",
            ("127.0.0.1:8080", self.upstream),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("/etc/ssl/telemetry.pem", str(self.pem)),
            ("/etc/ssl/telemetry.key", str(self.key)),
        )
        own = f"user root; daemon off; pid {self.place}/pid; error_log {self.place}/log; events {{}}"
        paths = "".join(
            f"{kind}_temp_path {self.place}/{kind}; "
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self._write(f"{own}\nhttp {{ access_log off; {paths}\n{server}\n}}\n")
        return [self.program, "-e", self.place / "log", "-c", self.place / "conf"]

    def caddy(self):
        site = shipped(
            "proxy/Caddyfile",
            ("127.0.0.1:8080", self.upstream),
            (
                f"\n{HOST} {{",
                f"\n{HOST}:{self.port} {{\n\ttls {self.pem} {self.key}\n\tbind 127.0.0.1",
            ),
        )
        self._write("{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n" + site)
        return [self.program, "run", "--config", self.place / "conf", "--adapter", "caddyfile"]

    def _write(self, configuration):
        (self.place / "conf").write_text(configuration)

    def __enter__(self):
        command = getattr(self, self.name)()
        with (self.place / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                stdout=said,
                stderr=said,
                env={"HOME": str(self.place), "PATH": "/usr/bin:/bin"},
            )
        wait_until(self._answers_or_ended, otherwise=(self.place / "said").read_text)
        assert self.process.poll() is None, (self.place / "said").read_text()
        return self

    def _answers_or_ended(self):
        return self.process.poll() is not None or self._answers()

    def _answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def __exit__(self, *_error):
        self.process.terminate()
        self.process.wait(patient(20))

    def client(self):
        """Somebody at 127.0.0.9 who finds the proxy under its name and trusts its certificate only."""
        connector = aiohttp.TCPConnector(
            resolver=Here(),
            ssl=ssl.create_default_context(cafile=str(self.pem)),
            local_addr=("127.0.0.9", 0),
        )
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.CookieJar())


class Here(AbstractResolver):
    """Every name is this machine."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        entry = {"hostname": host, "host": "127.0.0.1", "port": port}
        return [entry | {"family": family or socket.AF_INET, "proto": 0, "flags": socket.AI_NUMERICHOST}]

    async def close(self):
        pass


@pytest.fixture(params=["nginx", "caddy"])
def behind(request, make_server, tmp_path):
    """A server set up as the file says, and the proxy before it."""
    listen = f"127.0.0.1:{unused_port()}"
    proxy = Proxy(request.param, tmp_path, listen)
    url = f"https://{HOST}:{proxy.port}"
    server = make_server(listen=listen, public_url=url, trusted_proxies="127.0.0.1/32")
    with proxy:
        yield server, proxy, url


async def test_an_upload_passes_a_proxy_unchanged_and_tells_its_clients_address(behind):
    server, proxy, url = behind
    async with proxy.client() as session:
        authorization = {"Authorization": f"Bearer {server.product_key}"}
        installation = Installation(url, (await post(f"{url}/v1/enroll", b"{}", authorization, session)).json)
        sent = [
            await installation.send(session=session),
            await installation.send(
                *(installation.ping() for _ in range(50)), compress=True, session=session
            ),
        ]
        assert [set(answer.statuses) for answer in sent] == [{"accepted"}, {"accepted"}]
        body = installation.upload(installation.ping())
        claims = {"X-Forwarded-For": "198.51.100.1", "Forwarded": "for=198.51.100.1"}
        signed = claims | {"Telemetry-Signature": installation.sign(body)}
        assert (await post(f"{url}/v1/pings", body, signed, session)).status == 200
    rows = await server.fetch("SELECT DISTINCT host(client_address) AS address FROM pings")
    assert [row["address"] for row in rows] == ["127.0.0.9"]


async def test_what_is_too_large_or_refused_is_told_through_a_proxy(behind):
    server, proxy, url = behind
    async with proxy.client() as session:
        authorization = {"Authorization": f"Bearer {server.product_key}"}
        installation = Installation(url, (await post(f"{url}/v1/enroll", b"{}", authorization, session)).json)
        body = b" " * 2**20
        refused = await post(
            f"{url}/v1/pings", body, {"Telemetry-Signature": installation.sign(body)}, session
        )
        assert refused.status == 400
        assert refused.headers["Telemetry-Receipt"] == installation.receipt(body, refused.body)
        body += b" "
        refused = await post(
            f"{url}/v1/pings", body, {"Telemetry-Signature": installation.sign(body)}, session
        )
        assert refused.status == 413


async def test_a_person_signs_in_through_a_proxy(behind):
    server, proxy, url = behind
    assert server.sign_in_link.startswith(f"{url}/")
    async with proxy.client() as session:
        async with session.get(server.sign_in_link) as page:
            assert page.status == 200
            assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        token = server.sign_in_link.partition("token=")[2]
        form = {"token": token, "next": "/installations"}
        async with session.post(f"{url}/sign-in", data=form, headers={"Origin": url}) as page:
            assert (page.status, str(page.url)) == (200, f"{url}/installations")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / "license-telemetry.service"
    program = ("/opt/license-telemetry/venv/bin/telemetry-server", sys.executable)
    unit.write_text(shipped("systemd/license-telemetry.service", program))
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")
