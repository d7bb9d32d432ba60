"""The outbox: numbers, bounds, and disks that are full, spoiled, or not there."""

import json
import os
import stat
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from license_telemetry import _ledger as ledgers
from license_telemetry import _outbox as outboxes
from license_telemetry import _wire as wire
from license_telemetry._ledger import Limits
from license_telemetry._locks import try_lock
from license_telemetry._outbox import FILE, LOCK, MOST_SET_ASIDE, Outbox, Spoiled, Unavailable

NOW = 1_795_000_000.0


def a_ping(reason="heartbeat", features=None, **more):
    made = {"ping_id": wire.uuid7(), "occurred_at": wire.timestamp(NOW), "reason": reason, **more}
    if features:
        made["usage"] = {"since": wire.timestamp(NOW - 60), "features": features}
    return made


def build(pings):
    return wire.uuid7(), repr([p["sequence"] for p in pings]).encode(), None


def rows(outbox, query):
    with outbox.look() as ledger:
        return ledger.rows(query)


def numbers(outbox):
    return [
        row[0] for row in rows(outbox, "SELECT sequence FROM ping WHERE acknowledged_at IS NULL ORDER BY 1")
    ]


@pytest.fixture
def outbox(tmp_path):
    return Outbox(str(tmp_path / "state"))


@pytest.fixture
def narrow(monkeypatch):
    """Room for five pings."""
    monkeypatch.setattr(outboxes, "Limits", lambda: Limits(pings=5))


# ── numbers and counters ────────────────────────────────────────────────────────────────────


def test_numbers_are_given_with_the_ping_or_not_at_all(outbox):
    with outbox.transaction() as ledger:
        assert [ledger.queue(a_ping()), ledger.queue(a_ping())] == [1, 2]
    with pytest.raises(TypeError), outbox.transaction() as ledger:
        ledger.queue(a_ping(filler=object()))  # breaks after the number was given
    with outbox.transaction() as ledger:
        assert ledger.queue(a_ping()) == 3
    assert numbers(outbox) == [1, 2, 3]


def test_a_ping_takes_the_counters_with_it(outbox):
    with outbox.transaction() as ledger:
        ledger.count({"a": 2, "b": 1})
        ledger.count({"a": 3})
        ledger.queue({**a_ping(), "usage": ledger.usage()})
        assert ledger.usage() == {}
    (content,) = rows(outbox, "SELECT content FROM ping")[0]
    assert '"features":{"a":5,"b":1}' in content


def test_what_one_ping_can_not_carry_waits_for_the_next(outbox):
    with outbox.transaction() as ledger:
        ledger.put("usage_since", "since the start")
        ledger.count({f"f{i}": 1 for i in range(300)})
        assert len(ledger.usage()["features"]) == 256
        ledger.queue({**a_ping(), "usage": ledger.usage()})
        assert len(ledger.usage()["features"]) == 44
        assert ledger.usage()["since"] == "since the start"
        ledger.queue({**a_ping(), "usage": ledger.usage()})
        assert ledger.get("usage_since") == wire.timestamp(NOW)


def test_counters_are_bounded_and_what_does_not_fit_is_counted(outbox, monkeypatch):
    monkeypatch.setattr(outboxes, "Limits", lambda: Limits(counters=2))
    with outbox.transaction() as ledger:
        ledger.count({"a": 1, "b": 1, "c": 7})
        ledger.count({"a": 2**53 - 1})
        assert ledger.usage()["features"] == {"a": 2**53 - 1, "b": 1}
        assert ledger.losses() == {"unsaved": 7}


def test_losses_are_reported_once(outbox):
    with outbox.transaction() as ledger:
        ledger.lose("evicted", 2)
        ledger.queue({**a_ping(), "outbox": ledger.losses()})
        assert ledger.losses() == {}
        assert ledger.get("total_evicted") == 2


# ── room ────────────────────────────────────────────────────────────────────────────────────


def test_the_oldest_usage_goes_first_and_the_license_stays(outbox, narrow):
    with outbox.transaction() as ledger:
        for made in (
            a_ping("license"),
            a_ping("heartbeat"),
            a_ping("heartbeat", {"a": 1}),
            a_ping("heartbeat", {"b": 1}),
            a_ping("license", {"c": 1}),
            a_ping("heartbeat", {"d": 1}),
        ):
            ledger.queue(made)
        ledger.make_room()
    assert numbers(outbox) == [1, 2, 4, 5, 6]
    with outbox.transaction() as ledger:
        for _ in range(9):
            ledger.queue(a_ping("heartbeat"))
            ledger.make_room()
    assert numbers(outbox) == [1, 5, 13, 14, 15]


def test_the_newest_ping_is_never_evicted(outbox, narrow):
    with outbox.transaction() as ledger:
        for reason in ["license"] * 5 + ["heartbeat"]:
            ledger.queue(a_ping(reason, {"a": 1}))
        ledger.make_room()
    assert numbers(outbox) == [2, 3, 4, 5, 6]


def test_an_evicted_pings_counts_and_reports_go_to_the_next(outbox, narrow):
    with outbox.transaction() as ledger:
        ledger.queue(a_ping("heartbeat", {"a": 4}, outbox={"unsaved": 3}))
        for _ in range(5):
            ledger.queue(a_ping())
        ledger.make_room()
        assert ledger.usage() == {"since": wire.timestamp(NOW - 60), "features": {"a": 4}}
        assert ledger.losses() == {"evicted": 1, "unsaved": 3}


def test_counts_that_may_have_been_sent_are_never_counted_again(outbox, narrow):
    with outbox.transaction() as ledger:
        for _ in range(5):
            ledger.queue(a_ping("heartbeat", {"a": 1}))
        ledger.upload(build)
        ledger.queue(a_ping())
        ledger.make_room()
        assert ledger.queued() == 5
        assert ledger.usage() == {}
        assert ledger.losses() == {"evicted": 1}


def test_what_was_turned_away_makes_room_first(outbox, narrow):
    with outbox.transaction() as ledger:
        ledger.queue(a_ping("license", {"a": 1}))
        ledger.set_aside(ledger.upload(build).upload_id)
        for _ in range(5):
            ledger.queue(a_ping("heartbeat", {"b": 1}))
        ledger.make_room()
        assert ledger.usage() == {}
        assert ledger.losses() == {"evicted": 1}
    assert numbers(outbox) == [2, 3, 4, 5, 6]


def test_the_outbox_is_bounded_in_bytes(outbox, monkeypatch):
    monkeypatch.setattr(outboxes, "Limits", lambda: Limits(characters=3200))
    with outbox.transaction() as ledger:
        for _ in range(10):
            ledger.queue(a_ping(filler="x" * 900))
        ledger.make_room()
    assert numbers(outbox) == [8, 9, 10]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["license", "heartbeat"]), st.integers(0, 3)), min_size=1, max_size=30)
)
def test_no_count_and_no_number_gets_lost_in_a_full_outbox(tmp_path_factory, monkeypatch, queued):
    monkeypatch.setattr(outboxes, "Limits", lambda: Limits(pings=5))
    outbox = Outbox(str(tmp_path_factory.mktemp("state")))
    for reason, count in queued:
        with outbox.transaction() as ledger:
            if count:
                ledger.count({"a": count})
            usage = ledger.usage()
            ledger.queue({**a_ping(reason), **({"usage": usage} if usage else {})})
            ledger.make_room()
    with outbox.look() as ledger:
        kept = ledger.rows("SELECT content FROM ping")
        pings = [json.loads(content) for (content,) in kept]
        total = sum(made.get("usage", {}).get("features", {}).get("a", 0) for made in pings)
        total += ledger.usage().get("features", {}).get("a", 0)
        assert total == sum(count for _, count in queued)
        assert ledger.queued() + ledger.get("total_evicted", 0) == len(queued)


# ── acknowledged ────────────────────────────────────────────────────────────────────────────


def test_the_last_twenty_are_kept_for_a_week(outbox):
    with outbox.transaction() as ledger:
        for _ in range(30):
            ledger.keep(ledger.queue(a_ping()), NOW)
        ledger.prune(NOW)
        assert ledger.rows("SELECT min(sequence), count(*) FROM ping") == [(11, 20)]
        ledger.prune(NOW + 8 * 86_400)
        assert ledger.rows("SELECT count(*) FROM ping") == [(0,)]


def test_what_the_server_misses_is_queued_again_a_few_times(outbox):
    with outbox.transaction() as ledger:
        for _ in range(4):
            ledger.keep(ledger.queue(a_ping()), NOW)
        for _ in range(ledgers.MOST_RESENT + 1):
            ledger.resend([(2, 4), (100, 2**61)])
            again = [row[0] for row in ledger.rows("SELECT sequence FROM ping WHERE acknowledged_at IS NULL")]
            for sequence in again:
                ledger.keep(sequence, NOW)
        assert again == []
        assert ledger.rows("SELECT resent FROM ping ORDER BY sequence") == [(0,), (3,), (3,), (0,)]


# ── one sender ──────────────────────────────────────────────────────────────────────────────


def test_one_holds_the_lease_until_it_ends_or_is_given_back(outbox):
    with outbox.transaction() as ledger:
        assert ledger.lease("a", NOW)
        assert ledger.lease("a", NOW + 1)
        assert not ledger.lease("b", NOW + 2)
        ledger.release("b")
        assert not ledger.lease("b", NOW + 2)
        assert ledger.lease("b", NOW + 62)
        ledger.release("b")
        assert ledger.lease("a", NOW + 62)


def test_a_lease_from_the_future_is_stale():
    """A clock that was turned back must not silence the sender for years."""
    outbox = Outbox(None)
    with outbox.transaction() as ledger:
        assert ledger.lease("a", NOW + 1e8)
        assert ledger.lease("b", NOW)


# ── the file ────────────────────────────────────────────────────────────────────────────────


def test_only_its_owner_may_read_it(outbox, tmp_path):
    previous = os.umask(0)
    try:
        with outbox.transaction() as ledger:
            ledger.queue(a_ping())
    finally:
        os.umask(previous)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "state").iterdir()}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert set(modes.values()) == {0o600}


def test_a_transaction_leaves_no_descriptor_behind(outbox):
    before = os.listdir("/proc/self/fd")
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    with outbox.look() as ledger:
        ledger.queued()
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_looking_makes_no_file(outbox, tmp_path):
    with outbox.look() as ledger:
        assert ledger.queued() == 0
    assert list(tmp_path.iterdir()) == []


def test_who_can_not_wait_for_another_process_is_told(outbox, tmp_path):
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    with (tmp_path / "state" / LOCK).open() as other:
        assert try_lock(other.fileno())
        with pytest.raises(Unavailable), outbox.transaction(patience=0.05):
            pass
    with outbox.transaction(patience=0.05) as ledger:
        assert ledger.queued() == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"no database at all, " * 500,
        lambda data: data[: len(data) // 2],
        lambda data: data[:2000] + b"\xff" * 3000 + data[5000:],
        lambda data: data[:-4096] + b"\0" * 4096,
        lambda data: b"SQLite format 3\0" + b"\xff" * 5000,
    ],
)
def test_a_spoiled_file_is_set_aside_and_a_new_one_begun(outbox, tmp_path, spoil):
    with outbox.transaction() as ledger:
        for _ in range(5):
            ledger.queue(a_ping(filler="x" * 2000))
    path = tmp_path / "state" / FILE
    path.write_bytes(spoil(path.read_bytes()))
    again = Outbox(str(tmp_path / "state"))
    try:
        with again.transaction() as ledger:
            ledger.rows("SELECT * FROM ping")
    except Spoiled:
        pass
    with again.transaction() as ledger:
        assert ledger.get("total_spoiled") == 1
        assert ledger.losses() == {"unsaved": 1}
        assert ledger.queue(a_ping()) == 1
    assert len(list(path.parent.glob(FILE + ".spoiled-*[0-9]"))) == 1


def test_a_newer_versions_columns_are_left_alone(outbox):
    with outbox.transaction() as ledger:
        ledger.put("claim", {"status": "trial"})
        for table in ("state", "counter", "ping", "upload"):
            ledger._db.execute(f"ALTER TABLE {table} ADD COLUMN newer TEXT DEFAULT 'x'")
        ledger._db.execute("PRAGMA user_version = 99")
    with outbox.transaction() as ledger:
        ledger.count({"a": 1})
        ledger.put("due", 1)
        ledger.queue(a_ping())
        assert ledger.upload(build).pings[0][0] == 1
        assert ledger.get("claim") == {"status": "trial"}


def test_the_file_of_the_first_version_goes_on(outbox):
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
        sent = ledger.upload(build)
        ledger._db.execute("ALTER TABLE upload DROP COLUMN aside")
        ledger._db.execute("DROP TABLE harvest")
        ledger._db.execute("PRAGMA user_version = 1")
    for _ in range(2):
        with outbox.transaction() as ledger:
            assert ledger.upload(build) == sent
            assert ledger.rows("PRAGMA user_version") == [(3,)]


def test_an_empty_file_is_a_new_outbox(tmp_path):
    (tmp_path / FILE).write_bytes(b"")
    with Outbox(str(tmp_path)).transaction() as ledger:
        assert ledger.queue(a_ping()) == 1


def test_at_most_ten_spoiled_files_are_kept(tmp_path):
    for number in range(MOST_SET_ASIDE + 4):
        (tmp_path / FILE).write_bytes(b"nonsense %d " % number * 100)
        with pytest.raises(Spoiled), Outbox(str(tmp_path)).transaction():
            pass
    kept = sorted(p for p in tmp_path.iterdir() if not p.name.endswith(("-journal", ".lock")))
    assert len(kept) == MOST_SET_ASIDE
    assert kept[-1].read_bytes().startswith(b"nonsense 13 ")


def test_a_spoiled_files_journal_is_never_played_into_the_next(outbox, tmp_path):
    with outbox.transaction() as ledger:
        for _ in range(5):
            ledger.queue(a_ping(filler="x" * 2000))
    journal = tmp_path / "state" / (FILE + "-journal")
    assert journal.exists()
    (tmp_path / "state" / FILE).write_bytes(b"nonsense " * 1000)
    with pytest.raises(Spoiled), outbox.transaction():
        pass
    assert not journal.exists()
    assert len(list(journal.parent.glob(FILE + ".spoiled-*-journal"))) == 1


def test_a_new_file_is_not_set_aside_for_what_was_wrong_with_the_old(tmp_path):
    """Two processes notice the same spoiled file; the slower must not throw away the faster one's new outbox."""
    (tmp_path / FILE).write_bytes(b"nonsense " * 100)
    slower = Outbox(str(tmp_path))
    slower._inode = slower._make_file()
    with pytest.raises(Spoiled), Outbox(str(tmp_path)).transaction():
        pass
    with Outbox(str(tmp_path)).transaction() as ledger:
        ledger.queue(a_ping())
    slower._set_aside()
    assert numbers(Outbox(str(tmp_path))) == [1]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_flipped_bits_cost_no_exception_but_our_own(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("state")
    with Outbox(str(directory)).transaction() as ledger:
        for _ in range(3):
            ledger.queue(a_ping(features={"a": 1}))
        ledger.upload(build)
    path = directory / FILE
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    again = Outbox(str(directory))
    for _ in range(3):
        try:
            with again.transaction() as ledger:
                ledger.queue({**a_ping(), "usage": ledger.usage()})
                ledger.make_room()
                ledger.upload(build)
                ledger.identity()
                ledger.lease("a", NOW)
        except Unavailable:
            continue
    with again.transaction() as ledger:
        assert ledger.queue(a_ping()) >= 1


def test_a_ping_the_disk_spoiled_is_given_up_and_the_others_go(outbox):
    with outbox.transaction() as ledger:
        for _ in range(3):
            ledger.queue(a_ping())
        ledger._db.execute("UPDATE ping SET content = 'no json' WHERE sequence = 2")
        upload = ledger.upload(build)
        assert [sequence for sequence, _ in upload.pings] == [1, 3]
        assert ledger.losses() == {"evicted": 1}


# ── disks ───────────────────────────────────────────────────────────────────────────────────


def test_where_no_file_can_be_made_a_small_outbox_lives_in_memory(tmp_path):
    (tmp_path / "a file").write_text("")
    outbox = Outbox(str(tmp_path / "a file" / "state"))
    for _ in range(100):
        with outbox.transaction() as ledger:
            ledger.queue(a_ping(features={"a": 1}, filler="x" * 3000))
            ledger.make_room()
    assert outbox.in_memory
    with outbox.look() as ledger:
        ((characters,),) = ledger.rows("SELECT sum(length(content)) FROM ping")
        assert characters <= 64 * 1024
        assert ledger.queued() + ledger.get("total_evicted") == 100


def test_without_a_home_the_outbox_lives_in_memory():
    outbox = Outbox(None)
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    assert outbox.in_memory
    assert numbers(outbox) == [1]


def test_what_was_in_memory_moves_to_a_disk_that_is_mended(tmp_path, monkeypatch):
    monkeypatch.setattr(outboxes, "RETRY_DISK_SECONDS", 0.0)
    state = tmp_path / "state"
    state.write_text("in the way")
    outbox = Outbox(str(state))
    with outbox.transaction() as ledger:
        ledger.count({"a": 2})
        ledger.put("claim", {"status": "trial"})
        ledger.queue(a_ping())
    state.unlink()
    with outbox.transaction() as ledger:
        assert ledger.usage()["features"] == {"a": 2}
        assert ledger.get("claim") == {"status": "trial"}
        assert ledger.queue(a_ping()) == 2
    assert not outbox.in_memory
    assert numbers(Outbox(str(state))) == [1, 2]


def test_what_was_in_memory_is_numbered_after_what_is_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(outboxes, "RETRY_DISK_SECONDS", 0.0)
    state, aside = tmp_path / "state", tmp_path / "aside"
    with Outbox(str(state)).transaction() as ledger:
        ledger.queue(a_ping())
        ledger.lose("evicted", 1)
    state.rename(aside)
    state.write_text("in the way")
    outbox = Outbox(str(state))
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
        ledger.lose("evicted", 2)
    state.unlink()
    aside.rename(state)
    with outbox.transaction() as ledger:
        assert ledger.losses() == {"evicted": 3}
    assert numbers(outbox) == [1, 2]


def test_on_a_full_disk_nothing_is_half_written_and_it_mends_itself(tiny_disk):
    outbox = Outbox(str(tiny_disk.place / "state"))
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    tiny_disk.fill()
    for _ in range(3):
        with pytest.raises(Unavailable), outbox.transaction() as ledger:
            ledger.queue(a_ping(filler="x" * 100_000))
    assert numbers(outbox) == [1]
    assert not outbox.in_memory
    tiny_disk.free()
    with outbox.transaction() as ledger:
        assert ledger.queue(a_ping()) == 2


def test_a_disk_that_is_full_from_the_start_is_as_good_as_none(tiny_disk):
    tiny_disk.fill()
    outbox = Outbox(str(tiny_disk.place / "state"))
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    assert outbox.in_memory


def test_a_disk_that_became_read_only_keeps_its_numbers(tiny_disk):
    outbox = Outbox(str(tiny_disk.place / "state"))
    with outbox.transaction() as ledger:
        ledger.queue(a_ping())
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk.place)], check=True)
    with pytest.raises(Unavailable), outbox.transaction() as ledger:
        ledger.queue(a_ping())
    assert numbers(outbox) == [1]
    assert not outbox.in_memory
