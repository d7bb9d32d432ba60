"""What shares a value, of a small fleet in the real tables."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest
from story_fleets import StoryFleet, play

from telemetry_server.investigate.pivot import PivotKind, PivotValue
from telemetry_server.investigate.pivot_values import NoSuchValue, guess_organisations, links_of
from telemetry_server.keyring import open_keyring
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.writer import GroupWriter

STORY = {
    "days": 2,
    "licenses": {"ACME": {"seats": 2}, "OTHER": {"seats": 1, "customer": "Other Inc"}},
    "copies": {
        "a": {"key": "ACME", "network": "north", "address": "203.0.113.1", "until": 2},
        "b": {"key": "ACME", "network": "south", "address": "203.0.113.2", "until": 2},
        "c": {"key": "OTHER", "network": "south", "address": "203.0.113.2", "until": 2},
        "d": {"key": "STRANGE", "network": "east", "address": "203.0.113.4", "until": 2},
    },
}


@pytest.fixture(scope="module")
def played(cluster, template, tmp_path_factory):
    """The DSN of a database in which the story happened, and the ids of its copies."""
    keyring = open_keyring(tmp_path_factory.mktemp("pivot") / "keyring.json")
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    fleet, dsn = StoryFleet(1, STORY, now), cluster.dsn("played_pivot")

    async def happen():
        await cluster.copy(template, "played_pivot")
        connection = await asyncpg.connect(dsn)
        async with GroupWriter(partial(connect_writer, dsn)) as writer:
            await play([fleet], connection, writer, keyring, now)
        await connection.close()

    asyncio.run(happen())
    yield dsn, fleet.ids
    asyncio.run(cluster.drop("played_pivot"))


@pytest.fixture
async def connection(played):
    connection = await asyncpg.connect(played[0])
    yield connection
    await connection.close()


def labels(graph, *kinds):
    return sorted(node.label for value, node in graph.nodes.items() if value.kind in kinds)


def copy_of(played, name):
    return PivotValue(PivotKind.INSTALLATION, str(played[1][name]))


async def test_a_copy_leads_over_what_it_shares_to_the_others(played, connection):
    graph = await links_of(connection, copy_of(played, "a"))
    ids = {value.id for value in graph.nodes if value.kind is PivotKind.INSTALLATION}
    assert ids == {str(played[1][name]) for name in "ab"}  # c shares nothing with it
    assert labels(graph, PivotKind.CUSTOMER, PivotKind.ADDRESS) == ["203.0.113.2", "Customer of ACME"]
    wider = await links_of(connection, copy_of(played, "a"), rings=3)
    assert copy_of(played, "c") in wider.nodes
    assert copy_of(played, "d") not in wider.nodes


async def test_a_value_has_exactly_the_copies_that_share_it(played, connection):
    for kind, value, names in (
        (PivotKind.ADDRESS, "203.0.113.1", "a"),
        (PivotKind.ADDRESS, "203.0.113.2", "bc"),
    ):
        graph = await links_of(connection, PivotValue(kind, value), rings=1)
        first = graph.nodes[PivotValue(kind, value)]
        assert (first.sharing.copies, first.sharing.customers) == (len(names), len(names))
        assert {each for each in graph.nodes if each.kind is PivotKind.INSTALLATION} == {
            copy_of(played, name) for name in names
        }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (PivotKind.ADDRESS, "203.0.113.99"),
        (PivotKind.OPERATOR, "0"),
        (PivotKind.CUSTOMER, "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11"),
    ],
)
async def test_what_no_copy_has_is_said_so(connection, kind, value):
    with pytest.raises(NoSuchValue):
        await links_of(connection, PivotValue(kind, value))


async def test_a_key_that_the_registry_does_not_know_is_a_value_of_its_own(played, connection):
    graph = await links_of(connection, copy_of(played, "d"), least=1)
    [key] = [value for value in graph.nodes if value.kind is PivotKind.KEY]
    around = await links_of(connection, key)
    assert copy_of(played, "d") in around.nodes
    assert labels(graph, PivotKind.LICENSE, PivotKind.CUSTOMER) == []


async def test_a_copy_may_be_of_the_company_of_its_license_and_of_no_one_without(played, connection):
    found = await guess_organisations(connection, played[1]["a"])
    assert (found[0].name, found[0].confidence) == ("Customer of ACME", "high")
    assert [guess.confidence for guess in await guess_organisations(connection, played[1]["d"])] == ["low"]
