"""/healthz and /readyz: whether the process answers, and whether it can do its work."""

from datetime import UTC, datetime


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
    assert found.keys() == {"database", "migrations", "partitions", "default_partition"}
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


async def test_without_a_database_the_process_answers_but_is_not_ready(open_site, wire):
    async with open_site(through=wire.dsn) as site:
        assert (await checks(site))[0] == 200
        await wire.cut(site)
        status, found = await checks(site)
        assert (status, found["database"]["ok"]) == (503, False)
        assert (await site.client().get("/healthz")).status == 200
        wire.mend()
        assert (await checks(site))[0] == 200
