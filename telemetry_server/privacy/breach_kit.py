"""The kit for a breach: whom it affects, what was seen, and drafts of the notices. Pure; nothing is sent."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson

from telemetry_server.check.fields import Registry
from telemetry_server.check.licenses.rows import guarded
from telemetry_server.privacy.store.breach import Seen, Window

HOURS = 72
"""The time for the notice to the authority, from when the controller knows (Article 33(1) GDPR)."""

_VERBS_OF_MANY = {"list", "export"}
_KINDS_OF_MANY = {"case", "support_case"}
_CUSTOMER = "e-mail, name, company, tax id, technical contact, account, custom fields, notes"
_LICENSE = "key hint, status, type, order, domains, directories, networks, dates, seats"
_FIELDS = {
    "customer": _CUSTOMER,
    "license": f"{_LICENSE}; with its customer: {_CUSTOMER}",
    "case": "pings with addresses, customers, licenses",
    "pivot": "pings with addresses, customers, licenses",
    "support_case": "support access that a customer granted: SSH, e-mail and database accounts",
    "person": "e-mail and name of staff",
    "audit": "who saw or changed what",
}


def facts(window: Window, found: Seen, registry: Registry, *, aware: datetime) -> dict[str, Any]:
    """The facts of the breach, as summary.json has them."""
    subjects = affected(found)
    kinds = sorted({kind for kind, _ in subjects} | {_kind(each) for each in _of_many(found)})
    return {
        "from": window.since,
        "to": window.until,
        "persons": window.persons,
        "tokens": window.tokens,
        "keys": window.keys,
        "aware_at": aware,
        "notice_due_at": aware + timedelta(hours=HOURS),
        "subjects": dict(Counter(kind for kind, _ in subjects)),
        "all_subjects": dict(found.totals),
        "fields": {kind: _fields(kind, registry) for kind in kinds if _fields(kind, registry)},
        "lists_and_exports": len(list(_of_many(found))),
        "entries": len(found.entries),
        "grants": len(found.grants),
        "networks": sorted({each["network"] for each in found.entries if each["network"]}),
    }


def affected(found: Seen) -> list[tuple[str, str]]:
    """Kind and id of the subjects that an entry or a grant names, each once."""
    named = {
        (each["subject_kind"], each["subject_id"])
        for each in found.entries
        if each["subject_kind"] in {"customer", "installation", "license"} and each["subject_id"]
    }
    named |= {("customer", customer) for customer in found.owners.values()}
    named |= {("installation", str(each["installation_id"])) for each in found.grants}
    return sorted(named)


def files(window: Window, found: Seen, registry: Registry, *, aware: datetime) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the kit."""
    said = facts(window, found, registry, aware=aware)
    yield "summary.json", orjson.dumps(said, default=str, option=orjson.OPT_INDENT_2)
    yield "subjects.csv", _csv(("kind", "id"), affected(found))
    columns = ("recorded_at", "actor", "action", "subject_kind", "subject_id", "network", "path", "query")
    yield "entries.csv", _csv(columns, map(_line, found.entries))
    yield "exports.csv", _csv(columns, map(_line, _of_many(found)))
    grants = ("installation_id", "case_id", "key_id", "received_at", "not_after")
    yield "grants.csv", _csv(grants, ([each[name] for name in grants] for each in found.grants))
    yield "notice-authority.txt", _authority(said).encode()
    yield "notice-subjects.txt", _to_subjects(said).encode()


def _of_many(found: Seen) -> Iterator[Mapping[str, Any]]:
    """The entries of lists, exports and cases, each of which may have shown many subjects."""
    return (
        each
        for each in found.entries
        if each["subject_kind"] in _KINDS_OF_MANY
        or (each["action"].rpartition(".")[2] in _VERBS_OF_MANY and not each["subject_id"])
    )


def _kind(entry: Mapping[str, Any]) -> str:
    return str(entry["action"]).partition(".")[0]


def _fields(kind: str, registry: Registry) -> str:
    if kind == "installation":
        return ", ".join((*registry.fields, "client_address", "hostname"))
    return _FIELDS.get(kind, "")


def _line(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    details = entry["details"]
    names = ("recorded_at", "actor", "action", "subject_kind", "subject_id", "network")
    return *(entry[name] for name in names), details.get("path"), details.get("query")


def _csv(columns: tuple[str, ...], rows: Any) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(["" if each is None else guarded(str(each)) for each in row] for row in rows)
    return file.getvalue().encode()


def _authority(said: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{count} {kind}s" for kind, count in said["subjects"].items()) or "none by name"
    kinds = "\n".join(f"- {kind}: {fields}" for kind, fields in said["fields"].items()) or "- none"
    whole = ", ".join(f"{count} {kind}" for kind, count in said["all_subjects"].items())
    return f"""DRAFT, not sent. Notification of a personal data breach (Article 33 GDPR)

Due: {said["notice_due_at"]:%Y-%m-%d %H:%M} UTC, {HOURS} hours after we became aware
at {said["aware_at"]:%Y-%m-%d %H:%M} UTC. If it is later: the reasons for the delay. …

1. Nature of the breach
   …
   Between {said["from"]:%Y-%m-%d %H:%M} and {said["to"]:%Y-%m-%d %H:%M} UTC.
   By: {", ".join(map(str, (*said["persons"], *said["tokens"], *said["keys"]))) or "not known"}
   From the networks: {", ".join(said["networks"]) or "not known"}

2. Data subjects, approximately
   Named one by one: {numbers}.
   Lists, exports and cases that may have shown more: {said["lists_and_exports"]} (of {whole} in all).
   Sealed support access that one of the keys opens: {said["grants"]}.

3. Categories of data
{kinds}

4. Contact
   The data protection officer: …

5. Likely consequences
   …

6. Measures taken or proposed
   …
"""


def _to_subjects(said: Mapping[str, Any]) -> str:
    kinds = "\n".join(f"- {fields}" for fields in said["fields"].values()) or "- …"
    return f"""DRAFT, not sent. Communication to the data subject (Article 34 GDPR)

Between {said["from"]:%Y-%m-%d %H:%M} and {said["to"]:%Y-%m-%d %H:%M} UTC, someone may have seen
data about you without a right to it:

{kinds}

What this may mean for you: …
What we have done: …
What you can do: …
Whom you can ask: …
"""
