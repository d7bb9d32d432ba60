"""/healthz and /readyz: whether the process answers, and whether it can do its work."""

import asyncio
from datetime import UTC, datetime

import aiohttp
import asyncpg
import pytest

from telemetry_server.store.registry.products import add_product


async def checks(site):
    answer = await site.client().get("/readyz")
    return answer.status, {check["name"]: check for check in answer.json["checks"]}


async def test_a_process_that_answers_says_so_and_which_version_it_is(site):
    answer = await site.client().get("/healthz")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.json["version"]
    assert answer.headers["Cache-Control"] == "no-store"


async def test_a_server_in_order_is_ready(site):
    status, found = await checks(site)
    assert status == 200
    assert found.keys() == {
        *("database", "migrations", "partitions", "default_partition", "address_retention"),
        *("clock", "roll_ups", "jobs", "keyring", "capacity", "pings"),
    }
    assert all(check["ok"] for check in found.values())


async def test_a_missing_partition_is_told_with_its_month(site):
    now = datetime.now(UTC)
    following = f"{now.year + now.month // 12}_{now.month % 12 + 1:02}"
    await site.execute(f"DROP TABLE pings_{following}")
    status, found = await checks(site)
    assert status == 200
    assert not found["partitions"]["ok"]
    assert following.replace("_", "-") in found["partitions"]["detail"]
    assert found["database"]["ok"]


async def test_a_ping_in_the_default_partition_is_told(site):
    await site.execute(
        "INSERT INTO pings VALUES ('2031-01-01Z', gen_random_uuid(), 1, gen_random_uuid(), now(), false, NULL, 'x', '{}')"
    )
    status, found = await checks(site)
    assert (status, found["default_partition"]["ok"]) == (200, False)
    assert "1 pings in no month" in found["default_partition"]["detail"]


async def test_a_migration_to_do_or_from_the_future_is_told(site):
    await site.execute("UPDATE schema_migrations SET version = version + 1000")
    status, found = await checks(site)
    assert (status, found["migrations"]["ok"]) == (503, False)
    assert "newer" in found["migrations"]["detail"]
    await site.execute("DELETE FROM schema_migrations")
    status, found = await checks(site)
    assert (status, found["migrations"]["ok"]) == (503, False)
    assert "telemetry-server migrate" in found["migrations"]["detail"]


@pytest.mark.parametrize(
    ("last_run", "detail"),
    [
        ("now() - interval '3 days', now() - interval '3 days', NULL", "last ended on"),
        ("now() - interval '3 days', NULL, NULL", "last ended never"),
        ("now(), now() - interval '1 day', 'DeadlockDetected: a secret detail'", "failed"),
    ],
)
async def test_addresses_that_are_kept_too_long_are_told_and_pings_are_taken_all_the_same(
    site, last_run, detail
):
    await site.execute("UPDATE schema_migrations SET applied_at = now() - interval '9 days'")
    await site.execute(f"INSERT INTO jobs VALUES ('shorten addresses', {last_run})")
    answer = await site.client().get("/readyz")
    [check] = [each for each in answer.json["checks"] if each["name"] == "address_retention"]
    assert (answer.status, answer.json["status"], check["ok"], check["needed"]) == (
        200,
        "degraded",
        False,
        False,
    )
    assert detail in check["detail"]
    assert "secret" not in answer.text


async def test_a_job_that_had_no_time_to_run_yet_is_no_failure(site):
    assert (await checks(site))[1]["address_retention"]["ok"]
    await site.execute("UPDATE schema_migrations SET applied_at = now() - interval '3 days'")
    assert not (await checks(site))[1]["address_retention"]["ok"]
    await site.execute("INSERT INTO jobs VALUES ('shorten addresses', now(), now(), NULL)")
    assert (await checks(site))[1]["address_retention"]["ok"]


async def test_roll_ups_that_are_behind_are_told_and_pings_are_taken_all_the_same(site):
    await site.execute("INSERT INTO rollup_marks VALUES ('roll up pings', now() - interval '10 minutes')")
    assert (await checks(site))[1]["roll_ups"]["ok"]
    await site.execute("UPDATE rollup_marks SET reached_at = '2026-11-22T10:00:00Z'")
    status, found = await checks(site)
    assert (status, found["roll_ups"]["ok"], found["roll_ups"]["needed"]) == (200, False, False)
    assert found["roll_ups"]["detail"] == "pings received until 2026-11-22 10:00 UTC are counted"
    await site.execute("UPDATE rollup_marks SET reached_at = now()")
    await site.execute(
        "INSERT INTO days_due VALUES (gen_random_uuid(), '2026-11-22', '2026-11-22T11:00:00Z')"
    )
    status, found = await checks(site)
    assert (status, found["roll_ups"]["ok"]) == (200, False)
    assert found["roll_ups"]["detail"].endswith(", days wait since 2026-11-22 11:00 UTC")


async def test_a_job_that_fails_is_named_and_what_it_failed_of_is_not(site):
    await site.execute("INSERT INTO jobs VALUES ('roll up days', now(), NULL, 'ValueError: a secret detail')")
    await site.execute("INSERT INTO jobs VALUES ('was renamed', now() - interval '9 days', NULL, 'no luck')")
    answer = await site.client().get("/readyz")
    [check] = [each for each in answer.json["checks"] if each["name"] == "jobs"]
    assert (answer.status, answer.json["status"], check["ok"]) == (200, "degraded", False)
    assert check["detail"] == "failed: roll up days"
    assert "secret" not in answer.text


async def test_a_row_of_a_day_in_the_default_partition_is_told(site):
    await site.execute(
        "INSERT INTO installation_days VALUES ('2031-01-01', gen_random_uuid(), gen_random_uuid(), 'x', 'valid', false, false, 1, NULL)"
    )
    assert (await checks(site))[1]["default_partition"]["detail"].startswith(
        "1 installation_days in no month"
    )


async def test_many_who_ask_whether_the_server_is_ready_keep_no_one_else_from_the_database(site):
    """Anyone may ask. While the database is slow, an answer takes two seconds, and the pool has four connections."""
    _, key = await site.with_database(add_product, "Billing Suite", now=datetime.now(UTC))
    holder = await asyncpg.connect(site.dsn)
    try:
        await holder.execute("BEGIN; LOCK TABLE jobs")
        asking = [asyncio.create_task(site.client().get("/readyz")) for _ in range(40)]
        await asyncio.sleep(0.5)
        headers = {"Authorization": f"Bearer {key}"}
        enrolled = await site.client().request("POST", "/v1/enroll", data=b"{}", headers=headers)
        assert enrolled.status == 201
        assert not any(each.done() for each in asking)
        await holder.execute("ROLLBACK")
        assert {answer.status for answer in await asyncio.gather(*asking)} <= {200, 503}
    finally:
        await holder.close()


async def test_without_a_database_the_process_answers_but_is_not_ready(open_site, wire):
    async with open_site(through=wire.dsn) as site:
        assert (await checks(site))[0] == 200
        await wire.cut(site)
        status, found = await checks(site)
        assert (status, found["database"]["ok"]) == (503, False)
        assert (await site.client().get("/healthz")).status == 200
        wire.mend()
        assert (await checks(site))[0] == 200


async def test_a_flood_of_questions_and_busy_pages_do_not_make_the_database_look_away(make_server):
    """Anyone may ask; a load balancer takes a server away that says it is not ready."""
    server = make_server()
    held = await asyncpg.connect(server.database)
    token = server.token
    async with (
        held.transaction(),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        await held.execute("LOCK TABLE licenses IN ACCESS EXCLUSIVE MODE")
        licenses = f"{server.url}/api/v1/licenses"
        pages = [
            asyncio.create_task(session.get(licenses, headers={"Authorization": f"Bearer {token}"}))
            for _ in range(12)
        ]
        while not await held.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.05)

        async def ready():
            async with session.get(f"{server.url}/readyz") as answer:
                return answer.status

        assert set(await asyncio.gather(*(ready() for _ in range(300)))) == {200}
        for page in pages:
            page.cancel()
    await held.close()
