"""The steps of the pipeline that add what the server knows. Pure: what they need is handed in."""

from dataclasses import fields
from datetime import timedelta
from functools import lru_cache

import orjson

from telemetry_server.enrich.place import UNKNOWN, Atlas, Place
from telemetry_server.keyring import Keyring
from telemetry_server.model import Arrival, Ping, Step

OLDEST = timedelta(days=400)
NEWEST = timedelta(minutes=10)


def add_place(atlas: Atlas) -> Step:
    """Where the sender's address is, with the source and age of that knowledge."""

    def step(arrival: Arrival) -> None:
        place = atlas.place(arrival.address) if arrival.address else UNKNOWN
        arrival.place = _as_json(place)

    return step


@lru_cache(32_768)
def _as_json(place: Place) -> str:
    """What is known of the place, as a JSON object."""
    known = {
        field.name: value for field in fields(place) if (value := getattr(place, field.name)) is not None
    }
    return orjson.dumps(known).decode()


def mark_doubtful_time() -> Step:
    """Pings whose time cannot be right are marked, never refused."""

    def step(arrival: Arrival) -> None:
        earliest, latest = arrival.received_at - OLDEST, arrival.received_at + NEWEST
        for item in arrival.items:
            if isinstance(item, Ping) and not earliest <= item.occurred_at <= latest:
                item.time_suspect = True

    return step


def hash_license_key(keyring: Keyring) -> Step:
    """The digest of a license key is replaced by a hash whose key the database does not hold."""
    remembered = lru_cache(50_000)(keyring.license_key_hash)

    def step(arrival: Arrival) -> None:
        for item in arrival.items:
            if isinstance(item, Ping) and item.key_digest is not None:
                item.license_key_hash, item.key_digest = remembered(item.key_digest), None

    return step


def name_state(keyring: Keyring) -> Step:
    """What stands for the state a ping was in: equal for two pings that say the same from the same place."""

    def step(arrival: Arrival) -> None:
        place = arrival.place.encode()
        for item in arrival.items:
            if isinstance(item, Ping):
                item.state = keyring.state_digest(item.facts.encode(), place, item.license_key_hash or b"")

    return step
