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
    began = time.monotonic()
    while not (found := condition()):
        assert time.monotonic() < began + patient(seconds), _text(otherwise)
        time.sleep(_pause(began, every))
    return found


async def until(condition, seconds=60, *, every=0.02, otherwise="it never happened"):
    """The same within a loop; `condition` may be a coroutine function."""
    began = time.monotonic()
    while not (found := await _result(condition)):
        assert time.monotonic() < began + patient(seconds), _text(otherwise)
        await asyncio.sleep(_pause(began, every))
    return found


def _pause(began, every):
    """Longer, the longer it has taken: a question costs processor time that others wait for."""
    return max(every, min(0.5, (time.monotonic() - began) / 20))


async def _result(condition):
    found = condition()
    return await found if inspect.isawaitable(found) else found


def _text(otherwise):
    return otherwise() if callable(otherwise) else otherwise
