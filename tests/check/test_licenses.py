"""What a file says of licenses: each row is a record or its problems, whatever the bytes are."""

import io
import json
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.check.licenses.cells import moment, network, paths
from telemetry_server.check.licenses.columns import PARSERS, customer_patch, license_patch, license_row
from telemetry_server.check.licenses.files import LicenseFile
from telemetry_server.check.licenses.rows import (
    LONGEST_LINE,
    MOST_LINES,
    Row,
    RowFormat,
    RowProblem,
    WrongFile,
    read_rows,
)
from telemetry_server.model import (
    UNSET,
    CustomerPatch,
    LicensePatch,
    LicenseRow,
    LicenseSource,
    LicenseStatus,
    Overage,
)

CSV, NDJSON = RowFormat.CSV, RowFormat.NDJSON
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def rows(text, form=CSV):
    content = text if isinstance(text, bytes) else text.encode()
    return list(read_rows(io.BytesIO(content), form))


def licenses(text, form=CSV, mapping=None):
    content = text if isinstance(text, bytes) else text.encode()
    return list(LicenseFile(io.BytesIO(content), form, mapping))


def patch(**cells):
    """The patch of a row with these cells, none of which is wrong."""
    found = license_row(1, {"key": "A-1"} | cells)
    assert isinstance(found, LicenseRow), found
    return found.patch


def problem(**cells):
    """The one problem of a row with these cells."""
    [found] = license_row(7, {"key": "A-1"} | cells)
    assert found.line == 7
    return found


# ── files ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "key,seats\nA,1\nB,2\n",
        "key,seats\r\nA,1\r\nB,2",
        "\ufeffkey,seats\n\nA,1\n\n\nB,2\n",
        "key;seats\nA;1\nB;2\n",
        "key\tseats\nA\t1\nB\t2\n",
        '"key","seats"\n"A","1"\n"B","2"\n',
        " key , seats \nA,1\nB,2\n",
    ],
)
def test_csv_is_read_however_it_was_saved(text):
    assert [row.cells for row in rows(text)] == [{"key": "A", "seats": "1"}, {"key": "B", "seats": "2"}]


def test_a_row_has_the_line_it_begins_on():
    found = rows('key,name\nA,"two\nlines"\n\nB,x\n')
    assert found == [Row(2, {"key": "A", "name": "two\nlines"}), Row(5, {"key": "B", "name": "x"})]


def test_one_column_needs_no_delimiter():
    assert [row.cells["key"] for row in rows('key\nA\n"B, C"\n')] == ["A", "B, C"]


@pytest.mark.parametrize(
    "broken",
    [
        'X,"never closed',
        'X,"closed" and more',
        "X",
        "X,1,2",
        "X\r,1",
        "X,\xff".encode("latin-1"),
        b"X," + b"y" * (LONGEST_LINE + 10),
        b"X," + b"y" * 140_000,
    ],
)
def test_a_broken_row_costs_nothing_but_itself(broken):
    broken = broken if isinstance(broken, bytes) else broken.encode()
    before, broken_row, after = rows(b'key,name\nA,"a ""b"" c"\n' + broken + b"\nB,x\n")
    assert before == Row(2, {"key": "A", "name": 'a "b" c'})
    assert isinstance(broken_row, RowProblem)
    assert broken_row.line == 3
    assert after == Row(4, {"key": "B", "name": "x"})


def test_a_quote_that_is_never_closed_does_not_swallow_the_file():
    lines = MOST_LINES * 3
    first, *rest = rows('key,name\nA,"open\n' + "B,x\n" * lines)
    assert (first.line, "does not close" in first.detail or "do not close" in first.detail) == (2, True)
    assert [row.cells["key"] for row in rest] == ["B"] * lines


def test_windows_1252_is_named_with_what_to_do():
    [found] = rows("key,name\nA,M\xfcller\n".encode("latin-1"))
    assert "byte 4 is 0xfc" in found.detail
    assert "iconv -f WINDOWS-1252 -t UTF-8" in found.detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"key,key\nA,B\n", "names key twice"),
        ("key,seats\nA,1\n".encode("utf-16"), "UTF-16"),
        (b"key\xff\nA\n", "not UTF-8"),
        (b'key,"x\nA,1\n', "head, line 1"),
    ],
)
def test_a_file_whose_head_cannot_be_read_is_refused_at_once(content, words):
    with pytest.raises(WrongFile, match=words):
        rows(content)


def test_ndjson_is_read_line_by_line():
    found = rows('{"key": "A", "seats": 3}\n\n[1]\n{"key": \n{"key": "B"}', NDJSON)
    assert found[0] == Row(1, {"key": "A", "seats": 3})
    assert [(each.line, "JSON" in each.detail) for each in found[1:3]] == [(3, True), (4, True)]
    assert found[3] == Row(5, {"key": "B"})


def test_a_line_without_end_is_not_read_into_memory():
    class Endless:
        """A hundred megabytes in one line."""

        def __init__(self):
            self.left = 100 * 2**20
            self.longest = 0

        def readline(self, size, /):
            self.longest = max(self.longest, size)
            given, self.left = min(size, self.left), self.left - min(size, self.left)
            return b"x" * given

    endless = Endless()
    [found] = read_rows(endless, NDJSON)
    assert isinstance(found, RowProblem)
    assert endless.longest <= LONGEST_LINE + 1


@given(st.binary(max_size=300), st.sampled_from(RowFormat))
def test_any_bytes_are_rows_or_problems_or_no_such_file(content, form):
    try:
        found = licenses(content, form)
    except WrongFile:
        return
    assert all(isinstance(each, LicenseRow) or each for each in found)


@given(st.lists(st.text('",\n\r;ab', max_size=20), max_size=8), st.sampled_from(["key,seats", "key"]))
def test_any_csv_is_rows_or_problems_and_the_lines_rise(lines, head):
    found = rows("\n".join([head, *lines]))
    numbers = [each.line for each in found]
    assert numbers == sorted(set(numbers))


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(blacklist_categories=["Cs"]), max_size=9), st.text('ab,"\n', max_size=9)
        ),
        max_size=5,
    )
)
def test_what_a_csv_writer_wrote_is_read_back(written):
    import csv

    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerows([("key", "name"), *written])
    found = rows(file.getvalue())
    told = [row for row in written if any(cell.strip() for cell in row)]  # but for empty rows
    assert [tuple(row.cells.values()) for row in found] == told


# ── what rows say ───────────────────────────────────────────────────────────────────────────


def test_a_whole_row_becomes_a_record():
    [found] = licenses(
        "key,status,type,source,source_detail,order_reference,seats,customer_email,customer_name,starts_at,"
        "expires_at,domains,addresses,edition,overage,directories,free_environments,customer_company,"
        "customer_tax_id,customer_technical_contact,custom.deal\n"
        " ACME-1 ,suspended,subscription,reseller,Partner Ltd,A-1,3,Ann@Example.COM,Ann,2026-01-01,"
        '2027-01-01T12:00:00+02:00,"WWW.example.com, *.example.org;example.net",192.0.2.7 2001:DB8::/32,'
        "pro,1.5x,/var/www,testing none2,ACME,DE1,ops,Q4\n"
    )
    assert found == LicenseRow(
        2,
        "ACME-1",
        None,
        LicensePatch(
            status=LicenseStatus.SUSPENDED,
            type="subscription",
            source=LicenseSource.RESELLER,
            source_detail="Partner Ltd",
            order_reference="A-1",
            edition="pro",
            seats=3,
            overage=Overage.HALF,
            domains=("www.example.com", "*.example.org", "example.net"),
            addresses=("192.0.2.7", "2001:db8::/32"),
            directories=("/var/www",),
            free_environments=("testing", "none2"),
            starts_at=date(2026, 1, 1),
            expires_at=datetime(2027, 1, 1, 10, tzinfo=UTC),
            custom={"deal": "Q4"},
            customer=CustomerPatch(
                email="ann@example.com", name="Ann", company="ACME", tax_id="DE1", technical_contact="ops"
            ),
        ),
    )


def test_an_absent_column_leaves_a_field_and_an_empty_cell_clears_it():
    found = patch(seats="", source=" ", domains="", status="")
    assert (found.seats, found.source, found.domains, found.status) == (None, None, None, None)
    assert found.edition is UNSET
    assert found.customer is UNSET
    assert patch(**{"custom.deal": ""}).custom == {"deal": None}


def test_empty_customer_columns_say_that_there_is_no_customer():
    assert patch(customer_email="", customer_name="").customer is None
    assert patch(customer_name="").customer == CustomerPatch(name=None)
    assert patch(customer_email="", customer_name="Bob").customer == CustomerPatch(email=None, name="Bob")


@pytest.mark.parametrize(
    ("cells", "column", "words"),
    [
        ({"status": "Active"}, "status", "write active"),
        ({"status": "expired"}, "status", "none of active, suspended, revoked, refunded"),
        ({"type": "subscribtion"}, "type", "write subscription"),
        ({"source": "envato"}, "source", "none of direct"),
        ({"seats": "0"}, "seats", "leave it empty"),
        ({"seats": "2.5"}, "seats", "from 1"),
        ({"seats": "-1"}, "seats", "from 1"),
        ({"seats": "9" * 5000}, "seats", "from 1"),
        ({"seats": "\uff12"}, "seats", "from 1"),
        ({"seats": True}, "seats", "from 1"),
        ({"seats": "2147483648"}, "seats", "from 1"),
        ({"starts_at": "soon"}, "starts_at", "2026-11-22T10:00:00Z"),
        ({"expires_at": "2026-02-30"}, "expires_at", "is no date"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at", "is no date"),
        ({"expires_at": "0001-01-01"}, "expires_at", "years"),
        ({"customer_email": "ann"}, "customer_email", "no e-mail"),
        ({"customer_email": "İ" * 240 + "@example.com"}, "customer_email", "492 characters"),
        ({"customer_email": "ann@a, bob@b"}, "customer_email", "no e-mail"),
        ({"customer_name": "x" * 257}, "customer_name", "257 characters"),
        ({"customer_name": "a\0b"}, "customer_name", "invisible character"),
        ({"customer_name": "a\x1b[2Jb"}, "customer_name", "invisible character"),
        ({"customer_name": "a\ud800b"}, "customer_name", "invisible character"),
        ({"customer_name": 7}, "customer_name", "must be a text"),
        ({"domains": "exa mple..com"}, "domains", "is no domain"),
        ({"domains": "http://example.com"}, "domains", "is no domain"),
        ({"domains": ["a.example b.example"]}, "domains", "is no domain"),
        ({"domains": " ".join(f"a{n}.example" for n in range(101))}, "domains", "101 entries"),
        ({"addresses": "192.0.2.256"}, "addresses", "is no address"),
        ({"addresses": "fe80::1%eth0"}, "addresses", "is no address"),
        ({"directories": ["/var; /srv"]}, "directories", "not one entry"),
        ({"free_environments": ["a b"]}, "free_environments", "not one entry"),
        ({"custom": "{"}, "custom", "is no JSON"),
        ({"custom": [1]}, "custom", "must be an object"),
        ({"custom": {"a": [1]}}, "custom", "must be a text"),
        ({"custom.a b": "1"}, "custom.a b", "1 to 64 letters"),
        ({"custom.a": float("nan")}, "custom.a", "not every JSON parser reads exactly"),
        ({"expire_at": "x"}, "expire_at", "not a known column"),
        ({"license_id": "00000000-0000-0000-0000-000000000001"}, "license_id", "remove one"),
    ],
)
def test_what_is_wrong_is_told_with_its_column_and_what_to_do(cells, column, words):
    found = problem(**cells)
    assert found.column == column
    assert words in found.detail


def test_everything_that_is_wrong_in_a_row_is_told_together():
    found = license_row(3, {"key": "", "seats": "x", "status": "x"})
    assert {each.column for each in found} == {"key", "seats", "status"}
    assert {each.line for each in found} == {3}


def test_a_key_has_its_length_and_its_inner_spaces():
    found = license_row(1, {"key": "  A 1\t "})
    assert found.key == "A 1"
    assert "513 characters" in problem(key="x" * 513).detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22", date(2026, 11, 22)),
        ("2026-11-22 00:00:00", date(2026, 11, 22)),
        ("2026-11-22T00:00:00Z", datetime(2026, 11, 22, tzinfo=UTC)),
        ("1795305600", date(2026, 11, 22)),
        ("1795305601", datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)),
        ("1795305601000", datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)),
        ("0000-00-00", None),
        ("0000-00-00 00:00:00", None),
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22 10:00:00 +0200", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("2028-02-29", date(2028, 2, 29)),
        ("2026-11-22 10:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
    ],
)
def test_times_are_utc_without_an_offset_and_dates_stay_dates(text, expected):
    assert moment(text) == expected
    assert type(moment(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("2001:0DB8::1", "2001:db8::1"),
    ],
)
def test_addresses_have_one_form(text, expected):
    assert network(text) == expected


def test_directories_may_contain_spaces():
    assert paths(r"/var/www/a b /srv,C:\Program Files\x;D:\y") == [
        "/var/www/a b",
        "/srv",
        r"C:\Program Files\x",
        r"D:\y",
    ]


def test_no_environment_is_free_by_a_word():
    assert patch(free_environments="none").free_environments == ()
    assert patch(free_environments=[]).free_environments == ()


def test_entries_are_there_once():
    assert patch(domains="a.example A.example. b.example").domains == ("a.example", "b.example")


@given(st.dictionaries(st.sampled_from([*PARSERS, "custom.x", "else"]), ANY_JSON, max_size=6))
def test_any_json_is_a_record_or_its_problems(cells):
    found = license_row(1, cells)
    if isinstance(found, LicenseRow):
        assert (found.key is None) != (found.license_id is None)
        json.dumps(repr(found)).encode()
    else:
        assert found
        assert all(each.detail for each in found)


@given(st.dictionaries(st.sampled_from([*PARSERS, "custom.x"]), st.text(), max_size=6))
def test_any_text_that_is_taken_can_be_stored(cells):
    found = license_row(1, cells)
    if isinstance(found, LicenseRow):
        texts = repr(found).encode("utf-8", "strict")
        assert b"\\x00" not in texts


# ── files of licenses ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("key,expire_at", r"expire_at \(did you mean expires_at\?\)"),
        ("license_key,seats", r"license_key \(did you mean key\?\)"),
        ("licensekey,validdomain", "if the file is from whmcs, import it with --mapping whmcs"),
        ("purchase_code,sold_at", "if the file is from envato, import it with --mapping envato"),
        ("status,seats", "must name key"),
        ("key,license_id", "not both"),
        ("key,seats_used", "seats_used"),
    ],
)
def test_columns_that_are_not_known_are_refused_before_a_row_is_taken(head, words):
    with pytest.raises(WrongFile, match=words):
        licenses(f"{head}\n1,2\n")


def test_a_nameless_column_is_in_order_while_it_is_empty():
    good, wrong = licenses("key,,seats\nA,,1\nB,x,1\n")
    assert good.patch == LicensePatch(seats=1)
    assert wrong[0].column == "column 2"


def test_an_export_names_licenses_by_their_ids():
    [found] = licenses(
        "license_id,product,key_hint,seats,source_detail,seats_used,customer_id,created_at,updated_at\n"
        "00000000-0000-0000-0000-000000000001,acme,7Q2K,3,'=1+1,7,,2026-01-01,2026-01-01\n"
    )
    assert (found.key, found.license_id) == (None, UUID(int=1))
    assert found.patch == LicensePatch(seats=3, source_detail="=1+1")


def test_only_our_own_csv_is_freed_of_its_quotes():
    [by_key] = licenses("key,source_detail\nA,'=1+1\n")
    assert by_key.patch.source_detail == "'=1+1"
    document = {"license_id": str(UUID(int=1)), "source_detail": "'=1+1"}
    [by_id] = licenses(json.dumps(document), NDJSON)
    assert by_id.patch.source_detail == "'=1+1"


# ── for the API ─────────────────────────────────────────────────────────────────────────────


def test_a_patch_needs_no_key():
    found, problems = license_patch({"status": "revoked", "customer_id": str(UUID(int=1))})
    assert problems == []
    assert found == LicensePatch(status=LicenseStatus.REVOKED, customer_id=UUID(int=1))
    _, problems = license_patch({"key": "A", "seats": 0, "customer_id": None, "customer_name": "x"})
    assert [each.pointer for each in problems] == ["/key", "/seats", "/customer_id"]


def test_a_customer_is_described_by_columns_of_their_own():
    found, problems = customer_patch({"email": "Ann@example.com", "company": None, "custom": {"a": 1}})
    assert problems == []
    assert found == CustomerPatch(email="ann@example.com", company=None, custom={"a": 1})
    assert customer_patch({"email": "x", "seats": 1})[1][0].pointer == "/email"
