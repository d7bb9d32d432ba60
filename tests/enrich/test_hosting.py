"""Whether an address is a hosting provider's: by a database, by the operator's own list, or unknown."""

import os
from datetime import UTC, date, datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.enrich.places import hosting
from telemetry_server.enrich.places.databases import UnusableDatabase
from telemetry_server.enrich.places.hosting import HostingList
from telemetry_server.enrich.places.place import UNKNOWN, Atlas, Place

WRITTEN = datetime(2026, 11, 20, 12, tzinfo=UTC)
RENTED = {"is_anonymous": True, "is_hosting_provider": True}
EXAMPLE_NET = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example Networks"}
HOME_NET = {"autonomous_system_number": 64501}


@pytest.fixture
def geoip(tmp_path):
    (tmp_path / "geoip").mkdir()
    return tmp_path / "geoip"


@pytest.fixture
def write(geoip):
    """Puts a list in place, as its operator's editor or script does."""

    def write(*lines, when=WRITTEN):
        file = geoip / "hosting.txt"
        file.write_text("\n".join(lines), "utf-8")
        os.utime(file, (when.timestamp(),) * 2)
        return file

    return write


def said(atlas, address):
    place = atlas.place(address)
    return place.hosting, place.hosting_source


# ── the list ────────────────────────────────────────────────────────────────────────────────


def test_what_is_on_the_list_is_hosting_and_what_is_not_is_none(geoip, write):
    write("# ours", "", "192.0.2.0/25  # the first half", "198.51.100.7", "2001:db8::/32")
    atlas = Atlas(geoip)
    assert said(atlas, "192.0.2.127") == (True, "hosting.txt 2026-11")
    assert said(atlas, "192.0.2.128") == (False, "hosting.txt 2026-11")
    assert said(atlas, "198.51.100.7") == said(atlas, "::ffff:198.51.100.7") == (True, "hosting.txt 2026-11")
    assert [atlas.place(each).hosting for each in ("2001:db8::1", "2001:db9::1")] == [True, False]
    assert (atlas.hosting_list.networks, atlas.hosting_list.built_on) == (3, date(2026, 11, 20))
    assert atlas.problems == ()


def test_without_a_list_nothing_is_said_of_hosting(geoip):
    assert said(Atlas(geoip), "192.0.2.7") == (None, None)
    assert Atlas(geoip).place("192.0.2.7") is UNKNOWN


def test_a_local_address_is_nowhere_whatever_is_listed(geoip, write):
    write("10.0.0.0/8", "AS64500")
    assert Atlas(geoip).place("10.1.2.3") is UNKNOWN


OURS = "# hosting networks of öurs\r\n192.0.2.0/24\r\nAS64500\r\n"


@pytest.mark.parametrize(
    "written",
    [
        OURS.encode("utf-8-sig"),
        OURS.encode("utf-16"),
        b"\xfe\xff" + OURS.encode("utf-16-be"),
        OURS.encode("cp1252"),
        OURS.replace("\r\n", "\r").encode(),
        OURS.replace("\r\n", "\n").encode(),
    ],
    ids=["Notepad", "PowerShell", "UTF-16 BE", "Windows-1252", "CR", "Unix"],
)
def test_a_list_may_come_from_another_system(geoip, written):
    (geoip / "hosting.txt").write_bytes(written)
    listed = HostingList.read(geoip / "hosting.txt")
    assert (listed.networks, listed.operators) == (1, {64500})


def test_an_operator_is_listed_by_its_number(geoip, write, mmdb):
    mmdb(geoip / "asn.mmdb", {"192.0.2.0/24": EXAMPLE_NET, "198.51.100.0/24": HOME_NET}, "DBIP-ASN-Lite")
    for entry in ("AS64500", "as64500", "64500"):
        write(entry)
        atlas = Atlas(geoip)
        assert atlas.place("192.0.2.7") == Place(
            asn=64500,
            organisation="Example Networks",
            source="DB-IP Lite ASN",
            built_on=date(2026, 11, 1),
            prefix_length=24,
            hosting=True,
            hosting_source="hosting.txt 2026-11",
        )
        assert said(atlas, "198.51.100.7")[0] is False
        # whose operator nobody knows may be on the list all the same
        assert said(atlas, "203.0.113.7") == (None, None)


def test_numbers_of_operators_without_a_database_that_knows_them_are_a_problem(geoip, write):
    write("AS64500", "192.0.2.0/24")
    atlas = Atlas(geoip)
    assert (said(atlas, "192.0.2.7")[0], said(atlas, "203.0.113.7")[0]) == (True, None)
    assert ["asn.mmdb" in problem for problem in atlas.problems] == [True]


# ── wrong lines ─────────────────────────────────────────────────────────────────────────────


def test_wrong_lines_are_told_by_number_and_the_list_before_stays_in_use(geoip, write):
    write("192.0.2.0/24")
    atlas = Atlas(geoip)
    write("192.0.2.0/24", "# good", "192.0.2.7/24", "example.com", "AS4294967296")
    assert atlas.refresh() is False
    [problem] = atlas.problems
    assert problem.startswith("hosting.txt: line 3: 192.0.2.7/24 has host bits set; line 4: 'example.com'")
    assert "line 5: AS4294967296 is no AS number" in problem
    assert said(atlas, "192.0.2.7")[0] is True
    write("198.51.100.0/24")
    assert (atlas.refresh(), atlas.problems) == (True, ())
    assert (said(atlas, "192.0.2.7")[0], said(atlas, "198.51.100.7")[0]) == (False, True)


def test_of_many_wrong_lines_the_first_are_told(geoip, write):
    write(*["nonsense"] * 100)
    [problem] = Atlas(geoip).problems
    assert "line 5: " in problem
    assert "line 6: " not in problem
    assert "; and 95 more" in problem
    assert said(Atlas(geoip), "192.0.2.7") == (None, None)


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "\n\n"])
def test_an_empty_list_does_not_say_that_nobody_is_hosting(geoip, write, content):
    write(content)
    atlas = Atlas(geoip)
    assert atlas.place("192.0.2.7") is UNKNOWN
    assert "lists nothing" in atlas.problems[0]


def test_what_is_no_list_at_all_is_told(geoip):
    (geoip / "hosting.txt").write_bytes(b"\x1f\x8b\x08\0\xff" * 50)
    assert "line 1: " in Atlas(geoip).problems[0]
    (geoip / "hosting.txt").unlink()
    (geoip / "hosting.txt").mkdir()
    assert "not a file" in Atlas(geoip).problems[0]


def test_a_list_that_is_too_long_to_be_one_is_refused(write, monkeypatch):
    monkeypatch.setattr(hosting, "LARGEST_BYTES", 10)
    with pytest.raises(UnusableDatabase, match="larger than 10 bytes"):
        HostingList.read(write("192.0.2.0/24"))


def test_a_list_that_goes_is_let_go(geoip, write):
    file = write("192.0.2.0/24")
    atlas = Atlas(geoip)
    file.unlink()
    assert (atlas.refresh(), said(atlas, "192.0.2.7")) == (True, (None, None))


# ── the database ────────────────────────────────────────────────────────────────────────────


def test_a_database_says_who_is_hosting_and_by_its_silence_who_is_not(geoip, mmdb):
    mmdb(
        geoip / "hosting.mmdb",
        {"192.0.2.0/24": RENTED, "198.51.100.0/24": {"is_anonymous": True}},
        "GeoIP2-Anonymous-IP",
    )
    atlas = Atlas(geoip)
    assert said(atlas, "192.0.2.7") == (True, "GeoIP2-Anonymous-IP 2026-11")
    assert [atlas.place(each).hosting for each in ("198.51.100.7", "203.0.113.7")] == [False, False]


def test_of_what_the_database_cannot_know_it_says_nothing(geoip, mmdb):
    mmdb(geoip / "hosting.mmdb", {"192.0.2.0/24": RENTED}, "Ours", ip_version=4)
    atlas = Atlas(geoip)
    assert said(atlas, "2001:db8::1") == (None, None)
    atlas.databases["hosting"].reader.close()  # a closed reader raises as a damaged one does
    assert said(atlas, "192.0.2.7") == (None, None)
    assert ["hosting.mmdb" in problem for problem in atlas.problems] == [True]


def test_one_of_several_lists_is_enough_to_be_hosting_and_all_have_to_deny_it(geoip, write, mmdb):
    mmdb(geoip / "hosting.mmdb", {"192.0.2.0/24": {"hosting": "true"}, "198.51.100.0/24": RENTED}, "Ours")
    write("192.0.2.0/24", "203.0.113.0/24")
    atlas = Atlas(geoip)
    assert said(atlas, "192.0.2.7") == (True, "hosting.txt 2026-11 + Ours 2026-11")
    assert said(atlas, "198.51.100.7") == (True, "Ours 2026-11")
    assert said(atlas, "203.0.113.7") == (True, "hosting.txt 2026-11")
    assert said(atlas, "8.8.8.8") == (False, "hosting.txt 2026-11 + Ours 2026-11")
    write("AS64500")
    atlas.refresh()
    assert said(atlas, "8.8.8.8") == (None, None)


def test_where_it_is_does_not_depend_on_what_is_said_of_hosting(geoip, write, mmdb):
    mmdb(geoip / "country.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "DE"}}})
    write("192.0.2.7/32")
    place = Atlas(geoip).place("192.0.2.7")
    assert (place.source, place.prefix_length, place.hosting) == ("DB-IP Lite country", 24, True)


# ── whatever is listed ──────────────────────────────────────────────────────────────────────

v4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: ip_network((pair[0] >> (32 - pair[1]) << (32 - pair[1]), pair[1]))
)
v6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda pair: ip_network((pair[0] >> (128 - pair[1]) << (128 - pair[1]), pair[1]))
)


@pytest.fixture(scope="module")
def anywhere(tmp_path_factory):
    return tmp_path_factory.mktemp("lists") / "hosting.txt"


@given(
    networks=st.lists(v4 | v6, min_size=1, max_size=12), some=st.lists(st.integers(0, 2**128 - 1), max_size=5)
)
def test_an_address_is_listed_if_a_network_holds_it(anywhere, networks, some):
    anywhere.write_text("\n".join(map(str, networks)))
    listed = HostingList.read(anywhere)
    edges = [int(edge) + step for n in networks for edge in (n[0], n[-1]) for step in (-1, 0, 1)]
    for number in edges + some:
        for version, highest in ((4, 2**32), (6, 2**128)):
            if 0 <= number < highest:
                address = ip_address(number) if version == 4 else type(ip_address("::"))(number)
                assert listed.lists(address) is any(
                    address in network for network in networks if network.version == version
                )


@given(text=st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_whatever_the_file_holds_it_is_a_list_or_refused(anywhere, text):
    anywhere.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        listed = HostingList.read(anywhere)
    except UnusableDatabase as problem:
        assert "line " in problem.detail or "lists nothing" in problem.detail
    else:
        assert listed.networks + len(listed.operators) > 0
