"""Passwords: Argon2id in a small pool of threads, and which passwords are refused.

zxcvbn estimates the guesses that a password takes, from its lists of common ones, names and words. Nothing is
looked up elsewhere.
"""

import asyncio
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from aiohttp import web
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn

from telemetry_server.errors import BadRequest, Unavailable

SHORTEST, LONGEST = 12, 256

_THREADS, _MOST_WAITING = 2, 32
_LEAST_SCORE = 4  # of 4: more than ten thousand million guesses
_MOST_JUDGED = 64  # characters; the time grows faster than the length

Result = TypeVar("Result")


class WeakPassword(BadRequest):
    """This password is too easy to guess."""

    code = "weak_password"


class Passwords:
    """Hashes and compares passwords; an async context manager, one per process.

    OWASP's smaller parameters for Argon2id, 46 MiB a hash: at most `_THREADS` at a time, so that a flood of
    sign-ins takes neither the memory nor the event loop.
    """

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="passwords")
        self._waiting = 0
        self._of_no_one: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """The hash to store. Raises Unavailable if too many wait."""
        return await self._in_thread(lambda: self._hasher.hash(normal(password)))

    async def is_right(self, stored: str | None, password: str) -> bool:
        """Whether the password is that of the hash. None (no account, or none with a password) takes as long.

        Raises Unavailable if too many wait.
        """
        if self._of_no_one is None:
            self._of_no_one = await self.hash("the password of no one")
        right = await self._in_thread(lambda: self._matches(stored or str(self._of_no_one), password))
        return right and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash has other parameters than a new one."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, normal(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        if self._waiting >= _MOST_WAITING:
            raise Unavailable("Too many sign-ins at once; try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


PASSWORDS = web.AppKey("passwords", Passwords)


def normal(password: str) -> str:
    """The password in one Unicode form: keyboards differ in how they compose an accent."""
    return unicodedata.normalize("NFKC", password)


async def refuse_weak(password: str, *known: str) -> None:
    """Raises WeakPassword; `known`: what an attacker knows, as the e-mail address and the name."""
    if len(password) < SHORTEST:
        raise WeakPassword(f"A password needs at least {SHORTEST} characters; a few words are best.")
    if len(password) > LONGEST:
        raise WeakPassword(f"A password may have {LONGEST} characters.")
    words = [word for each in known for word in (each, *re.split(r"[\W_]+", each)) if word]
    found = await asyncio.to_thread(zxcvbn, normal(password)[:_MOST_JUDGED], words)
    if found["score"] < _LEAST_SCORE:
        why = found["feedback"]["warning"] or "This password is easy to guess."
        raise WeakPassword(f"{why} A few unrelated words are better.")
