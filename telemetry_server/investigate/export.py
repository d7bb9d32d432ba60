"""The export of a case: from the database into a signed bag, recorded as a hand-over before it leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from telemetry_server.errors import BadRequest, OperatorError
from telemetry_server.investigate import case_lists, case_rows, case_work, evidence
from telemetry_server.investigate.bag import Bag
from telemetry_server.investigate.case_words import DECISIONS, described, similar
from telemetry_server.investigate.evidence import CaseFile, Notice, RowsOf
from telemetry_server.investigate.redaction import Profile
from telemetry_server.investigate.rule_files import all_rules
from telemetry_server.investigate.rules import Rule
from telemetry_server.investigate.statement import seal
from telemetry_server.jobs.timestamps import timestamp
from telemetry_server.logs import Severity, log
from telemetry_server.model import Author
from telemetry_server.settings import Settings
from telemetry_server.signed_note import NoteSigner
from telemetry_server.store.access import audit
from telemetry_server.store.access.audit_checkpoints import write_checkpoint
from telemetry_server.store.access.audit_log import Proof, prove
from telemetry_server.store.database import Connection
from telemetry_server.uuid7 import HIGHEST

LONGEST_PURPOSE = 1_000
_ENTRIES_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is exported, for which purpose, and what is left out."""

    case_id: UUID
    purpose: str
    profile: Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The statement on the bag, the number of rows in it, and why it has no time stamp, if one was wanted."""

    statement: str
    rows: int
    no_timestamp: str | None


async def export_case(
    connection: Connection,
    directory: Path,
    wanted: Wanted,
    *,
    settings: Settings,
    signer: NoteSigner,
    by: Author,
    now: datetime,
) -> Exported:
    """Writes the evidence of a case into the directory. Not in a transaction.

    The audit log says first who exports it, and for which purpose; that entry is in the bag. Raises
    NoSuchCase, BadRequest, NotEmpty, OperatorError or OSError.
    """
    if not 0 < len(wanted.purpose.strip()) <= LONGEST_PURPOSE:
        raise BadRequest("Name the purpose of the export: it is part of the evidence.")
    await _record(connection, wanted, by, now)
    checkpoint = await write_checkpoint(connection, signer, settings.audit_directory, now)
    assert checkpoint is not None  # there is an entry
    bag = await asyncio.to_thread(Bag, directory)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        file = await _case_file(connection, wanted, all_rules(settings.own_rules), checkpoint)
        rows = await case_rows.rows_by_kind(connection, wanted.case_id)
        kinds = [await _rows_of(connection, wanted.case_id, kind) for kind in case_rows.KINDS if kind in rows]
        licenses = await _licenses(connection, file.findings)
        manifest = await evidence.write(bag, file, [*kinds, *licenses], profile=wanted.profile, now=now)
    sealed = partial(
        seal, bag, manifest, case=str(wanted.case_id), checkpoint=checkpoint, signer=signer, now=now
    )
    statement, problem = await asyncio.to_thread(_seal, sealed, settings.audit_timestamp_url)
    await case_work.hand_over(
        connection,
        wanted.case_id,
        purpose=wanted.purpose.strip(),
        redaction=wanted.profile,
        rows=sum(rows.values()),
        sha256=sha256(manifest).digest(),
        statement=statement,
        by=by,
        now=now,
    )
    return Exported(statement=statement, rows=sum(rows.values()), no_timestamp=problem)


def _seal(sealed: Callable[..., str], url: str) -> tuple[str, str | None]:
    """With a time stamp where there is an authority; where it does not answer, without one."""
    if not url:
        return sealed(), None
    try:
        return sealed(timestamp=partial(timestamp, url)), None
    except (OperatorError, OSError) as error:
        log("no timestamp", Severity.WARNING, error=f"{type(error).__name__}: {error}")
        return sealed(), str(error)


async def _record(connection: Connection, wanted: Wanted, by: Author, now: datetime) -> None:
    async with connection.transaction():
        await case_lists.case_by_id(connection, wanted.case_id)
        await case_work.hold_for_work(connection, wanted.case_id, by=by, now=now)
        entry = audit.Entry(
            actor=by.recorded_as or by.actor,
            action="case.export",
            subject_kind="case",
            subject_id=str(wanted.case_id),
            network=by.network,
            reason=wanted.purpose.strip(),
            details={"redaction": wanted.profile},
        )
        await audit.record(connection, entry, now)


async def _case_file(
    connection: Connection, wanted: Wanted, rules: Sequence[Rule], checkpoint: str
) -> CaseFile:
    case_id, known = wanted.case_id, {rule.name: rule for rule in rules}
    case = await case_lists.case_by_id(connection, case_id)
    findings = await case_lists.findings_of(connection, case_id)
    hold = await case_rows.hold_of(connection, case_id)
    history = [
        {"happened_at": row["at"], "actor": row["by"], "what": words, "note": note}
        for row in await case_lists.history_of(connection, case_id, limit=None)
        for words, note in [described(row["what"])]
    ]
    return CaseFile(
        case=_about(case) | {"hold_ground": hold and hold.ground, "rows_are_whole": hold and hold.is_whole},
        findings=[_finding(row, known.get(row["rule"])) for row in findings],
        history=history,
        handovers=await case_lists.handovers_of(connection, case_id),
        rules=[
            evidence.Rule(
                name,
                known[name].sql,
                [row["evidence"].get("parameters") or {} for row in findings if row["rule"] == name],
            )
            for name in sorted({row["rule"] for row in findings} & known.keys())
        ],
        notices=[Notice(**row) for row in await case_rows.notices_of(connection, case_id)],
        custody=await _custody(connection, case_id, int(checkpoint.splitlines()[1])),
        checkpoint=checkpoint,
        purpose=wanted.purpose.strip(),
        attachments=await case_lists.attachments_with_content(connection, case_id),
    )


def _about(case: Mapping[str, Any]) -> dict[str, Any]:
    waterfall = case["waterfall"]
    parts = [{"label": "prior", "bits": waterfall["prior"]}] if waterfall else []
    parts += [{"label": step["what"], "bits": step["log2"]} for step in waterfall.get("steps", ())]
    names = ("product", "state", "owner", "score", "decision_reason", "opened_at", "first_seen", "last_seen")
    return {
        "case_id": str(case["case_id"]),
        "title": None,
        "customer": case["name"],
        "subject": f"{case['subject_kind']} {case['subject_id']}",
        **{name: case[name] for name in names},
        "decision": case["decision"] and DECISIONS.get(case["decision"], case["decision"]),
        "similar": similar(case["score"]) if waterfall else None,
        "score_parts": parts,
    }


def _finding(row: Mapping[str, Any], rule: Rule | None) -> dict[str, Any]:
    about = (
        {}
        if rule is None
        else {
            "title": rule.title,
            "means": rule.means,
            "does_not_mean": rule.does_not_mean,
            "falsepositives": list(rule.falsepositives),
        }
    )
    names = ("rule", "strength", "first_seen", "last_seen", "closed_at", "closed_why", "unscored", "evidence")
    return {
        **{name: row[name] for name in names},
        "subject": f"{row['subject_kind']} {row['subject_id']}",
        **about,
    }


async def _custody(connection: Connection, case_id: UUID, size: int) -> list[Proof]:
    """All entries about the case that the checkpoint covers, the first one first."""
    about = audit.AuditFilter(subject_kind="case", subject_id=str(case_id))
    leaves: list[int] = []
    before = (audit.NEWEST, HIGHEST)
    while found := await audit.find(connection, about, before=before, limit=_ENTRIES_AT_ONCE):
        leaves += (each.leaf for each in found if each.leaf is not None and each.leaf < size)
        before = (found[-1].recorded_at, found[-1].entry_id)
    return [await prove(connection, leaf, size) for leaf in sorted(leaves)]


async def _rows_of(connection: Connection, case_id: UUID, kind: str) -> RowsOf:
    columns = await case_rows.columns_of(connection, case_id, kind)
    return RowsOf(kind, columns, case_rows.pieces(connection, case_id, kind))


async def _licenses(connection: Connection, findings: Sequence[Mapping[str, Any]]) -> list[RowsOf]:
    copies = {UUID(each) for row in findings for each in row["evidence"]["installations"]}
    found = await case_rows.licenses_of(connection, copies)

    async def one_piece() -> AsyncIterator[list[dict[str, Any]]]:
        yield found

    return [RowsOf("licenses", list(found[0]), one_piece())] if found else []
