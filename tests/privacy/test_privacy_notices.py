"""Versions of the notice, what is kept under which, and the levels of installations and customers."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg
import pytest
from demo_fleet_of_days import settled
from installation import Installation
from license_digest import digest_of
from patience import until

from telemetry_server.check.fields import Level, load_registry
from telemetry_server.model import Author
from telemetry_server.privacy.jobs import WAITS, keep_to_levels
from telemetry_server.privacy.store import level_limits, notice_versions
from telemetry_server.privacy.subjects import Subject

BY = Author("a test")


async def kept(server, installation):
    """The sections that are stored of the newest ping, and its features."""
    [row] = await server.fetch(
        "SELECT facts, features FROM v_pings WHERE installation_id = $1::text::uuid ORDER BY sequence DESC LIMIT 1",
        installation.id,
    )
    return set(json.loads(row["facts"])), row["features"]


@pytest.fixture(scope="module")
def notices(common_server, tmp_path_factory):
    """Two versions, the older one in two languages; the newer one is added by the command."""
    long_ago = datetime.now(UTC) - timedelta(days=300)

    async def add(language, text):
        connection = await asyncpg.connect(common_server.database)
        named = {"language": language, "valid_from": long_ago, "by": BY, "now": long_ago}
        await notice_versions.add_notice(connection, "2025-01-01", text, **named)
        await connection.close()

    asyncio.run(add("en", "We collect little."))
    asyncio.run(add("de", "Wir sammeln wenig."))
    file = tmp_path_factory.mktemp("notices") / "notice.txt"
    file.write_text("We collect less.\nMuch less.\n")
    return common_server.command("privacy", "notice", "add", "2026-05-01", str(file))["notices"][0]


def shown(version, level="usage"):
    return {"notice_version": version, "level": level}


async def test_a_copy_learns_of_the_notice_in_force_until_it_names_it(common_server, copy, notices):
    async def told():
        answer = await copy.send(copy.ping(privacy=shown("2025-01-01")))
        return answer.json["notices"]

    [notice] = await until(told)
    assert notice["version"] == "2026-05-01"
    assert notice["sha256"] == sha256(b"We collect less.\nMuch less.\n").hexdigest() == notices["sha256"]
    assert notice["url"].endswith("/privacy/notices/2026-05-01?language=en")
    answer = await copy.send(copy.ping(privacy=shown("2026-05-01")))
    assert answer.json["notices"] == []
    enrolled = await Installation.enrolled(common_server)
    assert enrolled.notice["version"] == "2026-05-01"


async def test_of_an_unknown_version_only_the_fields_of_the_level_license_are_kept(
    common_server, copy, notices
):
    async def reduced():
        await copy.send(copy.ping(privacy=shown("2031-07-07")))
        sections, features = await kept(common_server, copy)
        return (sections, features) if features is None else None

    sections, _ = await until(reduced)
    assert sections == {"boot_id", "privacy", "license", "service"}
    await copy.send(copy.ping(privacy={"level": "usage"}))
    assert (await kept(common_server, copy))[0] == {"boot_id", "privacy", "license", "service"}
    await copy.send(copy.ping(privacy=shown("2025-01-01")))
    sections, features = await kept(common_server, copy)
    assert {"os", "host", "virtualization", "runtime"} < sections
    assert features == '{"invoice.created": 12}'


async def test_under_which_notice_a_row_was_collected_is_one_query(common_server, copy, notices):
    await copy.send(copy.ping(privacy=shown("2025-01-01")), copy.ping(privacy=shown("2026-05-01", "license")))
    rows = await common_server.fetch(
        "SELECT sequence, privacy_notice_version, privacy_level FROM v_pings WHERE installation_id = $1::text::uuid"
        " ORDER BY sequence",
        copy.id,
    )
    assert [tuple(row) for row in rows] == [(1, "2025-01-01", "usage"), (2, "2026-05-01", "license")]


async def test_the_public_page_shows_notice_fields_and_levels(notices, reader):
    status, _, body = await reader("/privacy")
    text = body.decode()
    assert status == 200
    assert "We collect less.\nMuch less." in text
    assert notices["sha256"] in text
    for field in load_registry().fields.values():
        assert f">{field.path}</code>" in text
    assert b"Wir sammeln wenig." in (await reader("/privacy/notices/2025-01-01?language=de"))[2]
    assert (await reader("/privacy/notices/1999"))[0] == 404
    assert b'"in_force":"2026-05-01"' in (await reader("/api/v1/notices"))[2]


async def test_a_version_is_never_changed(connection):
    now = datetime.now(UTC)
    add = {"language": "en", "valid_from": None, "by": BY, "now": now}
    await notice_versions.add_notice(connection, "1", "Text", **add)
    await notice_versions.add_notice(connection, "1", "Text\r\n", **add)
    with pytest.raises(notice_versions.WrongNotice, match="another text"):
        await notice_versions.add_notice(connection, "1", "Other text", **add)
    with pytest.raises(notice_versions.WrongNotice, match="valid from"):
        await notice_versions.add_notice(
            connection, "1", "Text", **{**add, "language": "de", "valid_from": now + timedelta(days=1)}
        )
    with pytest.raises(notice_versions.WrongNotice, match="letters"):
        await notice_versions.add_notice(connection, "../1", "Text", **add)
    for sql in ("UPDATE notices SET text = 'x'", "DELETE FROM notices", "TRUNCATE notices"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(sql)
    assert [each.version for each in await notice_versions.notices(connection)] == ["1"]


async def test_a_limit_of_an_installation_holds_for_its_next_pings(common_server, copy, stored, notices):
    await copy.send(copy.ping(privacy=shown("2025-01-01")))
    common_server.command("privacy", "level", "system", "--installation", copy.id, "--reason", "asked")

    async def limited():
        await copy.send(copy.ping(privacy=shown("2025-01-01")))
        sections, features = await kept(common_server, copy)
        return sections if features is None else None

    assert "os" in await until(limited)
    subject = Subject("installation", UUID(copy.id))
    assert [(each.subject, each.level) for each in await level_limits.limits(stored)] == [(subject, "system")]
    await level_limits.set_limit(stored, subject, Level.USAGE, by=BY, now=datetime.now(UTC))
    assert await level_limits.limits(stored) == []


async def test_a_limit_of_a_customer_holds_for_all_copies_with_their_licenses(
    common_server, copy, stored, licensed, notices
):
    customer = await licensed("limited@example.com", "LIMIT-1")
    subject = Subject("customer", customer.customer_id)
    await level_limits.set_limit(stored, subject, Level.LICENSE, by=BY, now=datetime.now(UTC))
    claim = {"status": "licensed", "key_digest": digest_of(common_server.product_slug, "LIMIT-1")}

    async def limited():
        await copy.send(copy.ping(privacy=shown("2025-01-01"), license=claim))
        sections, _ = await kept(common_server, copy)
        return sections if "os" not in sections else None

    assert await until(limited) == {"boot_id", "privacy", "license", "service"}


async def test_what_only_a_withdrawn_purpose_allowed_is_removed(database):
    """By a limit, and because a copy lowered its own level; others keep everything."""
    connection = await asyncpg.connect(database)
    try:
        now, _ = await settled(connection, database, installations=6, days=10)
        rich = await connection.fetch(
            "SELECT installation_id FROM pings WHERE counters IS NOT NULL GROUP BY installation_id"
            " HAVING count(*) > 2 ORDER BY installation_id"
        )
        one, lowered, other = (row[0] for row in rich[:3])
        await level_limits.set_limit(connection, Subject("installation", one), Level.LICENSE, by=BY, now=now)
        last = await connection.fetchval(
            "SELECT last_sequence FROM installations WHERE installation_id = $1", lowered
        )
        await connection.execute(
            "INSERT INTO changes (installation_id, changed_at, sequence, field, before, after)"
            " VALUES ($1, $2, $3, 'privacy.level', 'usage', 'system')",
            *(lowered, now, last),
        )
        job = keep_to_levels(load_registry())
        assert await job(connection, now) == "reduced 0 installations to their level"
        assert await job(connection, now + WAITS) == "reduced 2 installations to their level"
        assert await left(connection, one) == (0, 0, 0, 0)
        counters, _, systems, _ = await left(connection, lowered)
        assert (counters, systems > 0) == (1, True), "of its newest ping, which it sent at the lower level"
        assert min(await left(connection, other)) > 0
        facts = await connection.fetchrow(
            "SELECT os_name, vm FROM installation_facts WHERE installation_id = $1", one
        )
        assert tuple(facts) == ("unknown", "unknown")
        orphans = "SELECT count(*) FROM pings AS g LEFT JOIN states AS s USING (installation_id, state) WHERE s.state IS NULL"
        assert await connection.fetchval(orphans) == 0
        assert await job(connection, now + 2 * WAITS) == "reduced 0 installations to their level"
    finally:
        await connection.close()


async def left(connection, installation):
    """Pings and days with counters, states and changes that tell of the system."""
    sql = (
        "SELECT count(*) FROM pings WHERE installation_id = $1 AND num_nonnulls(counters, features, used_since) > 0",
        "SELECT count(*) FROM installation_days WHERE installation_id = $1 AND num_nonnulls(counters, features) > 0",
        "SELECT count(*) FROM states WHERE installation_id = $1 AND facts ?| '{os,host,virtualization,runtime}'",
        "SELECT count(*) FROM states WHERE installation_id = $1 AND os_name IS NOT NULL",
    )
    return tuple([await connection.fetchval(each, UUID(str(installation))) for each in sql])
