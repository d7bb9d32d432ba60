"""From the outbox to a server that misbehaves: nothing lost, nothing twice, no storm."""

import base64
import gzip
import json
import os

import pytest
from license_telemetry import _backoff as backoff
from license_telemetry import _engine as engines
from license_telemetry import _outbox as outboxes
from license_telemetry import _ping as pings
from license_telemetry import _wire as wire
from license_telemetry import testing
from license_telemetry._ledger import Limits
from license_telemetry._sha256 import license_key_digest
from license_telemetry._transport import Transport
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import AT_ALL_COSTS, NOW, SOON, WHEN_DUE

DAY = 86_400.0
KEY = "ABCD-EFGH-IJKL-7Q2K"


def sequences(pings_there):
    return [made["sequence"] for made in pings_there]


def features(pings_there):
    total = {}
    for made in pings_there:
        for name, count in made.get("usage", {}).get("features", {}).items():
            total[name] = total.get(name, 0) + count
    return total


# ── the good day ────────────────────────────────────────────────────────────────────────────


def test_a_first_ping_enrols_and_is_acknowledged(bench, server):
    here = bench()
    here.ping()
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == [1]
    assert server.pings[0]["installation_id"] == here.status["installation_id"]
    assert here.status["last_acknowledged"]["sequence"] == 1
    assert here.status["queued"] == 0


def test_enrolling_is_done_once(bench, server):
    here = bench()
    for _ in range(3):
        here.ping()
        here.engine.deliver(SOON)
    assert len(server.enrolments) == 1
    assert sequences(server.pings) == [1, 2, 3]


def test_a_large_upload_is_sent_in_gzip_and_a_small_one_as_it_is(bench, server):
    small, large = bench(level="license"), bench()
    small.ping()
    small.engine.deliver(SOON)
    large.ping(20)
    large.engine.deliver(SOON)
    first, second = server.uploads()
    assert "content-encoding" not in first.headers
    assert len(first.body) <= 1024
    assert second.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(second.body))["pings"]) == 20
    assert len(second.body) < len(gzip.decompress(second.body)) / 2
    assert second.body[4:8] == bytes(4), "without the time, a retry has the same bytes"


def test_an_upload_says_who_made_it_and_when(bench, server):
    here = bench()
    here.ping()
    here.engine.deliver(SOON)
    upload = server.uploads()[0].json
    assert upload["sdk"]["name"] == "license-telemetry-python"
    assert upload["sent_at"] == wire.timestamp(here.clock())
    assert set(upload) == {"upload_id", "sent_at", "sdk", "pings"}


def test_a_long_queue_goes_in_several_uploads_in_rising_sequence(bench, server):
    here = bench()
    here.ping(250)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert [len(request.json["pings"]) for request in server.uploads()] == [100, 100, 50]
    assert sequences(server.pings) == list(range(1, 251))


def test_a_license_is_reported_when_it_changed_and_only_then(bench, server):
    here = bench()
    for _ in range(3):
        here.license(key=KEY, source="direct")
    here.license(status="expired", key=KEY, source="direct")
    here.engine.deliver(SOON)
    assert [(p["reason"], p["license"]["status"]) for p in server.pings] == [
        ("license", "licensed"),
        ("license", "expired"),
    ]


def test_a_host_that_says_two_things_in_turn_makes_a_ping_a_minute_of_each_kind(bench, server):
    """Two processes of one installation; the newest claim is what counts, and none is made of what was said before."""
    one, other = bench(gap=60.0), bench(gap=60.0)
    other.clock = one.clock
    other.engine._collector._clock = other.engine._collector._ticks = one.clock
    for second in range(150):
        here = (one, other)[second % 2]
        here.ping()
        here.license(status="licensed" if second % 3 else "trial", key=KEY)
        one.clock.advance(1)
    one.engine.deliver(SOON)
    made = [(ping["reason"], ping["license"]["status"]) for ping in server.pings if ping["reason"] != "start"]
    assert [reason for reason, _ in made].count("license") == 3
    assert [reason for reason, _ in made].count("manual") == 3
    one.license(status="expired", key=KEY)
    one.clock.advance(61)
    one.engine.collect()
    one.engine.deliver(SOON)
    assert server.pings[-1]["license"]["status"] == "expired"
    one.clock.advance(61)
    for said in ("trial", "expired", "trial"):
        one.license(status=said, key=KEY)
    sent = len(server.pings)
    for _ in range(3):
        one.clock.advance(61)
        one.engine.collect()
        one.engine.deliver(SOON)
    assert len(server.pings) == sent + 1  # the last word is what the first of these pings said
    assert server.pings[-1]["license"]["status"] == "trial"
    assert [one.status[kind] for kind in ("evicted", "refused", "unsaved")] == [0, 0, 0]


def test_a_flush_waits_for_no_minute(bench, server):
    here = bench(gap=60.0)
    for status in ("licensed", "trial"):
        here.license(status=status)
    here.engine.collect(report=True)
    here.engine.deliver(SOON)
    assert [ping["license"]["status"] for ping in server.pings] == ["licensed", "trial"]


def test_a_clock_that_was_ahead_holds_no_ping_back(bench, server):
    here = bench(gap=60.0)
    here.ping()
    here.clock.advance(-3600)
    here.ping()
    here.engine.deliver(SOON)
    assert len(server.pings) == 2


def test_the_key_is_nowhere_but_in_the_hosts_memory(bench, server, tmp_path):
    here = bench()
    here.license(key=KEY)
    here.engine.deliver(SOON)
    assert all(KEY.encode() not in path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert KEY not in json.dumps([request.json for request in server.received])
    assert server.pings[0]["license"]["key_digest"] == license_key_digest("acme", KEY)


def test_another_process_goes_on_with_the_license_and_the_counts(bench, server):
    first, second = bench(), bench()
    first.license(key=KEY)
    first.feature("a", 2)
    first.engine.collect()
    second.feature("a", 3)
    second.ping()
    second.engine.deliver(SOON)
    assert sequences(server.pings) == [1, 2]
    assert features(server.pings) == {"a": 5}
    assert server.pings[1]["license"]["key_hint"] == "7Q2K"


def test_a_copy_that_was_never_told_claims_no_license(bench, server):
    here = bench()
    here.ping()
    here.engine.deliver(SOON)
    assert server.pings[0]["license"] == {"status": "unlicensed"}


# ── no receipt ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        testing.dropped(),
        testing.lost(),
        testing.page(),
        testing.page(403),
        testing.wrong_receipt(),
        testing.redirect("http://127.0.0.1:9/elsewhere"),
        testing.status(200),
        testing.status(404),
        testing.status(410),
        testing.status(407),
    ],
)
def test_without_a_valid_receipt_the_same_bytes_are_sent_again(bench, server, fault):
    here = bench()
    here.feature("a", 7)
    here.ping(3)
    server.next_pings(fault, fault)
    assert here.engine.deliver(NOW) is Delivery.WAITING
    here.ping()
    here.clock.advance(3600)
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert here.status["queued"] == 4
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    first, second, third, fourth = server.uploads()
    assert first.body == second.body == third.body
    assert first.headers["telemetry-signature"] == third.headers["telemetry-signature"]
    assert sequences(fourth.json["pings"]) == [4]
    assert sequences(server.pings) == [1, 2, 3, 4]
    assert features(server.pings) == {"a": 7}
    assert len(server.enrolments) == 1


def test_a_retried_upload_is_no_fork(bench, server):
    here = bench()
    here.ping()
    server.next_pings(testing.lost())
    here.engine.deliver(NOW)
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert [e["forked_from"] for e in server.enrolments] == [None]
    assert sequences(server.pings) == [1]


def test_what_may_have_arrived_is_not_counted_again_when_the_outbox_is_full(bench, server, monkeypatch):
    monkeypatch.setattr(outboxes, "Limits", lambda: Limits(pings=5))
    here = bench()
    for _ in range(5):
        here.feature("a")
        here.ping()
    server.next_pings(testing.lost())
    here.engine.deliver(NOW)
    for _ in range(4):
        here.ping()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert features(server.pings) == {"a": 5}
    assert server.uploads()[0].body == server.uploads()[1].body


def test_a_process_that_dies_while_sending_leaves_the_same_bytes_to_the_next(bench, server):
    class Killed(BaseException):
        pass

    def dies(_request):
        raise Killed

    here = bench()
    here.ping()
    here.engine.deliver(NOW)
    dying = bench(post=dies, clock=here.clock)
    dying.ping(2)
    dying.engine._uploader.release = lambda: None
    with pytest.raises(Killed):
        dying.engine.deliver(NOW)
    assert here.engine.deliver(NOW) is Delivery.ELSEWHERE
    here.ping()
    here.clock.advance(61)
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert [sequences(request.json["pings"]) for request in server.uploads()] == [[1], [2, 3], [4]]


def slow(bench, server, **options):
    """A bench whose requests take so long that its lease runs out; the other one gets its turn meanwhile."""
    other = bench(**options)

    def post(request):
        answer = Transport(other.settings).post(request._replace(more=False))
        if not other.busy:
            other.busy = True
            other.clock.advance(61)
            assert other.engine.deliver(NOW) is Delivery.EMPTY
        return answer

    other.busy = False
    return bench(post=post, clock=other.clock, **options), other


def test_who_lost_the_lease_does_not_touch_what_another_sent_meanwhile(bench, server):
    late, _ = slow(bench, server)
    late.ping(3)
    assert late.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.enrolments) == 2  # both asked; one identity is used
    assert sequences(server.pings) == [1, 2, 3]
    late.ping()
    late.engine.deliver(NOW)
    assert sequences(server.pings) == [1, 2, 3, 4]
    assert len({p["installation_id"] for p in server.pings}) == 1


def test_redirects_are_not_followed(bench, server):
    here = bench()
    here.ping()
    server.next_pings(testing.redirect(server.endpoint + "/elsewhere"))
    here.engine.deliver(NOW)
    assert {request.path for request in server.received} == {wire.ENROLL_PATH, wire.PINGS_PATH}


def test_an_answer_that_tells_no_fate_lets_go_of_nothing(bench, server):
    here = bench()
    here.ping()
    server.next_pings(lambda running, request: running.receipted(request, 200, b"null"))
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert here.status["queued"] == 1
    assert here.engine.deliver(NOW) is Delivery.EMPTY


# ── when to try again ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_retry_after_is_obeyed_by_all_but_a_human(bench, server, status):
    here = bench()
    here.ping()
    server.next_pings(testing.status(status, retry_after="600"))
    assert here.engine.deliver(SOON) is Delivery.WAITING
    here.clock.advance(599)
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert len(server.uploads()) == 1
    here.clock.advance(62)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == [1]


def test_a_human_may_pass_over_retry_after(bench, server):
    here = bench()
    here.ping()
    server.next_pings(testing.status(503, retry_after="600"))
    here.engine.deliver(SOON)
    assert here.engine.deliver(AT_ALL_COSTS) is Delivery.EMPTY


@pytest.mark.parametrize("said", ["0", "-1", "soon", "", None])
def test_without_a_usable_retry_after_the_clients_own_back_off_holds(bench, server, said):
    here = bench()
    here.ping()
    server.next_pings(testing.status(503, retry_after=said))
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert len(server.uploads()) == 1
    here.clock.advance(backoff.BACK_OFF_SECONDS * 2 + 1)
    assert here.engine.deliver(SOON) is Delivery.EMPTY


def test_a_storm_of_503_costs_few_requests_and_no_ping(bench, server):
    """An hour with a ping each minute; the client's own back-off, full jitter up to six hours."""
    here = bench()
    server.next_pings(*[testing.status(503)] * 1000)
    for _ in range(60):
        here.ping()
        here.engine.deliver(SOON)
        here.clock.advance(60)
    assert len(server.uploads()) <= 25
    server._faults[wire.PINGS_PATH].clear()
    here.clock.advance(DAY)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == list(range(1, 61))


def test_the_back_off_is_noted_before_the_attempt(bench, server):
    """A host that lives for a second only must not knock at every start."""

    def dies(_request):
        raise KeyboardInterrupt

    here = bench(post=dies)
    here.ping()
    with pytest.raises(KeyboardInterrupt):
        here.engine.deliver(SOON)
    asked = []
    again = bench(clock=here.clock, post=asked.append)
    assert again.engine.deliver(SOON) is Delivery.WAITING
    assert asked == []


def test_a_back_off_from_a_clock_that_was_wrong_does_not_last(bench, server):
    here = bench()
    here.clock.advance(3000 * DAY)
    here.ping()
    server.next_pings(testing.status(503, retry_after="600"))
    here.engine.deliver(SOON)
    here.clock.advance(-3000 * DAY)
    assert here.engine.deliver(SOON) is Delivery.EMPTY


# ── the interval ────────────────────────────────────────────────────────────────────────────


def test_heartbeats_follow_the_servers_interval_for_all_processes_together(bench, server):
    server.next_ping_seconds = 1000
    one, two = bench(), bench()
    two.clock = two.engine._clock = two.engine._collector._clock = two.engine._uploader._clock = one.clock
    one.ping()
    one.engine.deliver(SOON)
    for _ in range(300):
        one.clock.advance(100)
        for here in (one, two):
            here.engine.collect()
            here.engine.deliver(SOON)
    reasons = [made["reason"] for made in server.pings]
    assert set(reasons[1:]) == {"heartbeat"}
    assert 25 <= len(reasons) - 1 <= 35


def test_the_interval_has_sane_bounds(bench, server, tmp_path):
    for said, held in ((0, DAY), (-5, DAY), ("soon", DAY), (1, 60.0), (1e12, 31 * DAY), (True, DAY)):
        server.next_ping_seconds = said
        here = bench(state_dir=str(tmp_path / f"interval {said}"))
        here.ping()
        here.engine.deliver(SOON)
        with here.engine._outbox.look() as ledger:
            assert (ledger.get("interval") or DAY) == held
            assert 0.89 * held <= ledger.get("due") - here.clock() <= 1.11 * held


def test_a_fleets_first_pings_are_spread(bench, tmp_path, server):
    first = []
    for number in range(40):
        here = bench(state_dir=tmp_path / str(number))
        here.feature("a")
        here.engine.collect()
        with here.engine._outbox.look() as ledger:
            first.append(ledger.get("due") - here.clock())
    assert all(0 <= wait <= 300 for wait in first)
    assert max(first) - min(first) > 100


def test_a_license_change_waits_its_turn_but_not_for_a_human(bench, server):
    here = bench()
    here.license(key=KEY)
    here.engine._collector.send_at = here.clock() + 200
    assert here.engine.deliver(WHEN_DUE) is Delivery.WAITING
    assert server.received == []
    assert here.engine.deliver(SOON) is Delivery.EMPTY


def test_the_first_heartbeat_of_a_version_is_a_start(bench, server):
    here = bench()
    here.engine.collect()
    here.clock.advance(301)
    here.engine.collect()
    same, newer = bench(clock=here.clock), bench(clock=here.clock, version="8.0")
    same.engine.collect()
    newer.engine.collect()
    here.clock.advance(301)
    newer.engine.collect()
    newer.engine.deliver(SOON)
    assert [(p["reason"], p["service"]["version"]) for p in server.pings] == [
        ("start", "7.2.1"),
        ("start", "8.0"),
    ]


# ── refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_a_single_ping_that_is_refused_is_dropped_and_counted(bench, server, status):
    here = bench()
    here.ping()
    server.next_pings(testing.refused(status))
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert here.status["refused"] == 1
    here.ping()
    here.engine.deliver(SOON)
    assert server.pings[0]["outbox"] == {"refused": 1}
    here.ping()
    here.engine.deliver(SOON)
    assert "outbox" not in server.pings[1]


def test_one_bad_ping_among_many_is_found_and_the_others_arrive(bench, server):
    here = bench()
    here.ping(100)
    server.refuse = lambda made: made["sequence"] == 37
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sorted(sequences(server.pings)) == [n for n in range(1, 101) if n != 37]
    assert here.status["refused"] == 1
    assert len(server.uploads()) <= 16


def test_a_server_that_refuses_everything_is_not_flooded(bench, server):
    here = bench()
    here.ping(100)
    server.refuse = lambda _made: True
    here.engine.deliver(SOON)
    assert len(server.received) <= engines.MOST_EXCHANGES
    while here.engine.deliver(NOW) is not Delivery.EMPTY:
        assert len(server.received) < 300
    assert here.status["refused"] == 100


# ── turned away by who knows whom ───────────────────────────────────────────────────────────

REFUSALS = [
    *(pytest.param(testing.status(status), id=f"a document, {status}") for status in (400, 413, 415, 422)),
    *(pytest.param(testing.page(status), id=f"a page, {status}") for status in (400, 413, 415, 422)),
]


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_is_refused_without_a_receipt_is_neither_dropped_nor_in_the_way(bench, server, fault):
    here = bench()
    here.feature("a", 3)
    here.ping()
    server.next_pings(fault)
    assert here.engine.deliver(SOON) is Delivery.WAITING
    here.ping()
    here.clock.advance(62)
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert sequences(server.pings) == [2]
    assert (here.status["queued"], here.status["refused"]) == (1, 0)
    here.clock.advance(backoff.LONGEST_BACK_OFF)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == [2, 1]
    assert features(server.pings) == {"a": 3}


@pytest.mark.parametrize("fault", REFUSALS)
def test_who_turns_everything_away_costs_no_ping_and_few_requests(bench, server, fault):
    """Two days with a ping each hour."""
    here = bench()
    server.next_pings(*[fault] * 1000)
    for _ in range(48):
        here.ping()
        here.engine.deliver(SOON)
        here.clock.advance(3600)
    assert len(server.uploads()) <= 48
    server._faults[wire.PINGS_PATH].clear()
    here.clock.advance(DAY)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sorted(sequences(server.pings)) == list(range(1, 49))
    assert here.status["refused"] == here.status["evicted"] == 0


class NarrowBox:
    """Stands before a server and lets no upload by that is larger than `most` bytes."""

    def __init__(self, server, most):
        self.most = most
        self.turned_away = 0
        self._answer, server.answer = server.answer, self.answer

    def answer(self, request):
        if len(request.body) <= self.most:
            return self._answer(request)
        self.turned_away += 1
        return testing.Reply(413, {"Content-Type": "text/html"}, b"<h1>Too large</h1>")


def large_ping(here):
    for name in range(256):
        here.feature(f"f{name}.{os.urandom(16).hex()}")
    return here.ping()


def test_large_pings_behind_a_narrow_box_hold_up_no_other_and_pass_once_it_is_wider(bench, server):
    here, box = bench(), NarrowBox(server, 3000)
    for each in (here, bench()):  # a process counts 256 names
        here.ping(3)
        large_ping(each)
    for _ in range(24):
        here.engine.deliver(SOON)
        here.clock.advance(3600)
    assert sorted(sequences(server.pings)) == [1, 2, 3, 5, 6, 7]
    box.turned_away = 0
    for number in range(9, 81):
        here.ping()
        assert here.engine.deliver(SOON) is Delivery.WAITING
        assert sequences(server.pings)[-1] == number
        here.clock.advance(3600)
    assert box.turned_away <= 72 / 3 + 1
    box.most = 2**20
    here.clock.advance(backoff.LONGEST_BACK_OFF)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert set(sequences(server.pings)[-2:]) == {4, 8}
    assert sum(features(server.pings).values()) == 512


def test_flushing_tries_what_was_turned_away_after_all_else(bench, server):
    here = bench()
    here.ping()
    server.next_pings(testing.status(422), testing.status(422))
    here.engine.deliver(NOW)
    assert here.engine.deliver(NOW) is Delivery.WAITING
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert sequences(server.pings) == [2, 1]


def test_a_rejected_item_is_dropped_and_costs_no_other(bench, server):
    here = bench()
    here.ping(3)
    server.results = lambda made: "rejected" if made["sequence"] == 2 else None
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == [1, 3]
    assert here.status["refused"] == 1


@pytest.mark.parametrize("word", ["quarantined", "a word of a newer server"])
def test_what_the_server_keeps_otherwise_is_let_go(bench, server, word):
    here = bench()
    here.ping()
    server.results = lambda _made: word
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert (here.status["queued"], here.status["refused"]) == (0, 0)


# ── unknown, and gone ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_known_pauses_a_day_and_tries_the_same_identity_once_more(bench, server, status):
    here = bench()
    here.ping(2)
    server.next_pings(testing.status(status))
    assert here.engine.deliver(NOW) is Delivery.WAITING
    here.clock.advance(DAY - 60)
    assert here.engine.deliver(NOW) is Delivery.WAITING
    assert len(server.uploads()) == 1
    here.clock.advance(120)
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    first, second = server.uploads()
    assert (first.body, first.headers["telemetry-signature"]) == (
        second.body,
        second.headers["telemetry-signature"],
    )
    assert len(server.enrolments) == 1
    assert sequences(server.pings) == [1, 2]


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_known_twice_enrols_anew(bench, server, status):
    here = bench()
    here.ping(2)
    server.next_pings(*[testing.status(status)] * 2)
    here.engine.deliver(NOW)
    here.clock.advance(DAY + 60)
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert [e["forked_from"] for e in server.enrolments] == [None, None]
    assert sequences(server.pings) == [1, 2]
    assert server.pings[0]["installation_id"] == server.enrolments[1]["installation_id"]


@pytest.mark.parametrize("proof", [None, testing.refused(422)])
def test_a_doubt_ends_with_the_first_word_the_server_signs(bench, server, proof):
    here = bench()
    for _ in range(5):
        here.ping()
        server.next_pings(testing.status(403))
        assert here.engine.deliver(NOW) is Delivery.WAITING
        here.clock.advance(DAY + 60)
        here.ping()
        server.next_pings(*[proof] * bool(proof))
        assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.enrolments) == 1


def test_it_enrols_once_more_and_not_every_day(bench, server):
    here = bench()
    here.ping()
    server.next_pings(*[testing.status(401)] * 20)
    for _ in range(10):
        here.engine.deliver(NOW)
        here.clock.advance(DAY + 1)
    assert len(server.enrolments) == 2
    assert len(server.uploads()) == 11
    assert here.status["queued"] >= 1


def test_who_may_not_enrol_keeps_its_identity_whoever_refuses_it(bench, server):
    known = bench()
    known.ping()
    known.engine.deliver(NOW)
    here = bench(clock=known.clock, product_key=None, product="acme")
    here.ping()
    server.next_pings(*[testing.status(401)] * 3)
    for _ in range(3):
        assert here.engine.deliver(AT_ALL_COSTS) is Delivery.WAITING
        here.clock.advance(DAY + 1)
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert sequences(server.pings) == [1, 2]


def test_a_human_gets_a_new_identity_at_once_from_a_server_that_began_anew(bench, server):
    here = bench()
    here.ping()
    here.engine.deliver(NOW)
    server.forget_everyone()
    here.ping()
    assert here.engine.deliver(AT_ALL_COSTS) is Delivery.EMPTY
    assert sequences(server.pings) == [1, 1]
    assert len(server.enrolments) == 2


def test_gone_with_a_receipt_stops_for_good(bench, server):
    here = bench()
    here.ping()
    here.engine.deliver(NOW)
    server.next_pings(testing.gone())
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.WAITING
    again = bench(clock=here.clock)
    again.clock.advance(400 * DAY)
    again.feature("a")
    again.ping()
    assert again.engine.deliver(AT_ALL_COSTS) is Delivery.EMPTY
    assert len(server.uploads()) == 2
    assert "stop for good" in again.status["why_off"]
    assert again.status["queued"] == 0


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (testing.status(401), DAY),
        (testing.status(503, retry_after="900"), 900),
        (testing.page(), 2),
        (testing.dropped(), 2),
    ],
)
def test_enrolling_that_fails_keeps_the_pings_and_is_tried_again(bench, server, fault, seconds):
    here = bench()
    here.ping(2)
    server.next_enrolments(fault)
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert len(server.received) == 1
    here.clock.advance(seconds * 1.1 + 35)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert sequences(server.pings) == [1, 2]


# ── forks, moves, restored servers ──────────────────────────────────────────────────────────


@pytest.fixture
def cloned(bench, tmp_path):
    """An installation with a history, and a copy of its state directory."""
    import shutil

    original = bench()
    original.license(key=KEY)
    original.ping()
    assert original.engine.deliver(NOW) is Delivery.EMPTY
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    return original, bench(state_dir=tmp_path / "copy", clock=original.clock)


def test_a_cloned_state_directory_is_seen_as_a_fork(cloned, server):
    original, clone = cloned
    parent = original.status["installation_id"]
    original.ping()
    original.engine.deliver(NOW)
    clone.feature("a", 3)
    clone.ping()
    assert clone.engine.deliver(NOW) is Delivery.EMPTY
    assert server.enrolments[-1]["forked_from"] == parent
    child = clone.status["installation_id"]
    assert clone.status["forked_from"] == parent != child
    ours = [made for made in server.pings if made["installation_id"] == child]
    assert sequences(ours) == [1]
    assert features(ours) == {"a": 3}
    clone.ping()
    assert clone.engine.deliver(NOW) is Delivery.EMPTY
    assert sequences(server.pings)[-1] == 2
    original.ping()
    original.engine.deliver(NOW)
    assert server.pings[-1]["installation_id"] == parent


def test_what_waits_when_a_fork_is_told_goes_with_the_new_identity(cloned, server):
    original, clone = cloned
    original.ping()
    original.engine.deliver(NOW)
    clone.ping(130)
    assert clone.engine.deliver(NOW) is Delivery.EMPTY
    assert len({p["ping_id"] for p in server.pings}) == len(server.pings) == 3 + 130
    ours = [p for p in server.pings if p["installation_id"] == clone.status["installation_id"]]
    assert sequences(ours) == list(range(1, len(ours) + 1))


def test_who_lost_the_lease_does_not_fork_again(cloned, bench, server, tmp_path):
    original, _ = cloned
    original.ping()
    original.engine.deliver(NOW)
    late, other = slow(bench, server, state_dir=tmp_path / "copy")
    late.ping()
    assert late.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.enrolments) == 2
    other.ping()
    other.engine.deliver(NOW)
    ours = [p for p in server.pings if p["installation_id"] == server.enrolments[1]["installation_id"]]
    assert sequences(ours) == [1, 2]


def test_a_fork_that_may_not_name_its_parent_enrols_without(cloned, server):
    original, clone = cloned
    original.ping()
    original.engine.deliver(NOW)
    server.next_enrolments(testing.status(403))
    clone.ping()
    assert clone.engine.deliver(NOW) is Delivery.EMPTY
    assert server.enrolments[-1]["forked_from"] is None


def test_a_server_that_always_says_forked_is_not_flooded(bench, server):
    here = bench()
    here.ping()
    server.results = lambda _made: "forked"
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert len(server.received) <= 3
    here.engine.deliver(NOW)
    assert len(server.received) <= 3 + engines.MOST_EXCHANGES
    assert here.status["queued"] == 1


def on_machine(monkeypatch, digest):
    monkeypatch.setattr(pings, "machine", lambda _product: digest)


def test_a_copy_on_another_machine_declares_itself(bench, server, monkeypatch):
    on_machine(monkeypatch, "a" * 64)
    here = bench()
    here.ping()
    here.engine.deliver(NOW)
    on_machine(monkeypatch, "b" * 64)
    moved = bench(clock=here.clock)
    moved.ping()
    assert moved.engine.deliver(NOW) is Delivery.EMPTY
    assert [e["forked_from"] for e in server.enrolments] == [None, server.enrolments[0]["installation_id"]]
    assert sequences(server.pings) == [1, 1]


@pytest.mark.parametrize("machines", ["aaa", "a-a", "-a-", "---", "-aa", "abab"])
def test_a_reboot_a_new_container_or_a_shared_home_enrols_no_more_than_once_for_each_machine(
    bench, server, monkeypatch, machines
):
    clock = None
    for machine in machines:
        on_machine(monkeypatch, None if machine == "-" else machine * 64)
        here = bench(clock=clock)
        clock = here.clock
        here.ping()
        assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.enrolments) == max(1, len(set(machines) - {"-"}))


def test_a_server_restored_from_a_backup_gets_its_pings_back(bench, server):
    here = bench()
    here.feature("a", 5)
    here.ping(5)
    here.engine.deliver(NOW)
    server.forget(1)
    server.forget(3)
    here.ping()
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert sorted(sequences(server.pings)) == [1, 2, 3, 4, 5, 6]
    assert features(server.pings) == {"a": 5}


def test_numbers_that_never_were_kept_are_missing_without_a_storm(bench, server):
    here = bench()
    here.ping(30)
    here.engine.deliver(NOW)
    server.forget(2)
    for _ in range(3):
        here.ping()
        assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.uploads()) == 4


# ── without a disk, without a network ───────────────────────────────────────────────────────


def test_without_a_disk_a_process_that_stays_or_flushes_is_heard(bench, server, tmp_path):
    (tmp_path / "a file").write_text("")
    here = bench(state_dir=tmp_path / "a file" / "state")
    here.feature("a")
    here.ping()
    assert here.status["storage"] == "memory"
    assert here.engine.deliver(SOON) is Delivery.WAITING
    assert server.received == []
    here.clock.advance(601)
    assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert features(server.pings) == {"a": 1}
    flushing = bench(state_dir=tmp_path / "a file" / "state")
    flushing.ping()
    assert flushing.engine.deliver(NOW) is Delivery.EMPTY


def test_a_disk_that_is_full_for_a_while_loses_nothing(bench, server, tiny_disk):
    here = bench(state_dir=tiny_disk.place / "state")
    here.ping()
    tiny_disk.fill()
    for _ in range(30):
        here.feature("a")
        assert not here.license(status="trial", key="x" * 5000)
    assert "full" in here.status["trouble"]
    tiny_disk.free()
    assert here.ping()
    here.engine.deliver(NOW)
    assert features(server.pings) == {"a": 30}
    assert [p["license"]["status"] for p in server.pings] == ["unlicensed", "trial", "trial"]
    assert here.status["unsaved"] == 0


def test_an_export_is_what_would_be_sent_and_stays_queued(bench, server, tmp_path):
    here = bench()
    here.ping()
    here.engine.deliver(NOW)
    here.feature("a", 2)
    here.ping(130)
    assert here.engine.export(str(tmp_path / "file")) == 2
    lines = [json.loads(line) for line in (tmp_path / "file").read_text().splitlines()]
    assert [(line["method"], line["path"]) for line in lines] == [("POST", "/v1/pings")] * 2
    for line in lines:
        headers = {name.lower(): value for name, value in line["headers"].items()}
        reply = server.handle(testing.Received(line["path"], headers, base64.b64decode(line["body"])))
        assert reply.status == 200
    assert len(server.pings) == 131
    assert here.status["queued"] == 130
    assert here.engine.deliver(NOW) is Delivery.EMPTY
    assert len(server.pings) == 131
    assert server.uploads()[1].body == base64.b64decode(lines[0]["body"])


def test_an_enrolment_file_gives_an_offline_copy_its_identity(bench, server, tmp_path):
    reply = server._enrol(
        testing.Received("/v1/enroll", {"authorization": f"Bearer {server.product_key}"}, b"{}")
    )
    here = bench(endpoint=None, product_key=None, product="acme")
    here.ping()
    with pytest.raises(ValueError, match="not enrolled"):
        here.engine.export(str(tmp_path / "file"))
    installation_id = here.engine.adopt(json.loads(reply.body))
    assert here.engine.export(str(tmp_path / "file")) == 1
    assert here.status["installation_id"] == installation_id
    assert here.engine.deliver(NOW) is Delivery.WAITING


def test_what_is_switched_off_collects_and_sends_nothing(bench, server):
    here = bench()
    here.feature("a", 3)
    here.engine.collect()
    here.engine.switch(on=False)
    here.feature("a", 5)
    here.ping()
    here.license(key=KEY)
    here.clock.advance(10 * DAY)
    here.engine.collect()
    here.engine.deliver(AT_ALL_COSTS)
    assert server.received == []
    assert here.status["why_off"] == "it was switched off here"
    here.engine.switch(on=True)
    here.feature("a")
    here.ping()
    here.engine.deliver(NOW)
    assert features(server.pings) == {"a": 1}


def test_what_was_queued_at_a_higher_level_is_lowered_before_it_leaves(bench, server):
    here = bench()
    here.feature("a", 3)
    here.ping()
    lowered = bench(clock=here.clock, level="license")
    lowered.ping()
    lowered.engine.deliver(NOW)
    assert [p["privacy"]["level"] for p in server.pings] == ["license", "license"]
    assert all({"usage", "os", "host"}.isdisjoint(p) for p in server.pings)


def test_below_level_usage_no_count_reaches_the_disk(bench, server):
    here = bench(level="system")
    here.feature("a", 3)
    here.ping()
    with here.engine._outbox.look() as ledger:
        assert ledger.rows("SELECT * FROM counter") == []
    here.engine.deliver(NOW)
    assert "usage" not in server.pings[0]
