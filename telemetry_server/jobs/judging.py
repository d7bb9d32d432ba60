"""The job "judge installations": what the registry says today, of every installation it concerns.

Ingest judges each claim by what it remembers of the registry. This job follows what happens without a
ping: a license changed, expired, or has more copies on it than seats; a copy changed its key, was lost,
came back, or was judged by a memory half a minute old. First come the installations that changed: the
seats of their licenses are counted, and where that makes a license exceeded, or no longer, the license
is stale, as is one that expired. Then come the installations of stale licenses.

Each step can be repeated and writes what is there before it takes the mark back that led to it, so the
job may be killed anywhere. Only a few hundred licenses and a thousand installations are in memory.
Neither half works for longer than 20 seconds, and what changed last comes first: a license that is
revoked while a million are imported has its installations judged within a minute all the same.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from telemetry_server.enrich.lifecycle import SILENT
from telemetry_server.enrich.steps import is_doubtful
from telemetry_server.enrich.verdict import Claim, is_exceeded, judge, takes_seat
from telemetry_server.job_names import JobName
from telemetry_server.model import Grant
from telemetry_server.store import watermarks
from telemetry_server.store.clock import is_future
from telemetry_server.store.database import Connection
from telemetry_server.store.fleet import verdicts
from telemetry_server.store.fleet.verdicts import CurrentVerdict, NewVerdict, RegisteredLicense
from telemetry_server.uuid7 import LOWEST

SHARE = timedelta(seconds=20)
"""How long a run works at installations that changed, and again at licenses that did."""

_LICENSES = 200
_EXPIRED = 5000
_INSTALLATIONS = 1000

Granted: TypeAlias = Mapping[bytes, tuple[UUID, Grant]]


async def judge_installations(connection: Connection, now: datetime) -> str:
    """Brings verdicts, and the seats in use, up to date with the registry."""
    run = _Run(connection, now)
    await run.judge_what_changed()
    await run.mark_what_expired()
    await run.judge_by_stale_licenses()
    return f"looked at {run.looked_at} installations and wrote what is said of {run.written}"


class _Run:
    """One run of the job; its clock starts at `now`."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._began = time.monotonic()
        self.looked_at = 0
        self.written = 0

    async def judge_what_changed(self) -> None:
        after, until = LOWEST, self._moment() + SHARE
        while due := await verdicts.installations_due(self._connection, after, _INSTALLATIONS):
            after = due[-1].installation_id
            await self._judge_due(due)
            if self._moment() >= until:
                return

    async def mark_what_expired(self) -> None:
        """What expired since the last run; once more where some were being changed just then.

        A watermark in the future stays until "take back future times" has looked at what it passed over.
        """
        since = await watermarks.reached(self._connection, JobName.JUDGE_INSTALLATIONS) or self._now
        if is_future(since, self._now):
            return
        after, all_marked = (since, LOWEST), True
        while expired := await verdicts.expired_licenses(self._connection, since, self._now, after, _EXPIRED):
            after = expired[-1]
            all_marked &= await verdicts.mark_expired(self._connection, [each for _, each in expired])
        if all_marked:
            await watermarks.reach(self._connection, JobName.JUDGE_INSTALLATIONS, self._now)

    async def judge_by_stale_licenses(self) -> None:
        before, until = verdicts.LAST_CHANGE, self._moment() + SHARE
        while stale := await verdicts.stale_licenses(self._connection, before, _LICENSES):
            before = stale[-1]
            await self._judge_by([license_id for _, license_id in stale])
            if self._moment() >= until:
                return

    async def _judge_due(self, due: Sequence[CurrentVerdict]) -> None:
        """The seats come first: were they counted after the mark was taken back, a kill would lose them."""
        owners = await verdicts.licenses_of_keys(self._connection, _keys(due))
        licenses = await verdicts.licenses_to_judge_by(self._connection, set(owners.values()))
        seats = await self._count(licenses)
        busy = await self._write_seats(licenses, seats)
        granted = _granted(licenses, seats)
        at = self._moment()
        found = [
            _new_verdict(each, granted, at, settled=busy.isdisjoint(map(owners.get, _keys([each]))))
            for each in due
        ]
        await self._write(found, at)

    async def _judge_by(self, license_ids: Sequence[UUID]) -> None:
        licenses = await verdicts.licenses_to_judge_by(self._connection, license_ids)
        seats = await self._count(licenses)
        granted = _granted(licenses, seats)
        after = verdicts.FIRST_KEY
        while current := await verdicts.installations_on_keys(
            self._connection, granted, after, _INSTALLATIONS
        ):
            last, at = current[-1], self._moment()
            assert last.key_hash is not None
            after = (last.key_hash, last.installation_id)
            await self._write([_new_verdict(each, granted, at, settled=False) for each in current], at)
        await verdicts.settle_licenses(
            self._connection, ((each, seats[each.license_id]) for each in licenses)
        )

    async def _write(self, found: Sequence[NewVerdict], at: datetime) -> None:
        news = [each for each in found if each.settled or each.differs]
        self.looked_at += len(found)
        self.written += await verdicts.write_judgements(self._connection, news, at)

    async def _count(self, licenses: Iterable[RegisteredLicense]) -> dict[UUID, int]:
        """How many installations take a seat of each license: on its key, for its product."""
        owners = {key_hash: each for each in licenses for key_hash in each.own_keys}
        seats: dict[UUID, int] = defaultdict(int)
        for copies in await verdicts.count_on_keys(self._connection, owners):
            owner = owners[copies.key_hash]
            if owner.grant.product_id == copies.product_id and takes_seat(copies.environment, owner.grant):
                seats[owner.license_id] += copies.count
        return seats

    async def _write_seats(
        self, licenses: Iterable[RegisteredLicense], seats: Mapping[UUID, int]
    ) -> set[UUID]:
        """Gives the licenses whose seats could not be written: they are being changed just now."""
        counted = [
            (
                each.license_id,
                used,
                is_exceeded(each.grant) != is_exceeded(replace(each.grant, seats_used=used)),
            )
            for each in licenses
            if (used := seats[each.license_id]) != each.grant.seats_used
        ]
        written = await verdicts.write_seats(self._connection, counted)
        return {license_id for license_id, *_ in counted} - written

    def _moment(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began)


def _keys(current: Iterable[CurrentVerdict]) -> set[bytes]:
    """The keys they have, and those they were counted on before."""
    keys = {key for each in current for key in (each.key_hash, each.counted_key_hash)}
    return {key for key in keys if key is not None}


def _granted(licenses: Iterable[RegisteredLicense], seats: Mapping[UUID, int]) -> Granted:
    """What is granted by key, with the seats as just counted."""
    return {
        key_hash: (each.license_id, grant)
        for each in licenses
        for grant in (replace(each.grant, seats_used=seats[each.license_id]),)
        for key_hash in each.keys
    }


def _new_verdict(current: CurrentVerdict, granted: Granted, at: datetime, *, settled: bool) -> NewVerdict:
    license_id, grant = granted.get(current.key_hash or b"", (None, None))
    return NewVerdict(current, judge(_claim(current), grant, at), license_id, settled)


def _claim(current: CurrentVerdict) -> Claim:
    """The newest claim, read as ingest reads it."""
    made_at, received_at = current.last_occurred_at, current.last_received_at
    return Claim(
        product_id=current.product_id,
        has_key=current.key_hash is not None,
        status=current.license_status,
        source=current.license_source,
        environment=current.environment,
        address=current.client_address,
        made_at=received_at if is_doubtful(made_at, received_at) else made_at,
        silent=current.life in SILENT,
    )
