"""Addresses get a place from real database files, of both shapes; damage never reaches a look-up."""

import os
import signal
import subprocess
import sys
import threading
from datetime import date
from ipaddress import ip_address
from pathlib import Path

import geoip2.database
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import files_in

from telemetry_server.enrich.places.databases import Database, UnusableDatabase
from telemetry_server.enrich.places.place import UNKNOWN, Atlas, Place
from telemetry_server.enrich.places.records import MAX_ASN, MAX_TEXT, NO_COUNTRY, DatabaseKind, facts

GERMANY = {"country": {"iso_code": "DE", "names": {"en": "Germany"}}, "continent": {"code": "EU"}}
FRANCE = {"country": {"iso_code": "FR", "names": {"en": "France"}}}
MUNICH = GERMANY | {
    "city": {"names": {"en": "Munich", "de": "München"}},
    "subdivisions": [{"iso_code": "BY", "names": {"en": "Bavaria"}}, {"names": {"en": "Upper Bavaria"}}],
    "location": {"latitude": 48.1, "longitude": 11.5},
}
EXAMPLE_NET = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Networks"}

V4, V6 = "192.0.2.0/24", "2001:db8::/32"


@pytest.fixture
def geoip(tmp_path):
    return tmp_path / "geoip"


@pytest.fixture
def german(geoip, mmdb):
    """A directory whose country database knows two networks."""
    mmdb(geoip / "country.mmdb", {V4: GERMANY, V6: FRANCE})
    return geoip


# ── what is known ───────────────────────────────────────────────────────────────────────────


def test_a_country_comes_with_its_source_build_date_and_network(german):
    assert Atlas(german).place("192.0.2.7") == Place(
        country="DE", source="DB-IP Lite country", built_on=date(2026, 11, 1), prefix_length=24
    )


def test_city_and_operator_are_joined_into_one_place(geoip, mmdb):
    mmdb(geoip / "city.mmdb", {V4: MUNICH}, "DBIP-City-Lite")
    mmdb(geoip / "asn.mmdb", {"192.0.0.0/16": EXAMPLE_NET}, "DBIP-ASN-Lite (compat=GeoLite2-ASN)")
    place = Atlas(geoip).place("192.0.2.7")
    assert place == Place(
        country="DE",
        region="Bavaria",
        city="Munich",
        asn=64500,
        organisation="Example Networks",
        source="DB-IP Lite city + DB-IP Lite ASN",
        built_on=date(2026, 11, 1),
        prefix_length=24,
    )


@pytest.mark.parametrize(
    ("kind", "record", "expected"),
    [
        ("country", {"country_code": "de"}, {"country": "DE"}),
        ("country", {"country": "DE", "asn": "AS64500"}, {"country": "DE"}),
        ("country", {"country": "Germany", "country_code": "DE"}, {"country": "DE"}),
        (
            "city",
            {"country_code": "DE", "state1": "Bavaria", "city": "Munich"},
            {"country": "DE", "region": "Bavaria", "city": "Munich"},
        ),
        (
            "city",
            {"country": "DE", "region": "Bavaria", "city": "Munich"},
            {"country": "DE", "region": "Bavaria", "city": "Munich"},
        ),
        ("asn", {"asn": "AS64500", "as_name": "Example"}, {"asn": 64500, "organisation": "Example"}),
        ("asn", {"asn": 64500}, {"asn": 64500}),
    ],
)
def test_flat_records_say_the_same_as_nested_ones(geoip, mmdb, kind, record, expected):
    mmdb(geoip / f"{kind}.mmdb", {V4: record}, "country ipvAll")
    assert Atlas(geoip).place("192.0.2.7") == Place(
        **expected, source="country ipvAll", built_on=date(2026, 11, 1), prefix_length=24
    )


def test_nested_records_are_read_as_geoip2_reads_them(geoip, mmdb):
    file = mmdb(geoip / "city.mmdb", {V4: MUNICH, V6: FRANCE}, "GeoLite2-City")
    atlas = Atlas(geoip)
    with geoip2.database.Reader(file) as reader:
        for address in ("192.0.2.7", "2001:db8::7"):
            theirs, ours = reader.city(address), atlas.place(address)
            assert ours.country == theirs.country.iso_code
            assert ours.city == theirs.city.name
            assert ours.region == (theirs.subdivisions[0].name if theirs.subdivisions else None)
            assert ours.prefix_length == theirs.traits.network.prefixlen


def test_the_country_of_the_city_database_is_not_mixed_with_another_source(geoip, mmdb):
    mmdb(
        geoip / "city.mmdb", {V4: MUNICH, "198.51.100.0/24": {"city": {"names": {"en": "Lyon"}}}}, "DBIP-City"
    )
    mmdb(geoip / "country.mmdb", {V4: FRANCE, "198.51.100.0/24": FRANCE})
    atlas = Atlas(geoip)
    assert (atlas.place("192.0.2.7").country, atlas.place("192.0.2.7").source) == ("DE", "DB-IP city")
    filled = atlas.place("198.51.100.7")
    assert (filled.country, filled.city, filled.source) == ("FR", "Lyon", "DB-IP city + DB-IP Lite country")


# ── which addresses ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("as_address", [str, ip_address])
@pytest.mark.parametrize(
    ("address", "expected"),
    [("192.0.2.7", "DE"), ("::ffff:192.0.2.7", "DE"), ("2001:db8::7", "FR"), ("203.0.113.1", None)],
)
def test_addresses_of_both_versions_have_a_country(german, address, expected, as_address):
    assert Atlas(german).place(as_address(address)).country == expected


LOCAL = [
    "10.1.2.3",
    "127.0.0.1",
    "169.254.1.1",
    "172.31.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "::1",
    "::",
    "fd00::1",
    "fe80::1",
    "fe80::1%eth0",
    "::ffff:10.1.2.3",
]


@pytest.mark.parametrize("address", LOCAL)
def test_a_local_address_has_no_place_whatever_a_database_says(geoip, mmdb, address):
    mmdb(geoip / "country.mmdb", {"0.0.0.0/1": GERMANY, "128.0.0.0/1": GERMANY, "8000::/1": FRANCE})
    atlas = Atlas(geoip)
    assert (atlas.place("8.8.8.8").country, atlas.place("192.0.2.7").country) == ("DE", "DE")
    assert atlas.place(address) is UNKNOWN


@pytest.mark.parametrize(
    "address", ["", "unknown", "192.0.2.256", "192.0.2.7:443", "192.0.2.0/24", "x" * 100_000]
)
def test_what_is_no_address_has_no_place(german, address):
    assert Atlas(german).place(address) is UNKNOWN


def test_a_database_of_ipv4_knows_nothing_of_ipv6(geoip, mmdb):
    mmdb(geoip / "country.mmdb", {V4: GERMANY}, ip_version=4)
    atlas = Atlas(geoip)
    assert atlas.place("192.0.2.7").country == "DE"
    assert atlas.place("2001:db8::7") is UNKNOWN
    assert atlas.problems == ()


def test_without_any_database_every_place_is_unknown_and_nothing_is_wrong(tmp_path):
    atlas = Atlas(tmp_path / "nowhere")
    assert atlas.place("192.0.2.7") is UNKNOWN
    assert (atlas.refresh(), atlas.databases, atlas.problems, atlas.attributions) == (False, {}, (), ())


# ── what records may hold ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("code", [*sorted(NO_COUNTRY), "", "D", "DEU", "D3", "ÄÖ", 49, None, ["DE"]])
def test_what_is_no_country_code_is_no_country(code):
    assert facts(DatabaseKind.COUNTRY, {"country": {"iso_code": code}}) == {}
    assert facts(DatabaseKind.COUNTRY, {"country_code": code}) == {}


def test_text_is_fit_to_be_stored():
    known = facts(DatabaseKind.ASN, {"asn": MAX_ASN + 1, "as_name": " Exa\0mple " + "x" * 1000})
    assert known == {"organisation": ("Example " + "x" * 1000)[:MAX_TEXT]}


KEYS = [
    "country",
    "country_code",
    "iso_code",
    "city",
    "names",
    "en",
    "region",
    "state1",
    "subdivisions",
    "autonomous_system_number",
    "asn",
    "autonomous_system_organization",
    "as_name",
]

scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text("aZé \0AS019", max_size=300)
within = st.dictionaries(st.sampled_from(KEYS), scalar, max_size=3)
nested = scalar | within | st.dictionaries(st.sampled_from(KEYS), within, max_size=3)


@given(
    kind=st.sampled_from(DatabaseKind),
    record=st.dictionaries(st.sampled_from(KEYS), nested | st.lists(nested, max_size=2)),
)
def test_whatever_a_record_holds_its_facts_are_well_formed(kind, record):
    known = facts(kind, record)
    assert all(known.values())
    assert all(type(value) is (int if key == "asn" else str) for key, value in known.items())
    assert all("\0" not in text and len(text) <= MAX_TEXT for text in known.values() if isinstance(text, str))
    assert len(known.get("country", "XX")) == 2
    assert 0 < known.get("asn", 1) <= MAX_ASN


@pytest.mark.parametrize(
    ("database_type", "text"),
    [
        ("DBIP-Country-Lite", "IP Geolocation by DB-IP"),
        ("GeoLite2-Country", "This product includes GeoLite2 data created by MaxMind"),
    ],
)
def test_the_attribution_that_a_license_asks_for_is_told(geoip, mmdb, database_type, text):
    for name in ("country.mmdb", "city.mmdb"):
        mmdb(geoip / name, {V4: MUNICH}, database_type)
    (owed,) = Atlas(geoip).attributions
    assert owed.text == text
    assert owed.url.startswith("https://")


def test_a_database_of_the_operators_own_needs_no_attribution(geoip, mmdb):
    mmdb(geoip / "country.mmdb", {V4: GERMANY}, "Our-Networks")
    assert Atlas(geoip).attributions == ()


# ── files come, change and go ───────────────────────────────────────────────────────────────


def test_a_new_file_is_taken_into_use_by_refresh_and_earlier_answers_are_forgotten(german, mmdb):
    atlas = Atlas(german)
    assert atlas.place("192.0.2.7").country == "DE"
    assert atlas.refresh() is False
    mmdb(german / "country.mmdb", {V4: FRANCE})
    assert atlas.place("192.0.2.7").country == "DE"
    assert atlas.refresh() is True
    assert atlas.place("192.0.2.7").country == "FR"


def test_a_file_that_comes_later_is_taken_and_one_that_goes_is_let_go(german, mmdb):
    atlas = Atlas(german)
    mmdb(german / "asn.mmdb", {V4: EXAMPLE_NET}, "DBIP-ASN-Lite")
    assert (atlas.refresh(), atlas.place("192.0.2.7").asn) == (True, 64500)
    (german / "country.mmdb").unlink()
    assert (atlas.refresh(), atlas.place("192.0.2.7").country) == (True, None)
    assert (list(atlas.databases), atlas.problems) == ([DatabaseKind.ASN], ())


BREAKING = {
    "emptied": lambda good: b"",
    "cut short": lambda good: good[: len(good) // 2],
    "without its last byte": lambda good: good[:-1],
    "without its middle": lambda good: good[:100] + good[-300:],
    "replaced by a page": lambda good: b"<html>Not found</html>" * 100,
    "with a number for a key": lambda good: good.replace(b"\x48iso_code", b"\xa8iso_code"),
    "with zeros for half of it": lambda good: bytes(len(good) // 2) + good[len(good) // 2 :],
}


@pytest.mark.parametrize("damage", BREAKING)
def test_a_broken_new_file_is_refused_told_and_forgotten_when_a_good_one_comes(german, mmdb, damage):
    atlas = Atlas(german)
    file = german / "country.mmdb"
    file.write_bytes(BREAKING[damage](file.read_bytes()))
    assert atlas.refresh() is False
    assert atlas.place("192.0.2.7").country == "DE"
    assert [problem.split(": ")[0] for problem in atlas.problems] == ["country.mmdb"]
    assert atlas.refresh() is False

    mmdb(file, {V4: FRANCE})
    assert atlas.refresh() is True
    assert (atlas.place("192.0.2.7").country, atlas.problems) == ("FR", ())


def test_a_database_of_another_kind_is_refused(german, mmdb):
    atlas = Atlas(german)
    mmdb(german / "country.mmdb", {V4: EXAMPLE_NET}, "DBIP-ASN-Lite")
    assert atlas.refresh() is False
    assert atlas.problems == (
        "country.mmdb: The file holds 'DB-IP Lite ASN', and no record of it names a country. Get another file.",
    )


def test_what_is_no_file_is_told_and_does_not_hang(german):
    (german / "country.mmdb").unlink()
    os.mkfifo(german / "country.mmdb")
    (german / "asn.mmdb").mkdir()
    assert [problem.split(".")[0] for problem in Atlas(german).problems] == ["country", "asn"]


LOOK_UP_AFTER_A_CUT = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
{open}
path.write_bytes(b"")
print({look_up})
"""


@pytest.mark.parametrize(
    ("code", "status", "answer"),
    [
        (
            {
                "open": "import maxminddb; reader = maxminddb.open_database(path, maxminddb.MODE_MMAP_EXT)",
                "look_up": "reader.get('192.0.2.7')",
            },
            -signal.SIGBUS,
            "",
        ),
        (
            {
                "open": "from telemetry_server.enrich.places.place import Atlas; atlas = Atlas(path.parent)",
                "look_up": "(atlas.refresh(), atlas.place('192.0.2.7').country)",
            },
            0,
            "(False, 'DE')\n",
        ),
    ],
    ids=["without the private copy it ends the process", "with it nothing happens"],
)
def test_cutting_the_file_in_use_short(german, code, status, answer):
    run = subprocess.run(
        [sys.executable, "-c", LOOK_UP_AFTER_A_CUT.format(**code), german / "country.mmdb"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (status, answer)


def test_a_look_up_during_a_replacement_sees_the_old_or_the_new_file(german, mmdb):
    atlas, done, seen = Atlas(german), threading.Event(), set()

    def look():
        while not done.is_set():
            seen.add(atlas.place("192.0.2.7").country)

    looking = threading.Thread(target=look)
    looking.start()
    changes = 0
    for record in [FRANCE, GERMANY] * 10:
        mmdb(german / "country.mmdb", {V4: record})
        changes += atlas.refresh()
    done.set()
    looking.join()
    assert changes == 20
    assert seen <= {"DE", "FR"}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are seen in /proc")
def test_databases_no_longer_in_use_are_closed_and_leave_no_files(german, mmdb):
    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count(f"{german}/.geoip-")

    atlas = Atlas(german)
    assert mapped() == 1
    for _ in range(3):
        mmdb(german / "country.mmdb", {V4: FRANCE})
        assert atlas.refresh()
        atlas.place("192.0.2.7")
    assert mapped() == 1
    assert files_in(german) == ["country.mmdb"]
    del atlas
    assert mapped() == 0


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="needs a directory that not even root can write"
)
def test_a_database_in_a_directory_that_cant_be_written_is_used(german):
    with (german / "country.mmdb").open("rb") as file:
        database = Database.open(Path(f"/proc/self/fd/{file.fileno()}"), DatabaseKind.COUNTRY)
    assert database.find(ip_address("192.0.2.7")) == ({"country": "DE"}, 24)


def test_without_the_c_extension_look_ups_work_and_the_operator_is_told(german):
    code = (
        "import sys; sys.modules['maxminddb.extension'] = None\n"
        "from pathlib import Path; from telemetry_server.enrich.places.place import Atlas\n"
        "atlas = Atlas(Path(sys.argv[1])); print(atlas.place('192.0.2.7').country, *atlas.problems)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, german],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("DE The C extension of the package maxminddb is missing")


# ── damage anywhere ─────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def munich(tmp_path_factory, mmdb):
    records = {V4: MUNICH, V6: FRANCE, "198.51.100.0/24": {"country": {"iso_code": "NL"}}}
    return mmdb(tmp_path_factory.mktemp("munich") / "city.mmdb", records, "DBIP-City-Lite")


@given(
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.none() | st.integers(0, 5000),
)
def test_a_damaged_file_is_refused_or_gives_places_and_nothing_else_happens(munich, changes, cut):
    damaged = bytearray(munich.read_bytes())
    for position, value in changes:
        damaged[position % len(damaged)] = value
    path = munich.with_name("damaged.mmdb")
    path.write_bytes(damaged[:cut])
    try:
        database = Database.open(path, DatabaseKind.CITY)
    except UnusableDatabase:
        return
    for address in ("192.0.2.7", "198.51.100.7", "203.0.113.7", "2001:db8::7", "2001:db9::7"):
        known, prefix_length = database.find(ip_address(address))
        assert set(known) <= {"country", "region", "city"}
        assert isinstance(prefix_length, int)


def test_damage_met_by_a_look_up_costs_that_fact_and_is_told(german, mmdb):
    atlas = Atlas(german)
    mmdb(german / "asn.mmdb", {V4: EXAMPLE_NET}, "DBIP-ASN-Lite")
    atlas.refresh()
    atlas.databases[DatabaseKind.ASN].reader.close()  # a closed reader raises as a damaged one does
    assert (atlas.place("192.0.2.7").country, atlas.place("192.0.2.7").asn) == ("DE", None)
    assert [problem.split(" ")[0] for problem in atlas.problems] == ["asn.mmdb"]
