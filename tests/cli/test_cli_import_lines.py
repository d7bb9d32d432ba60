"""The lines of an export, which come from machines that nobody here knows."""

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_server.cli.uploads import Refused, _lines, parse
from telemetry_server.text import in_utf8

GOOD = {
    "method": "POST",
    "path": "/v1/pings",
    "headers": {"Content-Type": "application/json", "Telemetry-Signature": "v1 …".replace("…", "x")},
    "body": b64encode(b'{"pings": []}').decode(),
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def line(**changes):
    return json.dumps(GOOD | changes).encode()


def test_an_upload_keeps_its_body_and_its_headers():
    upload = parse(line())
    assert upload.body == b'{"pings": []}'
    assert upload.headers == GOOD["headers"]


def test_only_the_headers_of_an_upload_are_passed_on():
    headers = GOOD["headers"] | {"Authorization": "Bearer x", "Cookie": "session=x", "Host": "elsewhere"}
    assert parse(line(headers=headers)).headers == GOOD["headers"]


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "DELETE"},
        {"path": "/sign-out"},
        {"path": "//elsewhere.example/v1/pings"},
        {"body": "not base64!"},
        {"body": None},
        {"headers": None},
        {"headers": {"Content-Type": 7}},
        {"headers": {"Content-Type": "a\r\nCookie: b"}},
    ],
)
def test_what_is_no_upload_is_refused(changes):
    with pytest.raises(Refused):
        parse(line(**changes))


@given(st.binary() | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_in_words(content):
    with pytest.raises(Refused):
        parse(content)


@given(st.dictionaries(st.sampled_from(list(GOOD)), ANY_JSON, min_size=1))
def test_a_damaged_line_is_an_upload_or_refused(changes):
    try:
        upload = parse(line(**changes))
    except Refused:
        return
    assert isinstance(upload.body, bytes)
    assert set(upload.headers) <= {"Content-Type", "Telemetry-Signature"} | set(changes.get("headers") or ())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_export_may_have_passed_through_another_system(tmp_path, encoding):
    """Windows PowerShell writes UTF-16 with a mark and CRLF where it copies text."""
    file = tmp_path / "export.ndjson"
    whole = line(note="ü" * 3_000).decode()
    file.write_bytes(f"{whole}\r\n\r\n{whole}\r\n".encode(encoding))
    with file.open("rb") as opened:
        numbered = list(_lines(in_utf8(opened)))
    assert [number for number, _ in numbered] == [1, 3]
    assert [parse(each) for _, each in numbered] == [parse(line())] * 2
