"""The job "judge installations": brings the verdicts of all installations up to date with the registry.

Ingest judges each claim by a cache of the registry. This job handles changes without a ping: a license was
changed, expired, or has more copies than seats; a copy changed its key, was lost, returned, or was judged by
a cache that is half a minute old. First it handles changed installations: it counts the seats of their
licenses, and marks a license stale if that makes it exceeded, or no longer exceeded. Expired licenses become
stale, too. Then it judges the installations of stale licenses.

Each step is idempotent and clears its mark last, so the job may be killed anywhere. Only a few hundred
licenses and a thousand installations are in memory. Each half works for 20 seconds at most, and the most
recent changes come first: the installations of a revoked license are judged within a minute, even while a
million licenses are imported.
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
from telemetry_server.store.registry.seats import note_over_since
from telemetry_server.uuid7 import LOWEST

SHARE = timedelta(seconds=20)
"""How long a run works on changed installations, and then on changed licenses."""

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
    await run.note_over_since()
    return f"checked {run.looked_at} installations and wrote the verdicts of {run.written}"


class _Run:
    """One run of the job, from `now` on."""

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
        """Marks licenses that expired since the last run; again next time if some were locked by a change.

        A watermark in the future stays until the job "take back future times" has handled it.
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

    async def note_over_since(self) -> None:
        """Finds out since when licenses have been over their seats: some of them in a run."""
        until = self._moment() + SHARE
        while await note_over_since(self._connection, _LICENSES, self._moment()) == _LICENSES:
            if self._moment() >= until:
                return

    async def _judge_due(self, due: Sequence[CurrentVerdict]) -> None:
        """Counts seats before it clears the marks of installations: a kill in between loses nothing."""
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
        connection, after = self._connection, verdicts.FIRST_KEY
        while current := await verdicts.installations_on_keys(connection, granted, after, _INSTALLATIONS):
            last, at = current[-1], self._moment()
            assert last.key_hash is not None
            after = (last.key_hash, last.installation_id)
            await self._write([_new_verdict(each, granted, at, settled=False) for each in current], at)
        await verdicts.settle_licenses(connection, ((each, seats[each.license_id]) for each in licenses))

    async def _write(self, found: Sequence[NewVerdict], at: datetime) -> None:
        changed = [each for each in found if each.settled or each.differs]
        self.looked_at += len(found)
        self.written += await verdicts.write_judgements(self._connection, changed, at)

    async def _count(self, licenses: Iterable[RegisteredLicense]) -> dict[UUID, int]:
        """The seats in use by license: installations with its key, of its product."""
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
        """Writes changed seats; returns the licenses that are locked by another change."""
        counted = []
        for each in licenses:
            grant = replace(each.grant, seats_used=seats[each.license_id])
            if grant != each.grant:
                stale = is_exceeded(grant) != is_exceeded(each.grant)
                counted.append((each.license_id, grant.seats_used, stale))
        written = await verdicts.write_seats(self._connection, counted)
        return {license_id for license_id, *_ in counted} - written

    def _moment(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._began)


def _keys(current: Iterable[CurrentVerdict]) -> set[bytes]:
    """Their present keys, and those for which they were counted before."""
    keys = {key for each in current for key in (each.key_hash, each.counted_key_hash)}
    return {key for key in keys if key is not None}


def _granted(licenses: Iterable[RegisteredLicense], seats: Mapping[UUID, int]) -> Granted:
    """The grants by key, with the counted seats."""
    return {
        key_hash: (each.license_id, grant)
        for each in licenses
        for grant in (replace(each.grant, seats_used=seats[each.license_id]),)
        for key_hash in each.keys
    }


def _new_verdict(current: CurrentVerdict, granted: Granted, at: datetime, *, settled: bool) -> NewVerdict:
    """Judges the newest claim as ingest does."""
    license_id, grant = granted.get(current.key_hash or b"", (None, None))
    made_at, received_at = current.last_occurred_at, current.last_received_at
    claim = Claim(
        product_id=current.product_id,
        has_key=current.key_hash is not None,
        status=current.license_status,
        source=current.license_source,
        environment=current.environment,
        address=current.client_address,
        made_at=received_at if is_doubtful(made_at, received_at) else made_at,
        silent=current.life in SILENT,
    )
    return NewVerdict(current, judge(claim, grant, at), license_id, settled)
