"""Calls that block, in threads of their own: one of the loop's pool would hold up the end of the process."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from telemetry_server.errors import TelemetryError

_Result = TypeVar("_Result")


def in_thread(call: Callable[[], _Result], name: str, ended: Callable[[], None]) -> asyncio.Future[_Result]:
    """The result of `call`. `ended` runs in the loop when the thread ends, which may be late."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def done(settle: Callable[[], Any]) -> None:
        ended()
        if not future.done():
            settle()

    def work() -> None:
        settle: Callable[[], Any] = partial(future.set_exception, RuntimeError(f"{name}: see the log"))
        try:
            settle = partial(future.set_result, call())
        except (OSError, UnicodeError, TelemetryError) as error:
            settle = partial(future.set_exception, error)
        finally:  # any other error is printed by the thread
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(done, settle)

    Thread(target=work, name=name, daemon=True).start()
    return future


class OneCall:
    """One such call at a time, for which `seconds` are waited in all: a timeout of a socket begins anew with
    each byte.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds, self._is_free = name, seconds, True

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """Raises TimeoutError, at once while the thread of an earlier call still waits."""
        if not self._is_free:
            raise TimeoutError("the answer to an earlier request is still on its way")
        self._is_free = False
        try:
            async with asyncio.timeout(self._seconds):
                return await in_thread(call, self._name, self._free)
        except TimeoutError:
            raise TimeoutError(f"no whole answer within {self._seconds:g} seconds") from None

    def _free(self) -> None:
        self._is_free = True
