"""Restriction in the database: its reasons, and views that follow migrations."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import pytest

from telemetry_server.check.licenses.columns import customer_patch
from telemetry_server.model import Author
from telemetry_server.privacy.store import restrictions
from telemetry_server.privacy.store.restrictions import WrongRestriction
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store import visible
from telemetry_server.store.migrate import Migration, migrate, released_migrations
from telemetry_server.store.registry.customers import create_customer
from telemetry_server.store.registry.products import add_product

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WHY = Author("ann", "accuracy contested")


@pytest.fixture
async def customer(connection):
    patch, _ = customer_patch({"email": "ada@example.com"})
    return Subject("customer", (await create_customer(connection, patch, by=WHY, now=NOW)).customer_id)


async def hidden_from_people(connection, sql):
    """What a connection of someone who may not see restricted subjects finds."""
    with visible.hiding():
        await visible.show_what_may_be_seen(connection)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.execute("RESET search_path")


async def test_the_views_follow_a_migration(connection, customer):
    await restrictions.begin(connection, customer, by=WHY, now=NOW)
    add = Migration(9998, "add", "ALTER TABLE customers ADD COLUMN nickname text DEFAULT 'x'")
    await migrate(connection, [*released_migrations(), add])
    assert await hidden_from_people(connection, "SELECT count(nickname) FROM customers") == 0
    assert await connection.fetchval("SELECT count(nickname) FROM customers") == 1


async def test_views_outlive_a_failed_migration_and_come_back_where_they_are_missing(
    connection, customer, monkeypatch
):
    await restrictions.begin(connection, customer, by=WHY, now=NOW)
    bad = Migration(9998, "bad", "SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, [*released_migrations(), bad])
    assert await hidden_from_people(connection, "SELECT count(*) FROM customers") == 0
    await visible.remove_views(connection)  # as of a process that was killed
    assert await migrate(connection) == []
    assert await hidden_from_people(connection, "SELECT count(*) FROM customers") == 0
    await connection.execute(f"COMMENT ON SCHEMA {visible.SCHEMA} IS 'another version'")
    monkeypatch.setitem(visible.SHOWN, "customers", "x.email = 'new'")
    await migrate(connection)
    made = "SELECT pg_get_viewdef('telemetry_visible.customers'::regclass)"
    assert "'new'" in await connection.fetchval(made)


async def test_it_has_a_reason_and_is_withdrawn_with_one(connection, customer):
    with pytest.raises(WrongRestriction, match="reason"):
        await restrictions.begin(connection, customer, by=Author("ann"), now=NOW)
    await restrictions.begin(connection, customer, by=WHY, now=NOW)
    with pytest.raises(WrongRestriction, match="already"):
        await restrictions.begin(connection, customer, by=WHY, now=NOW)
    [one] = await restrictions.in_force(connection)
    assert (one.subject, one.name, one.reason) == (customer, "ada@example.com", "accuracy contested")
    await restrictions.withdraw(connection, customer, by=WHY, now=NOW)
    assert await restrictions.in_force(connection) == []
    assert await hidden_from_people(connection, "SELECT count(*) FROM customers") == 1


async def test_cases_about_it_or_its_copies_are_hidden(connection, customer):
    installation = "019ab6f0-3c1e-7d2a-9b1e-5f0c2a7d9e11"
    product, _ = await add_product(connection, "Billing Suite", now=NOW)
    await connection.execute(
        "INSERT INTO installations (installation_id, product_id, received, received_before, first_received_at,"
        " last_received_at, last_sequence, last_occurred_at, state)"
        " VALUES ($1, $2, '{[1,2)}', '{}', $3, $3, 1, $3, substr(sha256('x'), 1, 16))",
        *(UUID(installation), product.id, NOW),
    )
    for number, (case_subject, found) in enumerate(
        [(str(customer.id), []), ("a-key", [installation]), ("another-key", [str(uuid4())])]
    ):
        await connection.execute(
            "WITH c AS (INSERT INTO cases (case_id, product_id, subject_kind, subject_id, name, score, waterfall,"
            " first_seen, last_seen, opened_at) VALUES (gen_random_uuid(), $1, 'key', $2, 'a case', 0, '{}', $4, $4, $4)"
            " RETURNING case_id), f AS (INSERT INTO findings (finding_id, product_id, rule, family, subject_kind,"
            " subject_id, strength, first_seen, last_seen, evidence, opened_at) VALUES (gen_random_uuid(), $1, $5, 'key',"
            " 'key', $2, 1, $4, $4, jsonb_build_object('installations', $3::text[]), $4) RETURNING finding_id)"
            " INSERT INTO case_findings (case_id, finding_id, added_at) SELECT case_id, finding_id, $4 FROM c, f",
            *(product.id, case_subject, found, NOW, f"rule_{number}"),
        )
    await restrictions.begin(connection, customer, by=WHY, now=NOW)
    await restrictions.begin(connection, Subject("installation", UUID(installation)), by=WHY, now=NOW)
    assert await hidden_from_people(connection, "SELECT array_agg(subject_id) FROM cases") == ["another-key"]
    assert await hidden_from_people(connection, "SELECT array_agg(subject_id) FROM findings") == [
        "another-key"
    ]
    assert await connection.fetchval("SELECT count(*) FROM cases") == 3
