"""Restriction: on no page, list, search, export, share link or API does anyone but the officer see the subject."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from test_show_permissions import PERSON_ROUTES, Person, known, name

from telemetry_server.model import Author, Role
from telemetry_server.permissions import BY_ROLE, Permission
from telemetry_server.privacy.store import restrictions
from telemetry_server.privacy.subjects import Subject
from telemetry_server.store.reports.export import What

__all__ = ["known"]  # a fixture

WHY = Author("a test", "asked by letter")
EVERY_EXPORT = [f"/api/v1/export/{what}?format=csv&columns=all" for what in What]


@pytest.fixture
async def canary(site, known):
    """A customer with a license and an installation on it, which several tables name."""
    one = known["mine"]
    await site.execute(
        "UPDATE licenses SET customer_id = $1::text::uuid WHERE license_id = $2::text::uuid",
        *(one.customer, one.license),
    )
    await site.execute(
        "UPDATE installation_facts SET license_id = $1::text::uuid WHERE installation_id = $2::text::uuid",
        *(one.license, one.installation),
    )
    return one


async def seen(site, role, canary):
    """Where a person of the role sees the canary: by routes and exports."""
    person = await Person(site, role, None).arrive()
    marks = (canary.customer, canary.license, canary.installation, "mine@example.com")
    answers = {}
    for route in PERSON_ROUTES:
        if route.method == "GET" and route.permission in BY_ROLE[role]:
            answer = await person.ask(route, canary)
            if answer.status != 404:  # which may repeat the id that was asked for
                answers[name(route)] = answer.text
    if Permission.EXPORT in BY_ROLE[role]:
        for path in EVERY_EXPORT:
            answers[path] = (await person.program.get(path)).text
    found = {where for where, text in answers.items() if any(mark in text for mark in marks)}
    for text in (marks[-1], canary.installation, canary.license):
        answer = (await person.browser.get(f"/search?q={text}")).text
        if any(mark in answer for mark in marks if mark != text):  # the page repeats the text itself
            found.add(f"search {text}")
    return found


async def test_only_the_officer_sees_a_restricted_customer(site, canary):
    """Of the roles, the investigator sees most of people, and the administrator most of the rest."""
    assert len(await seen(site, Role.INVESTIGATOR, canary)) > 20
    now, subject = datetime.now(UTC), Subject("customer", UUID(canary.customer))
    await site.with_database(restrictions.begin, subject, by=WHY, now=now)
    for role in (Role.INVESTIGATOR, Role.ADMIN):
        assert await seen(site, role, canary) == set(), role
    investigator = await Person(site, Role.INVESTIGATOR, None).arrive()
    [later] = await site.execute(
        "UPDATE installation_facts SET license_id = $1::text::uuid WHERE installation_id = (SELECT i.installation_id"
        " FROM installations AS i JOIN products AS p USING (product_id) WHERE p.slug = 'mine'"
        " AND i.installation_id::text <> $2 LIMIT 1) RETURNING installation_id",
        *(canary.license, canary.installation),
    )
    assert (await investigator.browser.get(f"/installations/{later[0]}")).status == 200
    await site.with_database(restrictions.extend, now)
    assert (await investigator.browser.get(f"/installations/{later[0]}")).status == 404
    program = investigator.program
    for email, status in (("new@example.com", 201), ("MINE@example.com", 409)):
        answer = await program.request("POST", "/api/v1/customers", json={"email": email})
        assert answer.status == status, answer.text
    officer = (await Person(site, Role.PRIVACY_OFFICER, None).arrive()).browser
    assert "mine@example.com" in (await officer.get(f"/customers/{canary.customer}")).text
    assert (await officer.get(f"/installations/{canary.installation}")).status == 200
    [counted] = await site.execute(
        "SELECT count(*) FROM installations WHERE installation_id = $1", UUID(canary.installation)
    )
    assert counted[0] == 1
