"""The jobs of the wing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from telemetry_server.check.fields import Registry
from telemetry_server.job_names import JobName
from telemetry_server.jobs.pings import roll_up_pings
from telemetry_server.privacy.certificates import certificate, last_backup
from telemetry_server.privacy.store import erasing, holds, reductions, requests, restrictions, subject_export
from telemetry_server.privacy.store.erasing import Erasure
from telemetry_server.signed_note import NoteSigner
from telemetry_server.store.access.audit_checkpoints import signer_of
from telemetry_server.store.access.keyring_check import keyring_of
from telemetry_server.store.database import Connection
from telemetry_server.store.job_log import Run
from telemetry_server.store.watermarks import reach, reached

WAITS = timedelta(hours=2)
"""Longer than a server remembers which states it has written (an hour): it would not write them again."""
_FIRST = timedelta(days=400)
_MOST_ERASURES = 500  # of a run; the others wait for the next, a minute later


def keep_to_levels(registry: Registry) -> Run:
    """Removes what was kept above the present levels: the data that only a withdrawn purpose allowed."""

    async def run(connection: Connection, now: datetime) -> str:
        due = now - WAITS
        since = await reached(connection, JobName.KEEP_TO_LEVELS) or due - _FIRST
        found = await reductions.lowered(connection, since, due)
        found += await reductions.limited(connection, due, now)
        for one in found:
            await reductions.reduce(connection, one, registry, by=f"job:{JobName.KEEP_TO_LEVELS}")
        await reductions.keep_done(connection, due, now)
        await reach(connection, JobName.KEEP_TO_LEVELS, max(since, due))
        return f"reduced {len(found)} installations to their level"

    return run


def carry_out_erasures(registry: Registry, keyring: Path, backup_days: int) -> Run:
    """Carries out the erasures that were asked for, and what follows from the end of holds."""

    async def run(connection: Connection, now: datetime) -> str:
        await restrictions.extend(connection, now)
        await holds.let_go(connection, now)
        found = (await erasing.waiting(connection))[:_MOST_ERASURES]
        for wanted in found:
            signer = signer_of(await keyring_of(connection, keyring))
            await erase(connection, wanted, registry, signer, backup_days=backup_days, now=now)
        for wanted, erased in await erasing.once_held(connection):
            if not await erasing.held_back(connection, wanted.erasure_id):
                signer = signer_of(await keyring_of(connection, keyring))
                await _certified(connection, wanted, erased, signer, backup_days=backup_days, now=now)
        late = await erasing.sweep(connection, now)
        await subject_export.forget_links(connection, now - timedelta(days=30))
        await requests.forget(connection, now)
        return f"carried out {len(found)} erasures" + (f", and deleted {late} late rows" if late else "")

    return run


async def erase(
    connection: Connection,
    wanted: Erasure,
    registry: Registry,
    signer: NoteSigner,
    *,
    backup_days: int,
    now: datetime,
) -> str:
    """Carries out an erasure; returns its certificate. Not in a transaction: it makes several."""
    await roll_up_pings(registry)(connection, now)  # the pings of the last minute are counted before
    erased = await erasing.carry_out(connection, wanted, now)
    return await _certified(connection, wanted, erased, signer, backup_days=backup_days, now=now)


async def _certified(
    connection: Connection,
    wanted: Erasure,
    erased: Mapping[str, int],
    signer: NoteSigner,
    *,
    backup_days: int,
    now: datetime,
) -> str:
    held = await erasing.held_back(connection, wanted.erasure_id)
    text = certificate(wanted, erased, done_at=now, backup_days=backup_days, signer=signer, held=held)
    until = last_backup(now, backup_days)
    await erasing.certify(
        connection, wanted, text, erased=erased, held=bool(held), now=now, backups_until=until
    )
    return text


def keeping_held(run: Run) -> Run:
    """The job, after the rows that legal holds name were copied: it may delete or change them."""

    async def kept(connection: Connection, now: datetime) -> str:
        await holds.keep(connection, now)
        return await run(connection, now)

    return kept
