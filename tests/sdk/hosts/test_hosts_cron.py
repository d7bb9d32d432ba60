"""Programs that live for a fraction of a second, a thousand of them."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from proxy import Proxy

ROUND_TRIP = 0.06
RUN_SECONDS = 5.0  # far above the second that a run may wait, once per interval


def runs(stand, count, at_once=1):
    """The seconds that each of `count` runs took."""
    with ThreadPoolExecutor(at_once) as executor:
        return list(executor.map(lambda number: stand.run("-m", "cron", number), range(count)))


@pytest.mark.parametrize(
    "count", [pytest.param(40, marks=pytest.mark.small), pytest.param(1000, marks=pytest.mark.timeout(900))]
)
def test_short_runs_lose_no_count(make_stand, count):
    stand = make_stand(None, f"cron, {count} runs", "by itself")
    took = runs(stand, count, at_once=2)
    assert stand.server.pings, "no run reported"
    stand.judge(at_least=count)
    assert max(took) < RUN_SECONDS


@pytest.mark.small
def test_the_first_or_the_second_run_behind_a_slow_network_reports(make_stand, server):
    with Proxy(server.endpoint.removeprefix("http://").split(":"), ROUND_TRIP) as proxy:
        stand = make_stand(None, "cron, 40 runs behind 60 ms", "by itself", endpoint=proxy.endpoint)
        took = runs(stand, 2)
        assert server.pings, "neither the first nor the second run reported"
        took += runs(stand, 38)
        stand.judge(at_least=40)
        assert max(took) < RUN_SECONDS


def test_runs_that_are_killed_lose_no_count(make_stand):
    stand = make_stand(None, "cron, 100 runs", "kill -9 at random")
    for number in range(100):
        process = stand.start("-m", "cron", number)
        time.sleep(stand.random.uniform(0.02, 0.3))
        stand.kill(process)
    stand.judge()
