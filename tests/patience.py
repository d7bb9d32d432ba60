"""How tests wait: until something holds, with a limit that only a failure reaches. One setting scales every limit.

PATIENCE=3  waits three times as long before a test fails, on a machine that is slow or shared (default 1)
"""

import asyncio
import inspect
import os
import time

PATIENCE = float(os.environ.get("PATIENCE", "1"))


def patient(seconds):
    """`seconds` as a limit on this machine."""
    return seconds * PATIENCE


def wait_until(condition, seconds=60, *, every=0.02, otherwise="it never happened"):
    """Returns the first true result of `condition`. Fails after `seconds` with `otherwise`, text or a function."""
    deadline = time.monotonic() + patient(seconds)
    while not (found := condition()):
        assert time.monotonic() < deadline, _text(otherwise)
        time.sleep(every)
    return found


async def until(condition, seconds=60, *, every=0.02, otherwise="it never happened"):
    """The same within a loop; `condition` may be a coroutine function."""
    deadline = time.monotonic() + patient(seconds)
    while not (found := await _result(condition)):
        assert time.monotonic() < deadline, _text(otherwise)
        await asyncio.sleep(every)
    return found


async def _result(condition):
    found = condition()
    return await found if inspect.isawaitable(found) else found


def _text(otherwise):
    return otherwise() if callable(otherwise) else otherwise
