"""Jobs: once for a deployment, again soon after a failure, by hand."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest
from patience import patient

from telemetry_server import logs
from telemetry_server.errors import Unavailable
from telemetry_server.jobs import runner
from telemetry_server.jobs.runner import Chore, Job, run_job, running
from telemetry_server.single_flight import SingleFlight
from telemetry_server.store.database import make_pool
from telemetry_server.store.ingest.product_cache import ProductCache
from telemetry_server.store.job_log import run_locked


@pytest.fixture
async def pool(database):
    async with make_pool(database) as pool:
        yield pool


def counted(results):
    ran = []

    async def run(connection, now):
        ran.append(now)
        result = results[min(len(ran), len(results)) - 1]
        if isinstance(result, Exception):
            raise result
        return result

    return run, ran


async def test_a_job_that_is_not_due_does_not_run_but_by_hand_it_does(pool):
    run, ran = counted(["done"])
    job = Job("count", run, every=timedelta(hours=1))
    assert await run_job(job, pool.acquire, only_if_due=True) == "done"
    assert await run_job(job, pool.acquire, only_if_due=True) is None
    assert await run_job(job, pool.acquire) == "done"
    assert len(ran) == 2


async def test_a_job_that_failed_is_due_again_and_its_error_is_kept(pool):
    run, ran = counted([ValueError("no luck"), "done"])
    job = Job("count", run, every=timedelta(days=1))
    with pytest.raises(ValueError, match="no luck"):
        await run_job(job, pool.acquire, only_if_due=True)
    assert await pool.fetchval("SELECT last_error FROM jobs") == "ValueError: no luck"
    assert await run_job(job, pool.acquire, only_if_due=True) == "done"
    assert await pool.fetchval("SELECT last_error FROM jobs") is None
    assert len(ran) == 2


async def test_while_postgresql_is_away_a_job_waits_and_says_so_once(pool, capsys, monkeypatch):
    monkeypatch.setattr(logs, "_rationed", {})
    monkeypatch.setattr(runner, "_RETRY_SECONDS", 0.01)
    run, ran = counted([asyncpg.CannotConnectNowError("the database system is starting up")] * 5 + ["done"])
    async with running([Job("count", run, every=timedelta(hours=1))], [], pool.acquire):
        async with asyncio.timeout(20):
            while (
                await pool.fetchval("SELECT count(*) FROM jobs WHERE last_finished_at > last_started_at") < 1
            ):
                await asyncio.sleep(0.05)
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["message"], line["job"], line["cause"]) == ("job waits", "count", "CannotConnectNowError")
    assert line["error"].startswith("PostgreSQL is away")
    assert len(ran) == 6


async def test_a_job_that_was_killed_is_due_again(pool):
    run, _ = counted(["done"])
    await pool.execute("INSERT INTO jobs (name, last_started_at) VALUES ('count', $1)", datetime.now(UTC))
    assert await run_job(Job("count", run, every=timedelta(days=1)), pool.acquire, only_if_due=True) == "done"


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(hours=8), timedelta(days=500)])
async def test_a_last_run_in_the_future_counts_as_never(pool, ahead):
    run, _ = counted(["done"])
    job = Job("count", run, every=timedelta(days=1))
    future = datetime.now(UTC) + ahead
    await pool.execute("INSERT INTO jobs VALUES ('count', $1, $1, NULL)", future)
    assert await run_job(job, pool.acquire, only_if_due=True) == "done"
    assert await pool.fetchval("SELECT last_started_at FROM jobs") < datetime.now(UTC)
    await pool.execute("UPDATE jobs SET last_started_at = $1, last_finished_at = $1", future)
    assert await run_job(job, pool.acquire) == "done"


async def test_a_job_that_ended_is_not_due_again_where_the_databases_clock_is_behind_this_ones(pool):
    run, ran = counted(["done"])
    ahead = datetime.now(UTC) + timedelta(minutes=1)
    for now, done in ((ahead, "done"), (ahead + timedelta(seconds=1), None)):
        assert await run_locked(pool.acquire, "count", run, now=now, due_after=timedelta(hours=1)) == done
    assert ran == [ahead]


async def test_a_run_that_another_server_began_a_moment_from_now_is_no_future(pool):
    run, ran = counted(["done"])
    job = Job("count", run, every=timedelta(days=1))
    soon = datetime.now(UTC) + timedelta(minutes=1)
    await pool.execute("INSERT INTO jobs VALUES ('count', $1, $1, NULL)", soon)
    assert await run_job(job, pool.acquire, only_if_due=True) is None
    assert await run_job(job, pool.acquire) == "done"
    assert len(ran) == 1


async def test_two_servers_run_a_job_once(pool):
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection, now):
        started.set()
        await go_on.wait()
        return "done"

    job = Job("slow", slow, every=timedelta(0))
    first = asyncio.create_task(run_job(job, pool.acquire))
    await started.wait()
    assert await run_job(job, pool.acquire) is None
    go_on.set()
    assert await first == "done"


async def test_one_failing_chore_does_not_stop_the_others(pool, capsys):
    ran = asyncio.Event()

    async def bad():
        raise ValueError("no luck")

    async def good():
        ran.set()

    chores = [Chore("bad", bad, timedelta(seconds=1)), Chore("good", good, timedelta(seconds=1))]
    async with running([], chores, pool.acquire):
        await asyncio.wait_for(ran.wait(), patient(5))
        await asyncio.sleep(0.05)
    assert '"job":"bad"' in capsys.readouterr().err


async def test_work_that_many_ask_for_is_done_once_for_all_of_them():
    ran = []

    async def work():
        ran.append(1)

    shared = SingleFlight(work)
    await asyncio.gather(*(shared.run() for _ in range(100)))
    assert len(ran) == 1
    await shared.run()
    assert len(ran) == 2


async def test_shared_work_that_takes_long_runs_once_at_a_time_whoever_asks_meanwhile():
    running, most, ran = 0, 0, 0

    async def work():
        nonlocal running, most, ran
        running, ran = running + 1, ran + 1
        most = max(most, running)
        await asyncio.sleep(0.5)
        running -= 1

    shared = SingleFlight(work)
    asking = []
    for _ in range(10):
        asking.append(asyncio.create_task(shared.run()))
        await asyncio.sleep(0.15)
    await asyncio.gather(*asking)
    assert (most, ran < len(asking)) == (1, True)


async def test_before_the_products_were_read_nobody_is_told_that_theirs_is_unknown(pool):
    products = ProductCache(pool)
    with pytest.raises(Unavailable):
        products.find("example")
    await products.refresh()
    assert products.find("example") is None


async def test_a_damaged_database_connection_does_not_reach_the_caller_as_a_driver_error(pool, database):
    await pool.execute("SELECT 1")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    products = ProductCache(pool)
    await products.refresh()
    await pool.execute(kill)
    await products.refresh()
    assert partial(products.find, "x")() is None
