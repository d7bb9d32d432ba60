"""What the roll-ups should say, counted from the pings one by one, as plainly as can be."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from checked_pings import make_checked_ping, make_signed_upload

from telemetry_server.model import Verdict
from telemetry_server.store.dimensions import DIMENSIONS

NOT_TOLD = {one.name: "unknown" for one in DIMENSIONS if one.rolled and one.state}


@dataclass(frozen=True)
class State:
    """What a copy says of itself, and what is counted of that."""

    number: int
    facts: dict
    key: bytes | None
    values: dict


STATES = [
    State(
        0,
        {
            "license": {"status": "licensed", "source": "direct", "edition": "business"},
            "service": {"version": "7.2.1", "environment": "production"},
            "os": {"name": "debian"},
            "virtualization": {"vm": "kvm", "container": None, "cloud": "aws"},
        },
        b"k" * 32,
        NOT_TOLD
        | {"status": "licensed", "source": "direct", "edition": "business", "version": "7.2.1"}
        | {"environment": "production", "os": "debian", "vm": "kvm", "container": "none", "cloud": "aws"},
    ),
    State(
        1,
        {"license": {"status": "unlicensed"}, "service": {"version": "7.3.0"}},
        None,
        NOT_TOLD | {"status": "unlicensed", "version": "7.3.0"},
    ),
    State(
        2,
        {"license": {"status": "trial", "source": None}, "virtualization": {"vm": None}},
        b"j" * 32,
        NOT_TOLD | {"status": "trial", "vm": "none", "container": "none", "cloud": "none"},
    ),
]
PLACES = [
    ({}, {"country": "unknown", "asn": "unknown"}),
    ({"country": "DE", "asn": 64500}, {"country": "DE", "asn": "64500"}),
]


@dataclass(frozen=True)
class Told:
    """A ping as it was made, apart from who delivered it and when."""

    sequence: int
    occurred_at: datetime
    state: State = STATES[0]
    features: dict | None = None
    verdict: Verdict = Verdict.VALID
    mismatch: bool = False
    ping_id: UUID = field(default_factory=uuid4)

    def suspect(self, received_at):
        return (
            not received_at - timedelta(days=400) <= self.occurred_at <= received_at + timedelta(minutes=10)
        )

    def ping(self, received_at, place):
        return make_checked_ping(
            self.sequence,
            ping_id=self.ping_id,
            occurred_at=self.occurred_at,
            facts=self.state.facts,
            used_since=datetime(2026, 1, 1, tzinfo=UTC),
            features=self.features,
            license_key_hash=self.state.key,
            time_suspect=self.suspect(received_at),
            state=digest(self.state, place),
            verdict=self.verdict,
            claim_mismatch=self.mismatch,
        )


def digest(state, place):
    return f"{state.number:08d}{place:08d}".encode()


@dataclass(frozen=True)
class Sent:
    """An upload: from whom, when it came, and the number of its place in PLACES."""

    installation: UUID
    product: UUID
    received_at: datetime
    told: tuple[Told, ...]
    place: int = 0

    def upload(self):
        pings = [one.ping(self.received_at, self.place) for one in self.told]
        place = PLACES[self.place][0]
        return make_signed_upload(self.installation, self.product, *pings, at=self.received_at, place=place)


class PlainCount:
    """Takes uploads in the order they are committed; the first ping of a number counts."""

    def __init__(self):
        self.kept = {}

    def take(self, sent):
        for one in sent.told:
            self.kept.setdefault((sent.installation, one.sequence), (sent, one))

    def by_day(self):
        """The pings of each installation's day, by number, each with its upload."""
        days = defaultdict(list)
        for (installation, _), (sent, one) in sorted(self.kept.items(), key=lambda item: item[0]):
            moment = sent.received_at if one.suspect(sent.received_at) else one.occurred_at
            days[moment.date(), installation].append((sent, one))
        return days

    def installation_days(self):
        rows = {}
        for key, pings in self.by_day().items():
            uses = Counter()
            for _, one in pings:
                uses.update(one.features or {})
            sent, last = pings[-1]
            state = digest(last.state, sent.place)
            rows[key] = sent.product, state, last.verdict, last.mismatch, len(pings), dict(uses) or None
        return rows

    def fleet_days(self):
        rows = defaultdict(lambda: [0, 0])
        for (day, _), pings in self.by_day().items():
            sent, last = pings[-1]
            values = last.state.values | PLACES[sent.place][1] | {"verdict": str(last.verdict), "all": ""}
            for dimension, value in values.items():
                for verdict in ("", str(last.verdict)):
                    row = rows[sent.product, day, dimension, value, verdict]
                    row[0] += 1
                    row[1] += len(pings)
        return {key: tuple(row) for key, row in rows.items()}

    def feature_days(self):
        rows = defaultdict(lambda: [0, 0])
        for (day, _), (product, *_, features) in self.installation_days().items():
            for feature, uses in (features or {}).items():
                if uses:
                    row = rows[product, day, feature]
                    row[0] += uses
                    row[1] += 1
        return {key: tuple(row) for key, row in rows.items()}
