"""GeoIP databases come in from files and over real HTTPS, or the old ones stay as they were."""

import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
import pytest
from click.testing import CliRunner
from places import files_in

from telemetry_server.cli.download import NotPublished, open_url
from telemetry_server.cli.geoip import geoip
from telemetry_server.enrich.places.databases import UnusableDatabase
from telemetry_server.enrich.places.fetch import dbip_lite_url, install
from telemetry_server.enrich.places.place import Atlas
from telemetry_server.enrich.places.records import DatabaseKind

V4 = "192.0.2.0/24"
WRITTEN = datetime(2026, 11, 1, tzinfo=UTC)
GERMANY = {"country": {"iso_code": "DE"}}
MUNICH = GERMANY | {"city": {"names": {"en": "Munich"}}}
RENTED = {"is_anonymous": True, "is_hosting_provider": True}
EXAMPLE_NET = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Networks"}


@pytest.fixture(scope="module")
def files(tmp_path_factory, mmdb):
    """One database of each kind, as bytes."""
    directory = tmp_path_factory.mktemp("files")
    return {
        DatabaseKind.COUNTRY: mmdb(directory / "country", {V4: GERMANY}).read_bytes(),
        DatabaseKind.CITY: mmdb(directory / "city", {V4: MUNICH}, "DBIP-City-Lite").read_bytes(),
        DatabaseKind.ASN: mmdb(directory / "asn", {V4: EXAMPLE_NET}, "DBIP-ASN-Lite").read_bytes(),
        DatabaseKind.HOSTING: mmdb(directory / "hosting", {V4: RENTED}, "GeoIP2-Anonymous-IP").read_bytes(),
    }


# ── what is installed ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", DatabaseKind)
def test_the_kind_of_a_database_is_told_from_its_records(tmp_path, files, kind, packed):
    directory = tmp_path / "data" / "geoip"
    assert install(io.BytesIO(packed(files[kind])), directory).kind is kind
    assert files_in(directory) == [f"{kind}.mmdb"]
    assert (directory / f"{kind}.mmdb").read_bytes() == files[kind]


def test_a_city_database_serves_as_country_database_when_asked_to(tmp_path, files):
    assert (
        install(io.BytesIO(files[DatabaseKind.CITY]), tmp_path, DatabaseKind.COUNTRY).kind
        is DatabaseKind.COUNTRY
    )
    assert Atlas(tmp_path).place("192.0.2.7").city is None


def test_an_installed_database_can_be_read_by_the_servers_user(tmp_path, files):
    install(io.BytesIO(files[DatabaseKind.COUNTRY]), tmp_path)
    assert stat.S_IMODE((tmp_path / "country.mmdb").stat().st_mode) == 0o644


def test_a_running_server_takes_an_installed_database_at_its_next_look(tmp_path, files):
    atlas = Atlas(tmp_path)
    install(io.BytesIO(files[DatabaseKind.COUNTRY]), tmp_path)
    assert (atlas.refresh(), atlas.place("192.0.2.7").country) == (True, "DE")


def test_the_checksum_is_that_of_the_bytes_as_received(tmp_path, files):
    packed = gzip.compress(files[DatabaseKind.COUNTRY])
    install(io.BytesIO(packed), tmp_path, sha256=hashlib.sha256(packed).hexdigest().upper())
    assert files_in(tmp_path) == ["country.mmdb"]


# ── what is refused ─────────────────────────────────────────────────────────────────────────

BREAKING = {
    "cut short": (lambda good: good[:-50], {}, "cut short"),
    "gzipped and cut short": (lambda good: gzip.compress(good)[:-50], {}, "gzip file is cut short"),
    "gzipped and changed": (lambda good: gzip.compress(good)[:-8] + bytes(8), {}, "gzip file is cut short"),
    "an empty file": (lambda good: b"", {}, "cut short"),
    "a web page": (lambda good: b"<html>Please sign in</html>", {}, "no MaxMind database"),
    "another checksum": (lambda good: good, {"sha256": "0" * 64}, "SHA-256"),
    "another kind": (lambda good: good, {"kind": DatabaseKind.ASN}, "names a network operator"),
    "too large": (lambda good: good, {"max_bytes": 100}, "larger than 100 bytes"),
    "a gzip bomb": (
        lambda good: gzip.compress(bytes(1 << 24)),
        {"max_bytes": 1 << 20},
        "larger than 1048576 bytes",
    ),
}


@pytest.mark.parametrize("damage", BREAKING)
def test_a_refused_file_leaves_the_old_one_and_nothing_else(tmp_path, files, damage):
    install(io.BytesIO(files[DatabaseKind.COUNTRY]), tmp_path)
    broken, options, message = BREAKING[damage]
    with pytest.raises(UnusableDatabase, match=message):
        install(
            io.BytesIO(broken(files[DatabaseKind.CITY])), tmp_path, **{"kind": DatabaseKind.COUNTRY} | options
        )
    assert files_in(tmp_path) == ["country.mmdb"]
    assert (tmp_path / "country.mmdb").read_bytes() == files[DatabaseKind.COUNTRY]


def test_a_database_without_records_is_refused(tmp_path, mmdb):
    empty = mmdb(tmp_path / "empty", {V4: {}}).read_bytes()
    with pytest.raises(UnusableDatabase, match=r"a network operator \(ASN\) or a hosting provider"):
        install(io.BytesIO(empty), tmp_path / "geoip")


# ── over the network ────────────────────────────────────────────────────────────────────────


class Site(BaseHTTPRequestHandler):
    """Serves `pages` of the server by path; as a proxy it stands for every host, with a certificate."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = self.server.tls.wrap_socket(self.connection, server_side=True)
        except ssl.SSLError:
            self.close_connection = True
            return
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.handle_one_request()
        self.rfile.close()
        self.wfile.close()
        self.connection.close()
        self.close_connection = True

    def do_GET(self):
        status, headers, body = self.server.pages.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def site(tls=None):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.pages, server.tls = {}, tls
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def plain():
    with site() as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate and its key, good for DB-IP's download host and for files.example."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("needs the command openssl to make a certificate")
    cert, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    subject = ["-subj", "/CN=test", "-addext", "subjectAltName=DNS:download.db-ip.com,DNS:files.example"]
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run([openssl, *new, *subject, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def internet(certificate):
    """Every HTTPS host there is, through a proxy."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    with site(tls) as server:
        yield server


@pytest.fixture
def run(tmp_path):
    """The command, on an empty data directory, with its way to the network as given."""

    def run(*arguments, proxy="http://127.0.0.1:9", cert=""):
        environment = {
            "https_proxy": proxy,
            "no_proxy": "",
            "HTTPS_PROXY": proxy,
            "SSL_CERT_FILE": str(cert) or None,
        }
        command = ["--data", str(tmp_path), *map(str, arguments)]
        return CliRunner().invoke(geoip, command, env=environment, catch_exceptions=False)

    return run


def test_a_file_is_fetched_through_redirects(tmp_path, plain, files):
    plain.pages["/old"] = (302, {"Location": f"{plain.url}/new"}, b"")
    plain.pages["/new"] = (200, {}, gzip.compress(files[DatabaseKind.COUNTRY]))
    with open_url(f"{plain.url}/old", plain_loopback=True) as answer:
        assert install(answer, tmp_path).kind is DatabaseKind.COUNTRY


def test_a_connection_that_breaks_off_leaves_the_old_file(tmp_path, plain, files):
    body = files[DatabaseKind.COUNTRY]
    install(io.BytesIO(body), tmp_path)
    plain.pages["/cut"] = (200, {"Content-Length": str(len(body))}, body[:-20])
    with (
        open_url(f"{plain.url}/cut", plain_loopback=True) as answer,
        pytest.raises(UnusableDatabase, match="cut short"),
    ):
        install(answer, tmp_path)
    assert (tmp_path / "country.mmdb").read_bytes() == body
    assert files_in(tmp_path) == ["country.mmdb"]


def test_an_answer_that_is_no_file_is_told(plain):
    plain.pages["/busy"] = (503, {}, b"")
    with pytest.raises(NotPublished, match="answers 404"):
        open_url(f"{plain.url}/none", plain_loopback=True)
    with pytest.raises(click.ClickException, match="answers 503"):
        open_url(f"{plain.url}/busy", plain_loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/x.mmdb",
        "ftp://files.example/x.mmdb",
        "file:///etc/hosts",
        "https://me:secret@files.example/x",
    ],
)
def test_a_url_that_isnt_safe_is_refused_without_telling_its_secrets(run, url):
    result = run("install", "--source", url + "?license_key=secret")
    assert result.exit_code == 1
    assert "secret" not in result.output
    assert "Error: " in result.output


def test_plain_http_is_refused_on_loopback_too_and_after_a_redirect(plain):
    with pytest.raises(click.ClickException, match="not an https"):
        open_url(f"{plain.url}/x")
    plain.pages["/away"] = (302, {"Location": "http://files.example/x"}, b"")
    with pytest.raises(click.ClickException, match=r"http://files\.example/x is not an https"):
        open_url(f"{plain.url}/away", plain_loopback=True)


# ── the command ─────────────────────────────────────────────────────────────────────────────


def test_one_command_installs_the_free_databases(tmp_path, run, internet, certificate, files):
    today = datetime.now(UTC).date()
    last_month = today.replace(day=1) - timedelta(days=1)
    for kind, month in ((DatabaseKind.COUNTRY, today), (DatabaseKind.ASN, last_month)):
        path = dbip_lite_url(kind, month).removeprefix("https://download.db-ip.com")
        internet.pages[path] = (200, {}, gzip.compress(files[kind]))

    result = run("install", proxy=internet.url, cert=certificate[0])
    assert (result.exit_code, "IP Geolocation by DB-IP" in result.output) == (0, True)
    place = Atlas(tmp_path / "geoip").place("192.0.2.7")
    assert (place.country, place.asn, place.source) == ("DE", 64500, "DB-IP Lite country + DB-IP Lite ASN")


def test_a_server_whose_certificate_isnt_trusted_is_not_believed(tmp_path, run, internet, files):
    internet.pages["/country.mmdb"] = (200, {}, files[DatabaseKind.COUNTRY])
    result = run("install", "--source", "https://files.example/country.mmdb", proxy=internet.url)
    assert result.exit_code == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.output
    assert not (tmp_path / "geoip").exists()


def test_a_url_with_a_checksum_is_installed(run, internet, certificate, files):
    body = files[DatabaseKind.CITY]
    internet.pages["/city.mmdb"] = (200, {}, body)
    arguments = ["install", "--source", "https://files.example/city.mmdb", "--sha256"]
    way = {"proxy": internet.url, "cert": certificate[0]}
    assert "SHA-256" in run(*arguments, "0" * 64, **way).output
    assert run(*arguments, hashlib.sha256(body).hexdigest(), **way).exit_code == 0


def test_without_a_network_the_command_says_what_to_do(run):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        result = run("install", proxy=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert result.exit_code == 1
    assert "https://download.db-ip.com/free/dbip-country-lite-" in result.output
    assert "telemetry-server geoip install --source FILE" in result.output


def test_a_file_is_installed_and_shown(tmp_path, run, files):
    source = tmp_path / "brought.mmdb.gz"
    source.write_bytes(gzip.compress(files[DatabaseKind.COUNTRY]))
    assert run("install", "--source", source).exit_code == 0
    shown = json.loads(run("status", "--json").output)
    rows = {row["kind"]: row for row in shown["databases"]}
    assert (rows["country"]["source"], rows["country"]["built_on"]) == ("DB-IP Lite country", "2026-11-01")
    assert rows["city"]["source"] is None
    assert shown["attributions"] == [{"text": "IP Geolocation by DB-IP", "url": "https://db-ip.com"}]
    table = run("status")
    assert table.exit_code == 0
    assert "DB-IP Lite country" in table.output
    assert "not installed" in table.output


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["install", "--source", "nowhere.mmdb"], 1, "nowhere.mmdb"),
        (["install", "--sha256", "0" * 64], 2, "goes with a FILE or a URL"),
        (["install", "--kind", "continent"], 2, "country"),
        (["install", "--kind", "hosting"], 2, "give a FILE or a URL"),
        (["reload"], 1, "No database is installed"),
    ],
)
def test_wrong_use_is_told(run, arguments, exit_code, message):
    result = run(*arguments)
    assert (result.exit_code, message in result.output) == (exit_code, True)


def test_a_broken_file_is_a_problem_for_status_and_reload(tmp_path, run):
    (tmp_path / "geoip").mkdir()
    (tmp_path / "geoip" / "country.mmdb").write_bytes(b"broken")
    for command in ("status", "reload"):
        result = run(command)
        assert (result.exit_code, "country.mmdb: The file is cut short" in result.output) == (1, True)


def test_a_list_of_hosting_networks_is_shown_and_its_wrong_lines_are_told(tmp_path, run):
    (tmp_path / "geoip").mkdir()
    file = tmp_path / "geoip" / "hosting.txt"
    file.write_text("192.0.2.0/24\n")
    os.utime(file, (WRITTEN.timestamp(),) * 2)
    rows = {row["kind"]: row for row in json.loads(run("status", "--json").output)["databases"]}
    assert (rows["hosting list"]["source"], rows["hosting list"]["built_on"]) == ("hosting.txt", "2026-11-01")
    assert "Valid: hosting.txt" in run("reload").output
    assert file.stat().st_mtime == WRITTEN.timestamp()
    file.write_text("192.0.2.0/24\n192.0.2.0/33\n")
    assert "line 2" in run("status").output


def test_reload_makes_running_servers_read_the_files_again(tmp_path, run, files):
    install(io.BytesIO(files[DatabaseKind.COUNTRY]), tmp_path / "geoip")
    atlas = Atlas(tmp_path / "geoip")
    assert atlas.refresh() is False
    assert run("reload").exit_code == 0
    assert atlas.refresh() is True
