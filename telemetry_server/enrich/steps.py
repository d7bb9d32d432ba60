"""The steps of the pipeline that add the server's knowledge. Pure: what they need is handed in."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

from telemetry_server.enrich.places.place import UNKNOWN, Atlas
from telemetry_server.enrich.verdict import Claim, judge
from telemetry_server.errors import Unavailable
from telemetry_server.keyring import Keyring
from telemetry_server.model import UNKNOWN_YET, Arrival, Grant, Ping, Step, Unknown

OLDEST = timedelta(days=400)
NEWEST = timedelta(minutes=10)


def add_place(atlas: Atlas) -> Step:
    """The step that adds the place of the sender's address, with the source and age of that knowledge."""

    def step(arrival: Arrival) -> None:
        place = atlas.place(arrival.address) if arrival.address else UNKNOWN
        arrival.place = place.document

    return step


def is_doubtful(occurred_at: datetime, received_at: datetime) -> bool:
    """Whether the installation's clock was too far off."""
    return not received_at - OLDEST <= occurred_at <= received_at + NEWEST


def mark_doubtful_time() -> Step:
    """The step that marks pings with an impossible time; they are never refused."""

    def step(arrival: Arrival) -> None:
        for item in arrival.items:
            if isinstance(item, Ping) and is_doubtful(item.occurred_at, arrival.received_at):
                item.time_suspect = True

    return step


def hash_license_key(keyring: Keyring) -> Step:
    """The step that replaces the digest of a license key by a hash whose key is not in the database."""
    remembered = lru_cache(50_000)(keyring.license_key_hash)

    def step(arrival: Arrival) -> None:
        for item in arrival.items:
            if isinstance(item, Ping) and item.key_digest is not None:
                item.license_key_hash, item.key_digest = remembered(item.key_digest), None

    return step


def name_state(keyring: Keyring) -> Step:
    """The step that adds the digest of a ping's state: equal for equal facts, key and place."""

    def step(arrival: Arrival) -> None:
        place = arrival.place.encode()
        before: Ping | None = None  # the pings of an upload mostly have the same state
        for item in arrival.items:
            if not isinstance(item, Ping):
                continue
            if before and (item.facts, item.license_key_hash) == (before.facts, before.license_key_hash):
                item.state = before.state
            else:
                item.state = keyring.state_digest(item.facts.encode(), place, item.license_key_hash or b"")
            before = item

    return step


def add_verdict(find: Callable[[bytes], Grant | Unknown | None], *, by_address: bool = True) -> Step:
    """The step that adds the verdict of the license registry on each claim. It never shows in the answer.

    `find` returns the grant of a license by its key hash; those of the upload are in memory by now. Addresses
    that are not kept are no evidence: `by_address` is False then.
    """

    def step(arrival: Arrival) -> None:
        product_id, now = arrival.known_sender.product.id, arrival.received_at
        address = arrival.address if by_address else None
        for item in arrival.items:
            if isinstance(item, Ping):
                key = item.license_key_hash
                grant = None if key is None else find(key)
                if grant is UNKNOWN_YET:
                    raise Unavailable
                claim = Claim(
                    product_id=product_id,
                    has_key=key is not None,
                    status=item.license_status,
                    source=item.license_source,
                    environment=item.environment,
                    address=address,
                    made_at=now if item.time_suspect else item.occurred_at,
                )
                judgement = judge(claim, grant, now)
                item.verdict = judgement.verdict
                item.claim_mismatch = judgement.claim_mismatch
                item.source_mismatch = judgement.source_mismatch

    return step
