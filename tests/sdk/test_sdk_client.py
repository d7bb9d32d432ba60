"""The public face, in a process with its thread: it takes everything and disturbs nothing."""

import gc
import threading

import pytest
from license_telemetry import Telemetry
from license_telemetry._counters import LARGEST_COUNT, SLOTS, counters_in_memory
from license_telemetry.testing import FakeServer, page, recording, status
from patience import patient, wait_until

FLUSH_SECONDS = patient(20)


def features(server):
    return {n: c for made in server.pings for n, c in made.get("usage", {}).get("features", {}).items()}


def test_license_features_and_ping_arrive_after_a_flush(telemetry, server):
    one = telemetry()
    one.license(status="licensed", key="ABCD-EFGH-7Q2K", source="marketplace")
    one.feature("invoice.created")
    one.feature("invoice.created", 11)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert features(server) == {"invoice.created": 12}
    assert server.pings[-1]["license"]["key_hint"] == "7Q2K"
    assert server.pings[-1]["service"] == {"version": "7.2.1"}


def test_a_ping_leaves_without_a_flush(telemetry, server):
    telemetry().ping()
    wait_until(lambda: server.pings)
    assert server.pings[0]["reason"] == "manual"


def test_the_context_manager_delivers_before_it_ends(server, tmp_path):
    with Telemetry(server.endpoint, server.product_key, "1", state_dir=tmp_path) as one:
        one.feature("a")
        one.ping()
    assert features(server) == {"a": 1}


def test_no_thread_runs_and_no_file_is_made_before_the_first_use(telemetry, tmp_path):
    one = telemetry()
    one.status()
    one.preview()
    wait_until(one._background.is_paused)  # the look is over
    assert one._background.counters is None
    assert not (tmp_path / "state").exists()


def test_the_thread_ends_with_the_last_client(telemetry):
    one, two = telemetry(), telemetry()
    one.ping()
    two.ping()
    assert one._background is two._background
    one.close()
    assert not one._background.is_paused()
    two.close()
    wait_until(one._background.is_paused)


def test_a_closed_client_takes_nothing_more(telemetry, server):
    one = telemetry()
    one.feature("a")
    one.close()
    one.feature("b")
    one.ping()
    one.close()
    assert not one.flush(0.1)
    assert "b" not in features(server)
    assert one.status()["why_off"] == "closed"


def test_a_flush_sends_counts_that_no_ping_carries_yet(telemetry, server):
    one = telemetry()
    one.feature("a")
    assert one.flush(FLUSH_SECONDS)
    assert one.flush(FLUSH_SECONDS)
    assert [p["usage"]["features"] for p in server.pings] == [{"a": 1}]


def test_counts_from_many_threads_add_up(telemetry, server):
    one = telemetry()

    def count():
        for _ in range(2000):
            one.feature("a")

    workers = [threading.Thread(target=count) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert sum(p.get("usage", {}).get("features", {}).get("a", 0) for p in server.pings) == 16_000


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("BAD", 1),
        ("", 1),
        ("a" * 65, 1),
        ("a\0", 1),
        ("\ud800", 1),
        (None, 1),
        (3, 1),
        ([], 1),
        ({}, 1),
        (b"a", 1),
        ("a", 0),
        ("a", -1),
        ("a", 2**64),
        ("a", 1.5),
        ("a", float("nan")),
        ("a", "1"),
        ("a", None),
        ("a", []),
    ],
)
def test_a_count_of_no_use_is_ignored_and_counted(telemetry, server, name, count):
    one = telemetry()
    one.feature(name, count)
    one.feature("good")
    one.feature(name, count)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert features(server) == {"good": 1}
    assert one.status()["ignored"] == 2


def test_huge_counts_stay_within_what_json_can_carry(telemetry, server):
    one = telemetry()
    for _ in range(3):
        one.feature("a", LARGEST_COUNT)
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert features(server) == {"a": LARGEST_COUNT}


@pytest.mark.parametrize("nonsense", [None, 3, "valid", object(), ["licensed"], "\ud800", float("nan")])
def test_license_takes_any_nonsense(telemetry, server, nonsense):
    one = telemetry()
    one.license(nonsense, nonsense, nonsense, source_detail=nonsense, edition=nonsense, expires_at=nonsense)
    one.license("licensed", nonsense, nonsense, source_detail=nonsense, edition=nonsense, expires_at=nonsense)
    assert one.flush(FLUSH_SECONDS)
    assert server.pings[-1]["license"]["status"] == "licensed"
    assert one.status()["ignored"] == 1


def test_a_process_counts_256_names_and_says_what_is_beyond(telemetry, server):
    one = telemetry()
    for number in range(SLOTS + 10):
        one.feature(f"f{number}", 2)
    assert one.flush(FLUSH_SECONDS)
    assert len(features(server)) == SLOTS
    assert one.status()["unsaved"] == 20
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    assert sum(p.get("outbox", {}).get("unsaved", 0) for p in server.pings) == 20


def test_a_signal_handler_may_count_while_its_thread_is_counting():
    """It interrupts between load and store of a word: its own count waits, and is not overwritten."""
    counters = counters_in_memory()
    counters.add("a", 1)
    word = counters._slots["a"]

    class Interrupted:
        def __getitem__(self, index):
            value = words[index]
            if index == word:
                counters._words = words
                counters.add("a", 10)
            return value

        def __setitem__(self, index, value):
            words[index] = value

    words = counters._words
    counters._words = Interrupted()
    counters.add("a", 100)
    assert counters.snapshot().numbers["+a"] == 111


def test_a_host_that_pings_in_a_loop_fills_no_memory(telemetry, server):
    one = telemetry()
    with server._lock:  # the server takes a request and does not answer
        for number in range(20_000):
            one.ping()
            one.license(status="trial", key=f"key-number-{number}")
        assert len(one._background._requests) <= 1
    assert one.flush(FLUSH_SECONDS)


def test_a_host_may_say_its_license_with_every_request(telemetry, server):
    one = telemetry()
    for _ in range(1000):
        one.license(status="trial", key="ABCD-EFGH-7Q2K")
    assert one._background.counters.times_said()[0] == 1
    assert one.flush(FLUSH_SECONDS)
    one.license(status="licensed", key="ABCD-EFGH-7Q2K")
    assert one.flush(FLUSH_SECONDS)
    assert [p["license"]["status"] for p in server.pings] == ["trial", "licensed"]


# ── switched off ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["argument", "LICENSE_TELEMETRY_DISABLED=1", "LICENSE_TELEMETRY=off"])
def test_switched_off_nothing_is_written_and_nothing_sent(telemetry, server, tmp_path, monkeypatch, how):
    if "=" in how:
        monkeypatch.setenv(*how.split("="))
    one = telemetry(enabled=False if how == "argument" else None)
    one.feature("a")
    one.license(status="licensed")
    one.ping()
    assert not one.flush(0.5)
    one.close()
    assert (one._background.is_paused(), server.received, (tmp_path / "state").exists()) == (True, [], False)
    assert one.status()["enabled"] is False


def test_do_not_track_leaves_the_license_level(telemetry, server, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    one = telemetry()
    one.feature("a")
    one.license(status="licensed", key="ABCD-EFGH-7Q2K")
    assert one.flush(FLUSH_SECONDS)
    (made,) = server.pings
    assert made["privacy"]["level"] == "license"
    assert set(made) <= {
        *("ping_id", "sequence", "occurred_at", "reason", "boot_id", "privacy", "license", "service"),
        "installation_id",
    }


# ── networks ────────────────────────────────────────────────────────────────────────────────


def test_without_a_server_a_flush_ends_and_the_ping_waits(telemetry):
    one = telemetry(endpoint="http://127.0.0.1:9")
    one.ping()
    assert not one.flush(FLUSH_SECONDS)
    assert one.status()["queued"] == 1
    assert "refused" in one.status()["last_answer"]["detail"].lower()


@pytest.mark.parametrize(
    "endpoint",
    ["file:///etc/passwd", "ftp://127.0.0.1/", "nonsense", "http://", "http://[::1", "http://a b/"],
)
def test_an_endpoint_that_is_none_harms_nobody(telemetry, endpoint):
    one = telemetry(endpoint=endpoint)
    one.ping()
    assert not one.flush(FLUSH_SECONDS)
    assert one.status()["queued"] == 1


def test_a_captive_portal_gets_the_pings_and_the_server_gets_them_again(telemetry, server):
    one = telemetry()
    server.next_pings(page())
    one.ping()
    wait_until(lambda: one.flush(FLUSH_SECONDS))
    assert [p["sequence"] for p in server.pings] == [1]
    assert [request.json["pings"][0]["sequence"] for request in server.uploads()] == [1, 1]


def test_a_flush_obeys_the_servers_pause(telemetry, server):
    one = telemetry()
    one.ping()
    server.next_pings(status(503, retry_after="3600"))
    assert not one.flush(FLUSH_SECONDS)
    assert not one.flush(FLUSH_SECONDS)
    assert len(server.uploads()) == 1


def test_a_proxy_is_used_for_everything(telemetry, monkeypatch, server, tmp_path):
    """An HTTP proxy is asked with the whole address; the fake server stands in for one and reads it."""
    with FakeServer() as proxy:
        one = telemetry(endpoint="http://telemetry.invalid", proxy=proxy.endpoint)
        one.ping()
        assert not one.flush(FLUSH_SECONDS)
        assert {request.path for request in proxy.received} == {"http://telemetry.invalid/v1/enroll"}
        asked = len(proxy.received)
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        two = telemetry(endpoint="http://telemetry.invalid", state_dir=None)
        two.ping()
        assert not two.flush(FLUSH_SECONDS)
        assert len(proxy.received) > asked
        asked = len(proxy.received)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = telemetry(state_dir=tmp_path / "direct")
        direct.ping()
        assert direct.flush(FLUSH_SECONDS)
        assert len(proxy.received) == asked


# ── for the host's own tests ────────────────────────────────────────────────────────────────


def test_recording_shows_what_the_host_hands_over_and_touches_nothing(telemetry, server, tmp_path):
    one = telemetry()
    with recording() as recorded:
        one.feature("a")
        one.feature("a", 2)
        one.license(status="trial", key="k", edition="pro")
        one.ping()
        assert one.flush()
    assert recorded.features == {"a": 3}
    assert recorded.licenses == [{"status": "trial", "key": "k", "source": None, "edition": "pro"}]
    assert recorded.pings == 1
    assert (one._background.is_paused(), server.received, (tmp_path / "state").exists()) == (True, [], False)
    one.feature("b")
    assert recorded.features == {"a": 3}


def test_the_package_shows_its_types():
    from pathlib import Path

    import license_telemetry

    assert (Path(license_telemetry.__file__).parent / "py.typed").exists()
    assert license_telemetry.__all__ == ["Telemetry", "__version__"]


def test_nothing_is_left_unclosed(telemetry, server):
    one = telemetry()
    one.ping()
    assert one.flush(FLUSH_SECONDS)
    one.close()
    gc.collect()  # a forgotten socket or file would be a ResourceWarning here
    assert server.pings
