"""The job "look up hostnames": what the DNS calls the newest addresses, where the operator wants to know.

The system's resolver is asked, in threads of this job's own: nothing else of the server waits for it, nor
does its end. A name is what the owner of the address wrote there, so it proves nothing.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Thread
from typing import NamedTuple, TypeAlias

from telemetry_server.enrich.places.place import is_public
from telemetry_server.errors import Unavailable
from telemetry_server.job_names import JobName
from telemetry_server.jobs.runner import Run
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import hostnames as store

NAMED_FOR, NAMELESS_FOR = timedelta(days=30), timedelta(days=7)
FEWEST_TELLING = 8
"""So many unanswered questions say something of the resolver, and not of the addresses."""

_HOSTNAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}", re.ASCII)

Resolve: TypeAlias = Callable[[str], str | None]
"""The name of an address, or None where it has none; waits, and raises OSError where nobody answers."""


class Limits(NamedTuple):
    """Of one run: addresses, questions at once, seconds for each and for all."""

    addresses: int = 500
    at_once: int = 16
    seconds_each: float = 3.0
    seconds_in_all: float = 20.0


LIMITS = Limits()


def look_up_hostnames(resolve: Resolve | None = None, limits: Limits = LIMITS) -> Run:
    """The job; `resolve` is the system's resolver unless another is given."""

    async def run(connection: Connection, now: datetime) -> str:
        since = now - NAMELESS_FOR, now - NAMED_FOR
        asked_for = await store.unknown_hostnames(connection, *since, limits.addresses)
        public = [address for address in asked_for if is_public(address)]
        answers, unanswered = await _ask_all(public, resolve or from_system, limits)
        private = dict.fromkeys(asked_for.keys() - set(public))
        resolver_is_away = len(unanswered) >= FEWEST_TELLING and len(unanswered) > len(answers)
        nameless = {} if resolver_is_away else dict.fromkeys(unanswered)
        await store.keep_hostnames(connection, answers | private | nameless, asked_for, now)
        if resolver_is_away:
            asked = len(unanswered) + len(answers)
            raise Unavailable(f"The DNS resolver left {len(unanswered)} of {asked} questions unanswered.")
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
    """The names by address, and the addresses that nobody answered for; some there may be no time for."""
    answers: dict[str, str | None] = {}
    unanswered: set[str] = set()
    free = asyncio.Semaphore(limits.at_once)

    async def ask(address: str) -> None:
        await free.acquire()  # given back by the thread, when it ends, however late that is
        try:
            async with asyncio.timeout(limits.seconds_each):
                name = await _in_thread(resolve, address, free)
        except (OSError, UnicodeError):  # TimeoutError among them
            unanswered.add(address)
        else:
            answers[address] = _sound(name)

    with suppress(TimeoutError):
        async with asyncio.timeout(limits.seconds_in_all):
            await asyncio.gather(*map(ask, addresses))
    return answers, unanswered


def _in_thread(resolve: Resolve, address: str, free: asyncio.Semaphore) -> asyncio.Future[str | None]:
    """What `resolve` gives. A thread of the loop's pool would hold up others, and the process at its end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str | None] = loop.create_future()

    def done(answer: str | None, error: BaseException | None) -> None:
        free.release()
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)

    def work() -> None:
        answer, error = None, None
        try:
            answer = resolve(address)
        except (OSError, UnicodeError) as problem:
            error = problem
        finally:
            with suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(done, answer, error)

    Thread(target=work, name=JobName.LOOK_UP_HOSTNAMES, daemon=True).start()
    return future


def _sound(name: str | None) -> str | None:
    """The name in lower case, if it is one of a host."""
    name = (name or "").rstrip(".").lower()
    return name if _HOSTNAME.fullmatch(name) else None
