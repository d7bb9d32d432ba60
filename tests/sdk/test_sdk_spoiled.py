"""An outbox that was damaged or thrown away: what was counted is sent once, or counted as lost; consent stays."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from license_telemetry import _counters
from license_telemetry._outbox import FILE
from license_telemetry._snapshot import snapshot
from license_telemetry._uploader import Delivery
from license_telemetry._wakeups import SOON
from license_telemetry.cli import main
from patience import wait_until
from real_hosts import end, features, place_in_memory

COUNTS_WHEN_ASKED = """
    import json
    for line in sys.stdin:
        done = eval(line)
        print(json.dumps(done), flush=True)
"""


def drop_a_table(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE harvest")
        connection.commit()


def rewrite(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


SPOILT = {
    "junk": rewrite(lambda data: b"no database at all, " * 500),
    "empty": rewrite(lambda _data: b""),
    "cut": rewrite(lambda data: data[: len(data) // 2]),
    "a hole": rewrite(lambda data: data[:2048] + bytes(len(data) - 2048)),
    "removed": Path.unlink,
    "a table lost": drop_a_table,
}


@pytest.fixture
def tmp_path():
    yield from place_in_memory()


@pytest.fixture
def asked(host):
    """A host that does as the test says, line by line: ask("telemetry.flush(30)")."""

    def start():
        process = host(COUNTS_WHEN_ASKED)

        def ask(expression):
            process.stdin.write(expression + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        ask.process = process
        return ask

    return start


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoiled_outbox_loses_no_count_that_was_not_harvested_and_doubles_none(
    asked, host, server, tmp_path, how
):
    """Two hosts that live on and one that is dead; each harvests the others' counts, too."""
    one, other = asked(), asked()
    for ask in (one, other):
        ask("telemetry.feature('a', 100)")
        assert ask("telemetry.flush(30)")
    end(host("telemetry.feature('a', 5)\nassert telemetry.flush(30)\ntelemetry.feature('a', 7)\nos._exit(0)"))
    one("telemetry.feature('a', 20)")
    assert other("telemetry.flush(30)")  # it harvests them
    assert features(server) == {"a": 232}
    end(host("telemetry.feature('a', 5)\nassert telemetry.flush(30)\ntelemetry.feature('a', 7)\nos._exit(0)"))
    for ask in (one, other):
        ask("telemetry.feature('a', 30)")
    SPOILT[how](tmp_path / "state" / FILE)
    assert other("telemetry.flush(30)") or other("telemetry.flush(30)")
    assert one("telemetry.flush(30)")
    assert features(server) == {"a": 304}
    assert one("telemetry.status()")["spoiled"] == 1
    end(host("telemetry.feature('last')\nassert telemetry.flush(30)"))
    assert features(server) == {"a": 304, "last": 1}


def test_where_counts_lie_in_the_state_directory_a_spoiled_outbox_loses_none_either(
    bench, server, monkeypatch
):
    """Each file is written through, and what others harvested of it is read back."""
    monkeypatch.setattr(_counters, "shared_directories", lambda _state_dir: [])
    one, other = bench(), bench()
    assert one.counters.storage == _counters.STATE_DIRECTORY
    for here in (one, other):
        here.feature("a", 10)
        here.ping()
    one.feature("a", 3)
    other.ping()  # it harvests them
    assert other.engine.deliver(SOON) is Delivery.EMPTY
    assert features(server) == {"a": 23}
    one.feature("a", 4)
    SPOILT["junk"](Path(one.settings.state_dir) / FILE)
    for here in (one, other):
        here.ping()
        assert here.engine.deliver(SOON) is Delivery.EMPTY
    assert features(server) == {"a": 27}


def test_what_only_a_copy_knows_is_counted_as_lost_not_sent_twice(host, server, tmp_path):
    """The memory is gone, too: the copy may be older than the last harvest."""
    process = host("""
        telemetry.feature("a", 7)
        assert telemetry.flush(30)
        time.sleep(1)
        telemetry.feature("a", 4)
        print("up", flush=True)
        time.sleep(1000)
    """)
    assert process.stdout.readline() == "up\n"
    kept = Path(_counters.kept_directory(str(tmp_path / "state")))
    wait_until(
        lambda: [snapshot(copy.read_bytes(), "").numbers["+a"] for copy in kept.glob("*.counts")] == [11]
    )
    process.kill()
    process.communicate()
    assert features(server) == {"a": 7}
    shutil.rmtree(_counters.shared_directories(str(tmp_path / "state"))[0])
    SPOILT["junk"](tmp_path / "state" / FILE)
    lost = json.loads(
        end(
            host("""
        import json
        telemetry.feature("last")
        assert telemetry.flush(30) or telemetry.flush(30)
        print(json.dumps(telemetry.status()["unsaved"]))
    """)
        )
    )
    assert features(server) == {"a": 7, "last": 1}
    assert lost == 1 + 4  # the outbox itself, and what the copy has beyond what is noted as taken


@pytest.mark.parametrize("how", SPOILT)
def test_what_the_customer_switched_off_stays_off(host, server, tmp_path, capsys, how):
    """Neither a host that counts nor one that tries to switch it on gets anything out."""
    end(host("telemetry.feature('a')\nassert telemetry.flush(30)"))
    sent = len(server.received)
    assert main(["off", "--state-dir", str(tmp_path / "state"), "--product-key", server.product_key]) == 0
    SPOILT[how](tmp_path / "state" / FILE)
    code = (
        "telemetry.feature('a')\ntelemetry.ping()\ntelemetry.flush(2)\nprint(telemetry.status()['enabled'])"
    )
    assert end(host("telemetry.enabled = True\n" + code)) == "False\n"
    assert end(host(code)) == "False\n"
    assert len(server.received) == sent


def test_a_level_that_was_lowered_stays_low(host, server, tmp_path):
    end(host("telemetry.level = 'license'\nassert telemetry.flush(30)\nprint(telemetry.status()['level'])"))
    SPOILT["junk"](tmp_path / "state" / FILE)
    end(host("telemetry.feature('a')\ntelemetry.ping()\ntelemetry.flush(30) or telemetry.flush(30)"))
    assert features(server) == {}
    assert server.pings[-1]["privacy"]["level"] == "license"
