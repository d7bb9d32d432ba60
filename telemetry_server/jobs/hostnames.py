"""The job "look up hostnames": the DNS names of the newest addresses, if the operator has enabled it.

Uses the system's resolver, in separate threads: no other part of the server, nor its shutdown, waits for it.
A name is set by the owner of the address, so it proves nothing.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeAlias

from telemetry_server.enrich.places.place import public_address
from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.jobs.threads import in_thread
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import hostnames as store
from telemetry_server.store.job_log import Run

NAMED_FOR, NAMELESS_FOR = timedelta(days=30), timedelta(days=7)
FEWEST_TELLING = 8
"""From this number of unanswered queries on, the resolver may be the cause, and not the addresses."""

_HOSTNAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}", re.ASCII)

Resolve: TypeAlias = Callable[[str], str | None]
"""Returns the name of an address, or None if it has none; blocks, and raises OSError without an answer."""


class Limits(NamedTuple):
    """Of one run: addresses, concurrent queries, seconds for each and for all."""

    addresses: int = 500
    at_once: int = 16
    seconds_each: float = 3.0
    seconds_in_all: float = 20.0


LIMITS = Limits()


def look_up_hostnames(resolve: Resolve | None = None, limits: Limits = LIMITS) -> Run:
    """The job; `resolve` is the system's resolver by default."""

    async def run(connection: Connection, now: datetime) -> str:
        since = now - NAMELESS_FOR, now - NAMED_FOR
        asked_for = await store.unknown_hostnames(connection, *since, limits.addresses)
        public = [address for address in asked_for if public_address(address)]
        answers, unanswered = await _ask_all(public, resolve or from_system, limits)
        private = dict.fromkeys(asked_for.keys() - set(public))
        resolver_is_away = len(unanswered) >= FEWEST_TELLING and len(unanswered) > len(answers)
        nameless = {} if resolver_is_away else dict.fromkeys(unanswered)
        await store.keep_hostnames(connection, answers | private | nameless, asked_for, now)
        if resolver_is_away:
            asked = len(unanswered) + len(answers)
            raise Unavailable(f"The DNS resolver left {len(unanswered)} of {asked} queries unanswered.")
        return f"{sum(map(bool, answers.values()))} of {len(asked_for)} addresses have a name"

    return run


def from_system(address: str) -> str | None:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return None
        raise


async def _ask_all(
    addresses: Collection[str], resolve: Resolve, limits: Limits
) -> tuple[dict[str, str | None], set[str]]:
    """The names by address, and the addresses without an answer; in lack of time some are left out."""
    answers: dict[str, str | None] = {}
    unanswered: set[str] = set()
    free = asyncio.Semaphore(limits.at_once)

    async def ask(address: str) -> None:
        await free.acquire()  # released by the thread when it ends, which may be late
        try:
            async with asyncio.timeout(limits.seconds_each):
                name = await in_thread(partial(resolve, address), JobName.LOOK_UP_HOSTNAMES, free.release)
        except (OSError, UnicodeError):  # includes TimeoutError
            unanswered.add(address)
        else:
            answers[address] = _valid(name)

    with suppress(TimeoutError):
        async with asyncio.timeout(limits.seconds_in_all):
            await asyncio.gather(*map(ask, addresses))
    return answers, unanswered


def _valid(name: str | None) -> str | None:
    """The name in lower case; None if it is not a valid hostname."""
    name = (name or "").rstrip(".").lower()
    return name if _HOSTNAME.fullmatch(name) else None
