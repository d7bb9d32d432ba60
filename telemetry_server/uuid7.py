"""Ids that begin with the time, so that new rows go to the end of an index, and sort by time."""

import secrets
import time
from uuid import UUID

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


def uuid7() -> UUID:
    """A UUID of version 7 (RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high, low = random >> 62, random & (2**62 - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
