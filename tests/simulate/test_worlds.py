"""The fleets of the worlds are such as a real server would hold, and the truth about them is true."""

import asyncio
import re
import uuid
from dataclasses import replace
from math import sqrt
from uuid import UUID

import asyncpg
import pytest
from orders import ORDER
from places import ROOT
from promises import PROMISES, WITH
from test_simulated_rows import COUNTED_WRONG, found_otherwise

from telemetry_server.simulate.first_world import FIRST
from telemetry_server.simulate.making import _terms
from telemetry_server.simulate.second_world import SECOND
from telemetry_server.simulate.world_fleet import tale_of

TABLES = (
    *("customers", "licenses", "license_keys", "registry_changes", "products", "hostnames"),
    *("installations", "installation_facts", "changes", "forks", "lineage"),
)
WORLDS = {world.name: world for world in (FIRST, SECOND)}


def names(stories):
    return [story.name for story in stories]


def with_every_story(world):
    """The same world with more misuse and odd stories, each about as often as any other."""

    def even(stories):
        return [story._replace(share=story.customers) for story in stories]

    return replace(world, odd=0.45, honest=even(world.honest), misuse=even(world.misuse))


STORIES = [
    (name, story) for name, world in WORLDS.items() for story in (*names(world.honest), *names(world.misuse))
]
ORDERS = {
    name: replace(
        ORDER,
        name=f"{name} suite",
        installations=1_600,
        pings=24_000,
        world=with_every_story(world),
        misuse=0.45,
    )
    for name, world in WORLDS.items()
}


@pytest.fixture(scope="module")
def fleets(cluster, template, make):
    """Both worlds in one database, each made once."""
    name = f"worlds_{uuid.uuid4().hex[:12]}"

    async def prepare():
        await cluster.copy(template, name)
        connection = await asyncpg.connect(cluster.dsn(name))
        made = {world: await make(connection, order) for world, order in ORDERS.items()}
        await connection.close()
        return made

    made = asyncio.run(prepare())
    yield cluster.dsn(name), made
    asyncio.run(cluster.drop(name))


@pytest.fixture
async def connection(fleets):
    connection = await asyncpg.connect(fleets[0])
    yield connection
    await connection.close()


@pytest.mark.parametrize(("world", "story"), STORIES)
async def test_each_story_is_in_the_rows_as_the_truth_has_it(fleets, connection, world, story):
    entries = fleets[1][world].planted.get(story, [])
    assert entries
    for entry in entries:
        kept = await connection.fetchval(
            f"{WITH} SELECT {PROMISES[story]}",
            [UUID(each) for each in entry["installations"]],
            entry["license"],
            entry["from"],
            entry["to"],
        )
        assert kept, entry


async def test_every_ping_counts_once_but_of_copies_older_than_the_kept_pings(fleets, connection):
    old = {
        each
        for made in fleets[1].values()
        for entry in made.planted["long_silence"]
        for each in entry["installations"]
    }
    wrong = {str(row["installation_id"]) for row in await connection.fetch(COUNTED_WRONG)}
    assert wrong == old


async def test_the_jobs_find_a_world_as_they_would_have_left_it(fleets, connection):
    assert await found_otherwise(connection, ORDER.end) == []


async def test_more_copies_than_seats_run_on_the_days_of_misuse_of_seats(fleets, connection):
    for entry in fleets[1]["first"].planted["over_seats_at_once"]:
        [row] = await connection.fetch(
            """
            SELECT l.seats, count(DISTINCT g.installation_id) AS reporting
            FROM licenses AS l
            JOIN license_keys AS k USING (license_id)
            JOIN states AS s ON s.license_key_hash = k.key_hash
            JOIN pings AS g USING (installation_id, state)
            WHERE l.license_id = $1 AND g.received_at BETWEEN $2 AND $3
            GROUP BY l.license_id
            """,
            entry["license"],
            entry["from"],
            entry["to"],
        )
        assert row["reporting"] > row["seats"]


async def test_keys_licenses_and_customers_of_the_truth_are_those_of_the_rows(fleets, connection):
    entries = [entry for made in fleets[1].values() for entry in made.truth["misuse"]]
    for entry in entries:
        [row] = await connection.fetch(
            """
            SELECT $2::text IS NULL OR EXISTS (
                       SELECT FROM states
                       WHERE installation_id = ANY ($1::uuid[]) AND license_key_hash = decode($2, 'hex')) AS key_reports,
                   (SELECT customer_id::text FROM licenses WHERE license_id = $3::uuid) AS customer,
                   (SELECT count(*) FROM license_keys
                    WHERE license_id = $3::uuid AND key_hash = decode($2, 'hex')) AS keys
            """,
            entry["installations"],
            entry["key"],
            entry["license"],
        )
        assert row["key_reports"], entry
        assert row["customer"] == entry["customer"]
        assert row["keys"] == (entry["license"] is not None)
    assert {entry["license"] is None for entry in entries} == {True, False}


async def test_forks_are_those_of_stories_with_a_second_server(fleets, connection):
    rows = await connection.fetch("SELECT DISTINCT installation_id FROM forks")
    copied = {"restored_snapshot", "golden_image", "live_clone", "cloned_state_directory", "weekend_clone"}
    of_stories = {
        each
        for made in fleets[1].values()
        for story in copied
        for entry in made.planted.get(story, ())
        for each in (*entry["installations"], *entry["related"])
    }
    assert {str(row["installation_id"]) for row in rows} <= of_stories
    made_forks = sum(made.forked for made in fleets[1].values())
    assert await connection.fetchval("SELECT count(*) FROM forks") == made_forks > 0


async def test_no_copy_is_in_two_stories_of_misuse_and_no_time_is_outside_the_simulation(fleets):
    for made in fleets[1].values():
        copies = [each for entry in made.truth["misuse"] for each in entry["installations"]]
        assert len(copies) == len(set(copies))
        assert not set(copies) & {each for entry in made.truth["honest"] for each in entry["installations"]}
        for entry in made.truth["misuse"]:
            assert made.begins_at <= entry["from"] < entry["to"] <= made.ends_at
            assert entry["days"] > 0


def test_misuse_lasts_from_days_to_months(fleets):
    days = [entry["days"] for entry in fleets[1]["first"].truth["misuse"]]
    assert min(days) < 10
    assert max(days) > 60
    assert 0.2 < sum(each >= 30 for each in days) / len(days) < 0.8


def wilson(found, of, z=3):
    middle, width = found + z * z / 2, z * sqrt(found * (of - found) / of + z * z / 4)
    return (middle - width) / (of + z * z), (middle + width) / (of + z * z)


@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
def test_misuse_is_as_frequent_among_customers_as_was_ordered(keyring, world):
    order = replace(ORDER, world=world)
    terms, _ = _terms(keyring, order)
    for misuse in (0.01, 0.003):
        tales = [tale_of(number, world, terms, misuse) for number in range(800)]
        guilty = [tale for tale in tales if any(entry.is_misuse for entry in tale.entries)]
        low, high = wilson(
            sum(max(1, len(tale.customers)) for tale in guilty),
            sum(max(1, len(tale.customers)) for tale in tales),
        )
        assert low < misuse < high


@pytest.mark.parametrize("misuse", [0.01, 0.003, 0.001])
def test_the_shares_of_a_world_are_shares_of_customers(misuse):
    for world in WORLDS.values():
        choices = world.choices(misuse)
        weights = [
            one - other for one, other in zip(choices.cumulative, [0, *choices.cumulative[:-1]], strict=True)
        ]
        customers = [weight * story.customers for weight, story in zip(weights, choices.values, strict=True)]
        guilty = sum(
            each for each, story in zip(customers, choices.values, strict=True) if story in world.misuse
        )
        assert guilty / sum(customers) == pytest.approx(misuse)


def test_the_second_world_has_stories_that_the_first_has_not():
    for kind in ("honest", "misuse"):
        first, second = (names(getattr(world, kind)) for world in (FIRST, SECOND))
        assert len(set(second) - set(first)) >= 5
    assert set(PROMISES) == {story for _, story in STORIES}


def test_the_stories_are_documented_by_name():
    page = (ROOT / "docs" / "simulation.md").read_text()
    rows = re.findall(r"^\| `(\w+)`", page, re.MULTILINE)
    assert sorted(rows) == sorted({story for _, story in STORIES})


async def test_the_same_order_makes_the_same_world(fleets, make):
    order = replace(ORDERS["second"], name="small suite", installations=100, pings=1_000, days=14)
    connection = await asyncpg.connect(fleets[0])
    made = []
    for each in (order, replace(order, replace=True)):
        truth = (await make(connection, each)).truth
        rows = [
            await connection.fetchval(
                f"SELECT md5(string_agg(row, '' ORDER BY row)) FROM (SELECT t::text AS row FROM {table} AS t) AS r"
            )
            for table in TABLES
        ]
        made.append((truth, rows))
    await connection.close()
    assert made[0] == made[1]
