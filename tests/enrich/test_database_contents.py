"""Every record of a GeoIP database is decoded before it is used: damage is refused and ends no process."""

import io
import json
import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import maxminddb
import pytest
from click.testing import CliRunner
from installation import Installation, post
from patience import patient
from places import ROOT, files_in

from telemetry_server.cli.doctor import here
from telemetry_server.cli.doctor.findings import FindingLevel
from telemetry_server.cli.geoip import geoip
from telemetry_server.enrich.places import contents, databases
from telemetry_server.enrich.places.databases import Database, UnusableDatabase
from telemetry_server.enrich.places.fetch import install
from telemetry_server.enrich.places.place import Atlas
from telemetry_server.enrich.places.records import DatabaseKind
from telemetry_server.settings import Settings

NETWORK = "8.8.8.0/24"
# As IPLocate publishes it: a database of AS numbers that also names the country of each network.
IP_TO_ASN = {
    "asn": 15169,
    "country_code": "US",
    "name": "GOOGLE",
    "org": "Google LLC",
    "domain": "google.com",
    "network": NETWORK,
}
CITY = {"city": {"names": {"en": "Munich"}}, "country": {"iso_code": "DE"}}


def operator(number):
    return {"autonomous_system_number": number, "autonomous_system_organization": f"Org {number}"}


@pytest.fixture
def country(tmp_path, mmdb):
    """An installed country database of DB-IP."""
    path = mmdb(tmp_path / "source" / "country", {NETWORK: {"country": {"iso_code": "DE"}}})
    install(io.BytesIO(path.read_bytes()), tmp_path / "geoip")
    return tmp_path / "geoip"


def made(tmp_path, mmdb, record, database_type):
    return mmdb(tmp_path / "made.mmdb", {NETWORK: record}, database_type)


# ── the search tree ─────────────────────────────────────────────────────────────────────────


def with_pointers_of(bits, data):
    """The database of 24-bit pointers with other ones."""
    reader = maxminddb.open_database(io.BytesIO(data), maxminddb.MODE_FD)
    about = reader.metadata()
    tree = b""
    for node in range(about.node_count):
        left, right = (int.from_bytes(data[node * 6 + at :][:3], "big") for at in (0, 3))
        if bits == 28:
            middle = left >> 24 << 4 | right >> 24
            tree += (
                (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
            )
        else:
            tree += left.to_bytes(4, "big") + right.to_bytes(4, "big")
    rest = data[about.search_tree_size :]
    return tree + rest.replace(b"\x4brecord_size\xa1\x18", b"\x4brecord_size\xa1" + bytes([bits]))


@pytest.mark.parametrize("bits", [24, 28, 32])
def test_every_record_of_every_width_of_pointer_is_found(tmp_path, mmdb, bits):
    networks = {f"1.{i // 250}.{i % 250}.0/24": operator(64500 + i) for i in range(700)}
    networks |= {f"2001:db8:{i:x}::/48": operator(65300 + i) for i in range(700)}
    path = mmdb(tmp_path / "asn.mmdb", networks, "Ours-ASN")
    if bits != 24:
        path.write_bytes(with_pointers_of(bits, path.read_bytes()))
    with maxminddb.open_database(path, maxminddb.MODE_MMAP) as reader:
        about = reader.metadata()
        assert about.record_size == bits
        assert len({record["autonomous_system_number"] for _, record in reader}) == 1400
    whole = path.read_bytes()
    found = contents._distinct(whole, about, len(whole) - about.search_tree_size - 16)
    assert len(found) == 1400
    assert contents.kinds_in(str(path)) == {DatabaseKind.ASN}
    assert Database.open(path).find(ip_address("1.2.199.7")) == (
        {"asn": 65199, "organisation": "Org 65199"},
        24,
    )


def test_a_search_tree_that_leads_out_of_the_file_is_refused(tmp_path, mmdb):
    path = made(tmp_path, mmdb, operator(64500), "Ours-ASN")
    good = path.read_bytes()
    about = maxminddb.open_database(path, maxminddb.MODE_MMAP).metadata()
    for pointer in (about.node_count + 1, 0xFFFFFF):  # between tree and records, and beyond the end
        node = next(
            n for n in range(about.node_count) if int.from_bytes(good[n * 6 :][:3], "big") > about.node_count
        )
        path.write_bytes(good[: node * 6] + pointer.to_bytes(3, "big") + good[node * 6 + 3 :])
        with pytest.raises(UnusableDatabase, match="damaged"):
            Database.open(path)


# ── damage ──────────────────────────────────────────────────────────────────────────────────

LOOK_UP = """
import sys
from pathlib import Path
{open}
print(look_up("2a00:800::7"))
"""
BARE = "import maxminddb; look_up = maxminddb.open_database(sys.argv[1], maxminddb.MODE_MMAP_EXT).get"
OURS = (
    "from telemetry_server.enrich.places.place import Atlas; atlas = Atlas(Path(sys.argv[1]).parent)\n"
    "look_up = lambda address: (atlas.place(address).asn, *atlas.problems)"
)


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=patient(100),
    )  # fmt: skip


@pytest.fixture(scope="module")
def broken_far_inside(tmp_path_factory, mmdb):
    """Databases of AS numbers by what a map key of one record, of 2,201, points to; it is no string."""
    networks = {f"1.{i // 250}.{i % 250}.0/24": operator(64500 + i) for i in range(1100)}
    networks |= {f"2001:db8:{i:x}::/48": operator(64500 + i) for i in range(1100)}
    networks |= {
        "2a00:800::/48": {
            "autonomous_system_number": 4200000001,
            "autonomous_system_organization": "Broken here",
        }
    }
    directory = tmp_path_factory.mktemp("broken")
    good = mmdb(directory / "good.mmdb", networks, "Ours-ASN").read_bytes()
    # The record: e2 (a map of 2), 20 xx (the key, a pointer), its value, 20 yy (the other key), its value.
    records = good.index(b"\x58autonomous_system_number")
    record = good.index(b"\xe2\x20\x00", good.index(b"Broken here"))
    files = {}
    for name, offset in {
        "a number": good.index(b"\xfb\xf4", records) - 1,
        "the middle of a name": good.index(b"s_system_number", records),
    }.items():
        bad = bytearray(good)
        bad[record + 1 : record + 3] = bytes([0x20 | (offset - records) >> 8, (offset - records) & 255])
        files[name] = bytes(bad)
    return files


@pytest.mark.parametrize("target", ["a number", "the middle of a name"])
def test_a_record_that_is_damaged_far_inside_is_refused_by_install_and_where_it_is_found(
    tmp_path, broken_far_inside, target
):
    directory = tmp_path / "geoip"
    with pytest.raises(UnusableDatabase, match="damaged"):
        install(io.BytesIO(broken_far_inside[target]), directory)
    assert files_in(directory) == []

    (directory / "asn.mmdb").write_bytes(broken_far_inside[target])
    done = run(LOOK_UP.format(open=OURS), directory / "asn.mmdb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(None, 'asn.mmdb: The file is cut short, ")
    for command in ("status", "reload"):
        said = CliRunner().invoke(geoip, ["--data", str(tmp_path), command])
        assert (said.exit_code, "asn.mmdb: The file is cut short" in said.output) == (1, True)
    findings = [finding for finding in here.geoip(Settings(data=tmp_path)) if "asn.mmdb" in finding.detail]
    assert [finding.outcome for finding in findings] == [FindingLevel.WARNING]


async def test_a_ping_from_the_network_of_a_damaged_record_ends_no_server(make_server, broken_far_inside):
    server = make_server(trusted_proxies="127.0.0.0/8")
    installation = await Installation.enrolled(server)
    server.kill()
    (server.data / "geoip").mkdir(exist_ok=True)
    (server.data / "geoip" / "asn.mmdb").write_bytes(broken_far_inside["a number"])
    server.start()
    for _ in range(2):  # a process that ended could not answer the second one
        body = installation.upload(installation.ping())
        headers = {"Telemetry-Signature": installation.sign(body), "X-Forwarded-For": "2a00:800::7"}
        assert (await post(f"{server.url}/v1/pings", body, headers)).status == 200
    assert server.process.poll() is None
    assert await server.fetchval("SELECT count(*) FROM pings WHERE host(client_address) = '2a00:800::7'") == 2


def test_without_the_check_a_look_up_ends_the_process(tmp_path, broken_far_inside):
    (tmp_path / "asn.mmdb").write_bytes(broken_far_inside["a number"])
    assert run(LOOK_UP.format(open=BARE), tmp_path / "asn.mmdb").returncode < 0


FLIPS = 1_200
FLIP_BITS = """
import os, sys
from ipaddress import ip_address
from pathlib import Path
import maxminddb
from telemetry_server.enrich.places.databases import Database, UnusableDatabase
from telemetry_server.enrich.places.place import Atlas

good, directory, flips, checked = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "ours"
addresses = [ip_address(text) for text in sys.argv[5:]]
file = directory / "city.mmdb"
ended = refused = 0
for i in range(flips):
    at = i * len(good) * 8 // flips
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8
    file.write_bytes(bad)
    if checked:
        atlas = Atlas(directory)
        refused += not atlas.databases
        for address in addresses:
            atlas.place(address)
    elif (child := os.fork()) == 0:
        try:
            reader = maxminddb.open_database(file, maxminddb.MODE_MMAP_EXT)
            reader.metadata()
            for address in addresses:
                reader.get(address)
        except Exception:
            pass
        os._exit(0)
    else:
        ended += os.WIFSIGNALED(os.waitpid(child, 0)[1])
print(ended, refused)
"""


@pytest.fixture(scope="module")
def varied(tmp_path_factory, mmdb):
    """A small database with each type that one may have, so that a flipped bit meets all of them."""
    records = {
        f"192.0.{i}.0/24": CITY
        | operator(64500 + i)
        | {
            "names": [f"a{i}", {"b": i, "c": -i}],
            "location": {"latitude": i / 7},
            "proxy": i % 2 == 0,
            "big": 2**60 + i,
        }
        for i in range(12)
    }
    addresses = [f"192.0.{i}.7" for i in range(12)] + ["203.0.113.7", "2001:db8::7"]
    return mmdb(tmp_path_factory.mktemp("varied") / "good.mmdb", records, "Ours-City"), addresses


def test_no_bit_that_is_flipped_ends_the_process(tmp_path, varied):
    good, addresses = varied
    done = run(FLIP_BITS, good, tmp_path, FLIPS, "ours", *addresses)
    assert done.returncode == 0, done.stderr
    refused = int(done.stdout.split()[1])
    assert FLIPS // 20 < refused < FLIPS  # some flips only change a letter


def test_without_the_check_some_flipped_bits_do(tmp_path, varied):
    good, addresses = varied
    done = run(FLIP_BITS, good, tmp_path, FLIPS, "bare", *addresses)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0


# ── what is remembered ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def checks(monkeypatch):
    """The files that were checked record by record."""
    done = []

    def counted(path):
        done.append(path)
        return contents.kinds_in(path)

    monkeypatch.setattr(databases, "kinds_in", counted)
    return done


def test_a_file_is_checked_once_and_not_at_every_start(tmp_path, mmdb, checks):
    path = made(tmp_path, mmdb, CITY, "Ours-City").rename(tmp_path / "city.mmdb")
    assert [Atlas(tmp_path).place("8.8.8.8").city for _ in range(3)] == ["Munich"] * 3
    assert len(checks) == 1
    os.utime(path)
    assert Atlas(tmp_path).databases[DatabaseKind.CITY].kinds == {DatabaseKind.CITY, DatabaseKind.COUNTRY}
    assert len(checks) == 1


def test_what_install_found_sound_is_not_checked_again_where_it_lies(tmp_path, mmdb, checks):
    path = made(tmp_path, mmdb, CITY, "Ours-City")
    install(io.BytesIO(path.read_bytes()), tmp_path / "geoip")
    assert Atlas(tmp_path / "geoip").place("8.8.8.8").city == "Munich"
    assert len(checks) == 1


def test_a_file_whose_bytes_changed_is_checked_though_all_else_is_as_before(tmp_path, mmdb, checks):
    path = made(tmp_path, mmdb, CITY, "Ours-City").rename(tmp_path / "city.mmdb")
    Atlas(tmp_path)
    before = path.stat()
    with path.open("r+b") as file:
        file.write(bytes(len(path.read_bytes()) // 2))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) == (
        before.st_ino, before.st_size, before.st_mtime_ns,
    )  # fmt: skip
    assert Atlas(tmp_path).databases == {}
    assert len(checks) == 2


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", '{"check": 1}', '{"check": 1, "sound": []}', '{"check": 0, "sound": {"DIGEST": ["city"]}}',
     '{"check": 1, "sound": {"DIGEST": ["nonsense"]}}', '{"check": 1, "sound": {"DIGEST": 7}}', "\xff"],
)  # fmt: skip
def test_what_is_no_memory_of_this_check_counts_for_nothing(tmp_path, mmdb, checks, content):
    path = made(tmp_path, mmdb, CITY, "Ours-City").rename(tmp_path / "city.mmdb")
    Database.open(path)
    [digest] = json.loads((tmp_path / contents.REMEMBERED_IN).read_bytes())["sound"]
    (tmp_path / contents.REMEMBERED_IN).write_bytes(content.replace("DIGEST", digest).encode("latin-1"))
    assert Database.open(path).kind is DatabaseKind.CITY
    assert len(checks) == 2


def test_only_the_latest_files_are_remembered(tmp_path):
    for number in range(30):
        contents.remember(tmp_path, str(number), frozenset({DatabaseKind.ASN}))
    assert contents.remembered(tmp_path, "29") == {DatabaseKind.ASN}
    assert contents.remembered(tmp_path, "9") is None
    assert os.listdir(tmp_path) == [contents.REMEMBERED_IN]


def test_a_directory_that_cannot_be_written_costs_another_check_only(tmp_path, mmdb, checks):
    path = made(tmp_path, mmdb, CITY, "Ours-City")
    for _ in range(2):
        assert Database.open(path, memory=Path("/proc/self/nowhere")).kind is DatabaseKind.CITY
    assert len(checks) == 2


# ── which kind ──────────────────────────────────────────────────────────────────────────────


def test_a_database_of_as_numbers_that_names_countries_replaces_no_country_database(tmp_path, mmdb, country):
    before = (country / "country.mmdb").read_bytes()
    source = made(tmp_path, mmdb, IP_TO_ASN, "ip-to-asn")
    said = CliRunner().invoke(geoip, ["--data", str(tmp_path), "install", "--source", str(source)])
    assert said.exit_code == 0, said.output
    assert said.output.lstrip().startswith("asn: ip-to-asn, built 2026-11-01\n")
    assert (
        "It also contains country; to use it for that as well, install it with --kind country." in said.output
    )
    assert (country / "country.mmdb").read_bytes() == before
    place = Atlas(country).place("8.8.8.8")
    assert (place.country, place.asn, place.organisation) == ("DE", 15169, "Google LLC")
    status = CliRunner().invoke(geoip, ["--data", str(tmp_path), "status", "--json"])
    assert {row["kind"]: row["also"] for row in json.loads(status.output)["databases"]}["asn"] == ["country"]


def test_it_is_used_for_countries_when_that_is_asked_for(tmp_path, mmdb, country):
    source = made(tmp_path, mmdb, IP_TO_ASN, "ip-to-asn")
    assert install(io.BytesIO(source.read_bytes()), country, DatabaseKind.COUNTRY).also == (DatabaseKind.ASN,)
    assert Atlas(country).place("8.8.8.8").country == "US"


@pytest.mark.parametrize("database_type", ["ipinfo lite", "country asn", "ours"])
def test_a_file_that_may_be_for_several_is_asked_about(tmp_path, mmdb, country, database_type):
    before = (country / "country.mmdb").read_bytes()
    source = made(tmp_path, mmdb, IP_TO_ASN, database_type)
    with pytest.raises(UnusableDatabase) as refused:
        install(io.BytesIO(source.read_bytes()), country)
    assert "names a network operator (ASN) and a country" in refused.value.detail
    assert "--kind asn or country; once for each" in refused.value.detail
    assert files_in(country) == ["country.mmdb"]
    assert (country / "country.mmdb").read_bytes() == before


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"asn": 1, "name": "HANDLE"}, "HANDLE"),
        ({"asn": 1, "org": "Company"}, "Company"),
        ({"asn": 1, "org": " ", "name": "HANDLE"}, "HANDLE"),
        ({"asn": 1, "as_name": "Operator", "org": "Company", "name": "HANDLE"}, "Operator"),
        ({"asn": 1, "org": 7, "name": None}, None),
    ],
)
def test_the_operator_has_the_name_that_the_record_has(tmp_path, mmdb, record, name):
    path = made(
        tmp_path, mmdb, {key: value for key, value in record.items() if value is not None}, "Ours-ASN"
    )
    found, _ = Database.open(path).find(ip_address("8.8.8.8"))
    assert found.get("organisation") == name
