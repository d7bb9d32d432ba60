"""The protocol's table, row by row: what an answer means."""

import json
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from license_telemetry import _identity as identity
from license_telemetry import _wire as wire
from license_telemetry._answers import LONGEST_PAUSE, Answer, Outcome, judge

SENT = b'{"pings": []}'
WHO = identity.Identity(wire.uuid7(), "A" * 43, "m1", "acme")


def answer(status, body=b"{}", **headers):
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def refusal(status, told=None, **headers):
    """A refusal under a valid receipt, whose body says that its status is `told`."""
    body = json.dumps({"status": status if told is None else told}).encode()
    return answer(status, body, telemetry_receipt=receipt(body), **headers)


def receipt(body=b"{}"):
    return "v1 hmac=" + wire.receipt(wire.secret_bytes(WHO.secret), SENT, body)


@pytest.mark.parametrize(
    ("given_answer", "outcome"),
    [
        (answer(200, telemetry_receipt=receipt()), Outcome.ACKNOWLEDGED),
        (answer(200), Outcome.UNANSWERED),
        (answer(200, telemetry_receipt=receipt(b"other")), Outcome.UNANSWERED),
        (answer(200, b"<h1>Sign in</h1>", content_type="text/html"), Outcome.UNANSWERED),
        (answer(204, b"", telemetry_receipt=receipt(b"")), Outcome.UNANSWERED),
        (refusal(410), Outcome.GONE),
        (answer(410), Outcome.UNANSWERED),
        *((refusal(status), Outcome.REFUSED) for status in (400, 413, 415, 422)),
        *((answer(status), Outcome.TURNED_AWAY) for status in (400, 413, 415, 422)),
        *((answer(status), Outcome.UNKNOWN) for status in (401, 403)),
        *((answer(status), Outcome.BUSY) for status in (429, 500, 502, 503, 504)),
        *(
            (answer(status), Outcome.UNANSWERED)
            for status in (0, 100, 301, 302, 307, 404, 405, 407, 418, 501, 599)
        ),
    ],
)
def test_each_row_of_the_table(given_answer, outcome):
    assert judge(given_answer, WHO, SENT) is outcome


@pytest.mark.parametrize("status", [401, 403])
def test_a_web_page_is_no_word_on_who_we_are(status):
    page = answer(status, b"<h1>Blocked</h1>", content_type="text/html; charset=utf-8")
    assert judge(page, WHO, SENT) is Outcome.UNANSWERED


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("body", [b"{}", b"<h1>Blocked</h1>", b""])
def test_without_a_valid_receipt_nothing_is_dropped_whatever_the_answer_looks_like(status, body):
    assert judge(answer(status, body, content_type="text/html"), WHO, SENT) is Outcome.TURNED_AWAY
    forged = answer(status, body, content_type="application/problem+json", telemetry_receipt=receipt(b"x"))
    assert judge(forged, WHO, SENT) is Outcome.TURNED_AWAY


@pytest.mark.parametrize("status", [400, 410, 413, 415, 422])
def test_a_receipted_answer_that_was_put_under_another_status_drops_and_stops_nothing(status):
    accepted = answer(status, b'{"results": []}', telemetry_receipt=receipt(b'{"results": []}'))
    for moved in (refusal(status, told=503), refusal(status, told=str(status)), accepted):
        assert judge(moved, WHO, SENT) in (Outcome.TURNED_AWAY, Outcome.UNANSWERED)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("30", 30),
        (" 30 ", 30),
        ("1000000000", LONGEST_PAUSE),
        ("9" * 400, None),
        ("0", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("²", None),
        ("Wed, 99 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_retry_after_in_seconds(said, seconds):
    assert answer(503, retry_after=said).retry_after(0.0) == seconds


def test_retry_after_as_a_date():
    now = time.time()
    assert answer(503, retry_after=formatdate(now + 90, usegmt=True)).retry_after(now) == pytest.approx(
        90, abs=1
    )
    assert answer(503, retry_after=formatdate(now - 90, usegmt=True)).retry_after(now) is None
    assert answer(503, retry_after=formatdate(now + 1e7, usegmt=True)).retry_after(now) == LONGEST_PAUSE


def test_without_retry_after_there_is_nothing_to_obey():
    assert answer(503).retry_after(0.0) is None


@given(st.text())
def test_no_retry_after_whatever_raises(said):
    seconds = answer(503, retry_after=said).retry_after(time.time())
    assert seconds is None or 0 < seconds <= LONGEST_PAUSE


@given(st.binary())
def test_no_body_whatever_raises(body):
    answer(200, body).json()
    assert judge(answer(200, body), WHO, SENT) is Outcome.UNANSWERED


def test_a_deeply_nested_body_is_no_json():
    assert answer(200, b"[" * 200_000).json() is None


WHOLE = {"installation_id": wire.uuid7(), "secret": "A" * 43, "key": "m1", "product": "acme"}


def test_an_enrolment_becomes_an_identity():
    assert identity.from_answer({**WHOLE, "next_ping_seconds": 60, "news": 1})._asdict() == WHOLE


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "text",
        {},
        *({**WHOLE, name: None} for name in WHOLE),
        {**WHOLE, "secret": "short"},
        {**WHOLE, "secret": "ä" * 43},
        {**WHOLE, "key": "a b"},
        {**WHOLE, "key": "a\r\nX: y"},
        {**WHOLE, "product": "Acme"},
        {**WHOLE, "installation_id": "../../etc"},
    ],
)
def test_what_is_no_enrolment_raises(wrong):
    with pytest.raises(ValueError):
        identity.from_answer(wrong)
