"""The evidence of a case as a bag: a report, the rows, the rules, the notices, and the chain of custody.

data/report.html            to read; one file, no script
data/case.json              the case, its findings, its history, the hold, the redaction
data/rows/KIND.ndjson .csv  the rows that it rests on, as they were copied when it was opened
data/rules/NAME.sql         each rule as it was run, with its parameters in its head
data/notices/N.txt          the privacy notices under which rows were collected; notices.json says which
data/custody.ndjson         entries of the audit log about the case, each with its proof (RFC 6962)
data/audit.checkpoint       the signed root that the proofs lead to
data/handovers.json         who got the evidence before: when, for which purpose, and its digest
"""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from telemetry_server.investigate import report
from telemetry_server.investigate.bag import Bag
from telemetry_server.investigate.evidence_tables import NO_NOTICE, TableWriter, Tally
from telemetry_server.investigate.redaction import MEANS, Profile, Redactor
from telemetry_server.store.access.audit_log import Proof
from telemetry_server.version import version


def _pretty(document: Any) -> bytes:
    return orjson.dumps(document, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it was run: `name` has letters, digits and underscores; `parameters` are of its findings."""

    name: str
    sql: str
    parameters: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Notice:
    """A version of the privacy notice in one language."""

    version: str
    language: str
    text: str
    sha256: str


@dataclass(frozen=True, slots=True)
class CaseFile:
    """Everything of a case but its rows. The mappings become JSON as they are, and are in the report."""

    case: Mapping[str, Any]
    findings: Sequence[Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]]
    handovers: Sequence[Mapping[str, Any]]
    rules: Sequence[Rule]
    notices: Sequence[Notice]
    custody: Sequence[Proof]
    checkpoint: str
    purpose: str
    attachments: Sequence[Mapping[str, Any]] = ()
    """Each with its name, its content as bytes, and what else is known of it."""


@dataclass(frozen=True, slots=True)
class RowsOf:
    """The rows of a kind, some at a time. `kind` is of small letters and underscores."""

    kind: str
    columns: Sequence[str]
    pieces: AsyncIterable[Sequence[Mapping[str, Any]]]


@dataclass(slots=True)
class _Written:
    tallies: list[Tally] = field(default_factory=list)

    @property
    def notices(self) -> Counter[str]:
        return sum((each.notices for each in self.tallies), Counter())


async def write(
    bag: Bag, file: CaseFile, rows: Sequence[RowsOf], *, profile: Profile, now: datetime
) -> bytes:
    """Writes the payload and the tag files; returns the tag manifest, which is then to be sealed."""
    redactor, written = Redactor(profile), _Written()
    for each in rows:
        with TableWriter(bag, each.kind, each.columns, redactor) as table:
            async for piece in each.pieces:
                await asyncio.to_thread(table.write, piece)
            written.tallies.append(table.tally)
    await asyncio.to_thread(_add_documents, bag, file, written, redactor, now)
    case_id = file.case["case_id"]
    return await asyncio.to_thread(
        bag.finish,
        {
            "Source-Organization": "license-telemetry-server",
            "External-Identifier": f"case {case_id}",
            "External-Description": f"Evidence of case {case_id}, left out: {profile}",
            "Bagging-Date": f"{now:%Y-%m-%d}",
            "Bag-Software-Agent": f"license-telemetry-server {version()}",
        },
    )


def _add_documents(bag: Bag, file: CaseFile, written: _Written, redactor: Redactor, now: datetime) -> None:
    shown = {
        name: [redactor.row(each) for each in getattr(file, name)]
        for name in ("findings", "history", "handovers")
    }
    case = redactor.row(file.case)
    for rule in file.rules:
        parameters = _pretty(list(map(redactor.row, rule.parameters))).decode()
        bag.add(f"data/rules/{rule.name}.sql", f"/* Run with:\n{_no_end(parameters)}\n*/\n{rule.sql}")
    _add_notices(bag, file.notices, written.notices)
    custody = [_with_proof(each, redactor) for each in file.custody]
    bag.add(
        "data/custody.ndjson",
        b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in custody),
    )
    bag.add("data/audit.checkpoint", file.checkpoint)
    bag.add("data/handovers.json", _pretty(shown["handovers"]))
    attachments = [] if redactor.profile is Profile.PEOPLE else _add_attachments(bag, file.attachments)
    left_out = {
        "profile": redactor.profile,
        "means": MEANS[redactor.profile],
        "attachments": "left out" if len(attachments) < len(file.attachments) else "as they were added",
        "values by field": dict(sorted(redactor.counts.items())),
    }
    about = {
        "case": case,
        "findings": shown["findings"],
        "history": shown["history"],
        "purpose": file.purpose,
        "exported_at": now,
        "rows": {each.name: each.count for each in written.tallies},
        "attachments": attachments,
        "redaction": left_out,
    }
    bag.add("data/case.json", _pretty(about))
    text = report.render(
        about, tallies=written.tallies, notices=file.notices, handovers=shown["handovers"], custody=custody
    )
    bag.add("data/report.html", text)


def _no_end(text: str) -> str:
    """The text without the end of a comment of SQL."""
    return text.replace("*/", "*\\/")


def _add_notices(bag: Bag, notices: Sequence[Notice], rows: Counter[str]) -> None:
    index = []
    for number, each in enumerate(notices, 1):
        bag.add(f"data/notices/{number}.txt", each.text)
        index.append(
            {
                "version": each.version,
                "language": each.language,
                "file": f"notices/{number}.txt",
                "sha256": each.sha256,
                "pings": rows[each.version],
            }
        )
    about = {"pings_without_notice": rows[NO_NOTICE], "notices": index}
    bag.add("data/notices.json", _pretty(about))


def _with_proof(proof: Proof, redactor: Redactor) -> Mapping[str, Any]:
    """The entry and its proof; redacted, it is proven by its commitment, and its content is what is left."""
    entry = {
        "entry_id": proof.entry_id,
        "leaf": proof.leaf,
        "commitment": proof.commitment.hex(),
        "path": [base64.b64encode(each).decode() for each in proof.path],
    }
    content = proof.content.decode()
    if redactor.profile is Profile.NOTHING:
        return {**entry, "salt": proof.salt.hex(), "content": content}
    return {**entry, "redacted_content": redactor.row(orjson.loads(content))}


def _add_attachments(bag: Bag, attachments: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Files under numbers: their names are what people typed."""
    index: list[Mapping[str, Any]] = []
    for number, each in enumerate(attachments, 1):
        bag.add(f"data/attachments/{number}.bin", each["content"])
        index.append(
            {**{name: each[name] for name in each if name != "content"}, "file": f"attachments/{number}.bin"}
        )
    return index
