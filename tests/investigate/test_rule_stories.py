"""Each rule finds what its guilty stories name, and nothing in its innocent ones: all of them played on the real tables."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import resources

import asyncpg
import pytest
from story_fleets import StoryFleet, play

from telemetry_server.investigate import store
from telemetry_server.investigate.rule_files import has_both_stories, shipped_rules, stories
from telemetry_server.investigate.rules import Asked
from telemetry_server.keyring import open_keyring
from telemetry_server.store.database import connect_writer
from telemetry_server.store.ingest.writer import GroupWriter

RULES = shipped_rules()
DIRECTORY = resources.files("telemetry_server.investigate").joinpath("rules")
STORIES = [(rule, story) for rule in RULES for story in stories(DIRECTORY, rule.name)]
NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def played(cluster, template, tmp_path_factory):
    """The DSN of a database in which all stories happened, the keyring, and the fleets in the order of STORIES."""
    keyring = open_keyring(tmp_path_factory.mktemp("stories") / "keyring.json")
    fleets = [StoryFleet(number, story, NOW - timedelta(days=1)) for number, (_, story) in enumerate(STORIES)]
    dsn = cluster.dsn("played_stories")

    async def happen():
        await cluster.copy(template, "played_stories")
        connection = await asyncpg.connect(dsn)
        async with GroupWriter(partial(connect_writer, dsn)) as writer:
            await play(fleets, connection, writer, keyring, NOW - timedelta(days=1))
        await connection.close()

    asyncio.run(happen())
    yield dsn, keyring, fleets
    asyncio.run(cluster.drop("played_stories"))


@pytest.mark.parametrize(
    "number", range(len(STORIES)), ids=[f"{rule.name}: {story['name']}" for rule, story in STORIES]
)
async def test_a_rule_finds_what_its_story_names_and_nothing_else(played, number):
    dsn, keyring, fleets = played
    (rule, story), fleet = STORIES[number], fleets[number]
    connection = await asyncpg.connect(dsn)
    try:
        asked = Asked(product_id=fleet.product.id, now=NOW, since=NOW - timedelta(days=400))
        seen = await store.run_rule(connection, rule, asked)
        guilty = {await fleet.subject(connection, keyring, each) for each in story["guilty"]}
        visible = {await fleet.subject(connection, keyring, each) for each in story.get("visible", ())}
    finally:
        await connection.close()
    assert {each.subject_id for each in seen if each.unscored is None} == guilty
    assert {each.subject_id for each in seen if each.unscored is not None} == visible
    assert all(each.installations for each in seen)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_has_a_guilty_and_an_innocent_story(rule):
    assert has_both_stories(stories(DIRECTORY, rule.name))
