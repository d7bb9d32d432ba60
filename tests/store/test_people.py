"""People and their credentials in PostgreSQL."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from telemetry_server.model import Role
from telemetry_server.store.access import credentials, people, sessions
from telemetry_server.store.migrate import migrate, released_migrations

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)

pytestmark = pytest.mark.every_postgres


@pytest.fixture
async def before_accounts(cluster):
    """A database as it was before there were people."""
    await cluster.execute("DROP DATABASE IF EXISTS before_accounts WITH (FORCE)")
    await cluster.execute("CREATE DATABASE before_accounts")
    connection = await asyncpg.connect(cluster.dsn("before_accounts"))
    await migrate(connection, [each for each in released_migrations() if each.version < 19])
    yield connection
    await connection.close()
    await cluster.execute("DROP DATABASE before_accounts WITH (FORCE)")


async def test_tokens_links_and_sessions_survive_the_migration(before_accounts):
    connection, end = before_accounts, NOW + timedelta(hours=12)
    token, link, session = "tlm_old", "old link", "old session"
    await connection.execute(
        "INSERT INTO tokens VALUES (gen_random_uuid(), $1, 'admin', 'old', $2, $3)",
        *(credentials.digest(token), NOW, end),
    )
    await connection.execute(
        "INSERT INTO sign_in_links VALUES ($1, 'viewer', $2, $3)", credentials.digest(link), NOW, end
    )
    await connection.execute(
        "INSERT INTO sessions VALUES ($1, 'admin', $2, $2, $3)", credentials.digest(session), NOW, end
    )
    await migrate(connection)
    holder = await credentials.find_token(connection, token, NOW)
    assert (holder.role, holder.label, holder.scopes, holder.products) == (Role.ADMIN, "old", None, None)
    assert await credentials.use_sign_in_link(connection, link, NOW) is Role.VIEWER
    found = await sessions.find_session(connection, session, NOW)
    assert (found.role, found.person, found.authenticated_at) == (Role.ADMIN, None, NOW)
    assert (found.methods, found.awaits_code) == (("link",), False)


async def test_the_address_is_one_account_however_it_is_written(connection):
    for email in ("Ann@Example.com", " ann@example.COM "):
        secret = await people.invite(connection, email, Role.VIEWER, by="x", now=NOW)
    made = await people.accept_invitation(connection, secret, "Ann", "$argon2id$", now=NOW)
    assert (await people.account_of(connection, "ann@example.com")).person_id == made
    for _ in ("active", "deactivated"):
        with pytest.raises(people.PersonExists):
            await people.invite(connection, "ANN@example.com", Role.ADMIN, by="x", now=NOW)
        await connection.execute("UPDATE people SET deactivated_at = $1", NOW)


@pytest.mark.parametrize("email", ["", "ann", "a@b@c", "ann@example.com, bob@example.com", "a b@c", "@"])
async def test_what_is_no_address_is_refused(connection, email):
    with pytest.raises(people.WrongEmail):
        await people.invite(connection, email, Role.VIEWER, by="x", now=NOW)


async def test_an_unknown_product_is_refused(connection):
    with pytest.raises(people.NoSuchProducts, match="no product billing"):
        await people.invite(connection, "ann@example.com", Role.VIEWER, ["billing"], by="x", now=NOW)


async def test_an_invitation_from_a_clock_ahead_is_not_good_for_longer(connection):
    then = NOW + timedelta(days=30)
    secret = await people.invite(connection, "ann@example.com", Role.VIEWER, by="x", now=then)
    assert await people.open_invitation(connection, secret, NOW) is None
    assert await people.open_invitation(connection, secret, then) is not None


async def test_old_invitations_are_forgotten_with_the_sessions(connection):
    await people.invite(connection, "ann@example.com", Role.VIEWER, by="x", now=NOW)
    await sessions.forget_sessions(connection, NOW + timedelta(days=6))
    assert await connection.fetchval("SELECT count(*) FROM invitations") == 1
    await sessions.forget_sessions(connection, NOW + timedelta(days=7))
    assert await connection.fetchval("SELECT count(*) FROM invitations") == 0
