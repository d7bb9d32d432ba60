"""What is done for a request: a correction, or the limit that follows from an objection."""

from datetime import datetime
from typing import Any

from telemetry_server.check.fields import Level, Registry
from telemetry_server.model import Author, CustomerPatch
from telemetry_server.privacy.store import level_limits, requests
from telemetry_server.privacy.store.requests import RequestKind, RequestState, SubjectRequest, WrongRequest
from telemetry_server.store.database import Connection
from telemetry_server.store.registry.customers import FIELDS, change_customer, customer_by_id


def level_without(registry: Registry, purpose: str) -> Level:
    """The most that may be kept without that purpose. Raises WrongRequest where every ping needs it."""
    if purpose not in registry.purposes:
        raise WrongRequest(f"There is no purpose {purpose!r}; there are {', '.join(registry.purposes)}.")
    needed = [field.level for field in registry.fields.values() if field.purpose == purpose]
    if not needed:
        return Level.USAGE
    below = [level for level in Level if not any(level.allows(each) for each in needed)]
    if not below:
        raise WrongRequest(f'Every ping needs "{purpose}": an objection to it is answered, or data erased.')
    return below[-1]


async def object_to(
    connection: Connection, found: SubjectRequest, registry: Registry, *, by: Author, now: datetime
) -> Level:
    """Sets the limit that follows from an objection. Raises WrongRequest."""
    if found.kind is not RequestKind.OBJECTION or found.purpose is None:
        raise WrongRequest("Only an objection to a purpose sets a limit.")
    level = level_without(registry, found.purpose)
    async with connection.transaction():
        if level is not Level.USAGE:
            level = await _lower(connection, found, level, by=by, now=now)
        await requests.add_step(connection, found.request_id, "done", by=by, now=now, level=level)
    return level


async def _lower(
    connection: Connection, found: SubjectRequest, level: Level, *, by: Author, now: datetime
) -> Level:
    """Sets the limit, unless a lower one is there already; returns the one in force."""
    limits = await level_limits.limits(connection)
    present = next((each.level for each in limits if each.subject == found.subject), Level.USAGE)
    if not present.allows(level):
        return present
    await level_limits.set_limit(connection, found.subject, level, by=by, now=now)
    return level


async def correct(
    connection: Connection, found: SubjectRequest, patch: CustomerPatch, *, by: Author, now: datetime
) -> dict[str, Any]:
    """Corrects a customer; returns what was before and is now, by field, which the history keeps.

    Raises WrongRequest, or as `change_customer`.
    """
    if found.kind is not RequestKind.RECTIFICATION or found.subject.kind != "customer":
        raise WrongRequest("Only a rectification of a customer's data corrects it.")
    if found.state in {RequestState.ANSWERED, RequestState.REFUSED}:
        raise WrongRequest(f"The request is {found.state} already.")
    async with connection.transaction():
        before = await customer_by_id(connection, found.subject.id)
        _, after = await change_customer(connection, found.subject.id, patch, by=by, now=now)
        changed = {
            name: [getattr(before, name), getattr(after, name)]
            for name in FIELDS
            if getattr(before, name) != getattr(after, name)
        }
        if not changed:
            raise WrongRequest("Nothing differs from what is stored.")
        await requests.add_step(connection, found.request_id, "done", by=by, now=now, changed=changed)
    return changed
