"""The certificate of an erasure: what was deleted and when, signed with the key of the audit log."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from telemetry_server.privacy.store.erasing import Erasure
from telemetry_server.signed_note import NoteSigner

TITLE = "license-telemetry certificate of erasure"


def last_backup(done_at: datetime, backup_days: int) -> date:
    """The day until which a backup that was made before may have the data."""
    return (done_at + timedelta(days=backup_days)).date()


def certificate(
    wanted: Erasure,
    erased: Mapping[str, int],
    *,
    done_at: datetime,
    backup_days: int,
    signer: NoteSigner,
    held: Sequence[str] = (),
) -> str:
    """The signed note; `erased`: the number of rows by table. `held`: a line for each legal hold on some."""
    rows = ", ".join(f"{table} {count}" for table, count in sorted(erased.items()))
    lines = [
        TITLE,
        f"erasure: {wanted.erasure_id}",
        f"subject: {wanted.subject_kind} {wanted.subject}",
        f"installations: {wanted.installations}",
        f"asked for: {wanted.asked_at:%Y-%m-%dT%H:%M:%SZ}",
        f"erased from the live store: {done_at:%Y-%m-%dT%H:%M:%SZ}",
        f"erased with the last backup: {last_backup(done_at, backup_days)} (kept {backup_days} days)",
        f"rows: {rows or 'none'}",
        *(f"kept under legal hold {each}" for each in held),
        "kept: this record, the random ids of the installations, and counts that name no one",
    ]
    return signer.sign_text("\n".join(lines) + "\n")
