"""Ids that begin with the time: new rows go to the end of their index, and sort as they came."""

import secrets
import time
from uuid import UUID

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


def uuid7() -> UUID:
    """A UUID whose first bits are the time (RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high, low = random >> 62, random & (2**62 - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low)
