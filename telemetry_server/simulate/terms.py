"""The parameters that all copies of a fleet share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telemetry_server.model import ProductId
from telemetry_server.simulate.deals import Deal, Timespan
from telemetry_server.simulate.world import Release

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Terms:
    """The parameters; all durations are in milliseconds.

    `seed` is that of this product, `keys` the middle of its license keys. `hash_of_key` returns the hash of a
    license key, `name_state` the digest of a state, both as at ingest.
    """

    seed: int
    product_id: ProductId
    keys: str
    over: Timespan
    interval: int
    grace: int
    lost_after: int
    new_for: int
    releases: tuple[Release, ...]
    hash_of_key: Callable[[str], bytes]
    name_state: Callable[[bytes, bytes, bytes], bytes]

    def key_of(self, deal: Deal) -> str:
        """The license key of the copies of a deal; NIL-… is in no registry."""
        return f"{'SIM' if deal.has_license else 'NIL'}-{self.keys}-{deal.number:06d}"

    @property
    def jitter(self) -> int:
        """The largest delay of a ping after its due time."""
        return self.interval * 8 // 100

    @property
    def late_after(self) -> int:
        return self.interval + self.grace


def moment(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)
