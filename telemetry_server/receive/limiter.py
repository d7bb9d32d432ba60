"""Rate limits by the generic cell rate algorithm: one timestamp per key, in memory of this process."""

import ipaddress
import math
import time
from collections.abc import Callable

from telemetry_server.errors import TooManyRequests
from telemetry_server.model import Arrival, Step

_MOST_KEYS = 200_000
_ROUNDING = 1e-6


class Limiter:
    """Admits `count` per `seconds` for each key, also all at once.

    When more keys are busy than memory allows, the oldest are forgotten: the limit fails open.
    """

    def __init__(self, count: float, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._cost = seconds / count
        self._burst = seconds
        self._clock = clock
        self._free_at: dict[object, float] = {}

    def admit(self, key: object) -> None:
        """Charges the key for one. Raises TooManyRequests with Retry-After."""
        now = self._clock()
        free_at = max(self._free_at.get(key, 0.0), now) + self._cost
        self._refuse(free_at - now)
        self._set(key, free_at, now)

    def refuse_overdrawn(self, key: object) -> None:
        """Raises TooManyRequests if the key was charged more than its limit."""
        self._refuse(self._free_at.get(key, 0.0) - self._clock())

    def charge(self, key: object, amount: float) -> None:
        """Charges the key for a cost that is known only afterwards."""
        now = self._clock()
        self._set(key, max(self._free_at.get(key, 0.0), now) + amount * self._cost, now)

    def _refuse(self, ahead: float) -> None:
        # With room for rounding: `ahead` is a difference of times, and a limit of one must admit one.
        if ahead > self._burst * (1 + _ROUNDING):
            raise TooManyRequests(retry_after=math.ceil(ahead - self._burst))

    def _set(self, key: object, free_at: float, now: float) -> None:
        self._free_at[key] = free_at
        if len(self._free_at) > _MOST_KEYS:
            busy = [(key, free_at) for key, free_at in self._free_at.items() if free_at > now]
            self._free_at = dict(busy[-_MOST_KEYS // 2 :])


def refuse_flood(limiter: Limiter) -> Step:
    """The step that limits the uploads of each installation."""

    def step(arrival: Arrival) -> None:
        limiter.admit(arrival.known_sender.installation_id)

    return step


def network_of(address: str | None) -> str | None:
    """The network that one party is likely to have: an IPv4 address, or an IPv6 /64."""
    if address is None or ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False))
