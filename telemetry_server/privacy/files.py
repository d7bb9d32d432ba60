"""The files in which a subject gets its data: JSON and CSV for each table, and a page that explains them."""

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from telemetry_server.check.fields import Registry
from telemetry_server.check.licenses.rows import guarded
from telemetry_server.privacy.subjects import Subject

Rows = Mapping[str, Sequence[Mapping[str, Any]]]

MEANS = {
    "customers": "Who you are, as the license registry knows it.",
    "customer_notes": "Notes that people wrote on you.",
    "customer_levels": "The most that is kept of your installations.",
    "access_links": "Links that were made for you, to fetch this data.",
    "licenses": "Your licenses. The keys themselves are not stored.",
    "license_keys": "Keyed hashes of the keys.",
    "shop_fields": "Which fields of a license the shop set, and when.",
    "installations": "The installations: which reports arrived, and when.",
    "installation_facts": "What each installation is now, with what the server concluded (verdict, life).",
    "states": "The states an installation was in: everything that it reported of itself.",
    "pings": "Each report, with the state it came from and its feature counts.",
    "installation_days": "The reports of each day, summed up.",
    "changes": "Facts that changed, and when.",
    "forks": "Reports whose number another report already had.",
    "lineage": "Installations that got a new identity, and the one before.",
    "quarantine": "Reports that could not be stored.",
    "followed_installations": "The newest reports as they were sent, while the vendor looks at them.",
    "support_grants": "Support access that was granted, sealed: only the support team's keys open it.",
    "installation_levels": "The most that is kept of the installation.",
    "erased_installations": "That the installation was erased.",
    "case_rows": "Copies of reports that people look into.",
    "hostnames": "What the DNS said of the addresses.",
    "registry_changes": "Changes of the customer and the licenses: by whom, when and why.",
    "clear_up_items": "Doubts about a license or an installation.",
    "clear_up_changes": "What people did about them.",
    "findings": "What rules saw: leads, which have innocent explanations, too.",
    "cases": "The cases in which people look into findings.",
    "case_findings": "Which finding was in which case, and when.",
    "case_history": "What happened to the cases: notes, owners, decisions.",
    "case_attachments": "Files that people added to them.",
    "case_holds": "Why copies of reports are kept for them.",
    "case_handovers": "To what purpose their evidence was exported.",
    "case_pauses": "Until when they are put aside, and why.",
    "audit_entries": "Who looked at this data or changed it, when and why.",
    "erasures": "Erasures that were asked for.",
    "subject_requests": "Requests about this data, such as for access or erasure.",
    "subject_request_steps": "What was done about them.",
    "holds": "Legal holds: which of this data is kept for a claim, why and until when.",
    "held_rows": "Copies that are kept for them.",
    "restrictions": "Restrictions: since when only the privacy officer sees this data.",
    "restricted_installations": "The installations that they hide.",
    "disclosures": "To whom this data was disclosed, on what ground.",
    "notices": "The versions of the privacy notice that the reports name.",
}


def files(subject: Subject, rows: Rows, registry: Registry, now: datetime) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each file."""
    yield "README.txt", _readme(subject, rows, registry, now).encode()
    for table, found in rows.items():
        yield f"{table}.json", orjson.dumps(found, option=orjson.OPT_INDENT_2)
        if found:
            yield f"{table}.csv", _csv(found).encode()


def archive(subject: Subject, rows: Rows, registry: Registry, now: datetime) -> bytes:
    """All files in one ZIP."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files(subject, rows, registry, now):
            packed.writestr(name, content)
    return file.getvalue()


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return file.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return guarded(value if isinstance(value, str) else orjson.dumps(value).decode())


def _readme(subject: Subject, rows: Rows, registry: Registry, now: datetime) -> str:
    lines = [
        f"All data about {subject.kind} {subject.id}, as of {now:%Y-%m-%d %H:%M} UTC.",
        "",
        "For each kind of data there is a file in JSON and one in CSV; without rows, only the one in JSON.",
        "",
        *(f"{table:<22}{len(found):>8}  {MEANS[table]}" for table, found in rows.items()),
        "",
        "Why it is collected:",
        *(f"  {name}: {text}" for name, text in registry.purposes.items()),
        "",
        "How long it is kept:",
        *(f"  {name}: {kept}" for name, kept in registry.retention.items()),
        "",
        "Every field that an installation may report:",
        *(
            f"  {field.path} ({field.level}, {field.purpose}): {field.text}"
            for field in registry.fields.values()
        ),
    ]
    return "\n".join(lines) + "\n"
