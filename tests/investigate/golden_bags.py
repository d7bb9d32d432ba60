"""Bags of invented cases, written by the code of the server, and signed with a key of the tests."""

import asyncio
import importlib.util
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from uuid import UUID

import orjson
from audit_log import SIGNER
from places import ROOT

from telemetry_server.investigate import evidence
from telemetry_server.investigate.bag import Bag
from telemetry_server.investigate.evidence import CaseFile, Notice, RowsOf, Rule
from telemetry_server.investigate.redaction import Profile
from telemetry_server.investigate.statement import seal
from telemetry_server.merkle_tree import GrowingTree, inclusion_path
from telemetry_server.store.access.audit import commitment_of, hash_of_leaf
from telemetry_server.store.access.audit_log import Proof

NOW = datetime(2026, 11, 30, 19, 33, tzinfo=UTC)
KEY = SIGNER.verifier.key
VERIFIER = ROOT / "deploy" / "evidence_verifier" / "verify_evidence.py"
HOSTILE = "<script>alert(1)</script>=cmd|' /C calc'!A0\u202egpj.exe"


def verifier():
    """The module of the stand-alone verifier, as it is in its folder."""
    spec = importlib.util.spec_from_file_location("verify_evidence", VERIFIER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def proofs(count, others=5):
    """Entries about the case among those of others, in a tree of this process, with its checkpoint."""
    rows = [
        (
            number,
            UUID(int=number + 1),
            sha256(b"salt%d" % number).digest(),
            orjson.dumps(
                {
                    "action": "case.view",
                    "actor": f"person:ann@example.com (person {number})",
                    "details": {"path": "/cases/1"},
                    "leaf": number,
                    "network": "203.0.113.0/24",
                    "product": "demo",
                    "reason": None,
                    "recorded_at": "2026-11-30T10:00:00Z",
                    "subject_id": "1",
                    "subject_kind": "case",
                }
            ),
        )
        for number in range(count * others)
    ]
    tree, hashes = GrowingTree(), {}
    for leaf, entry_id, salt, content in rows:
        hashes |= {(0, leaf): hash_of_leaf(entry_id, commitment_of(salt, content))}
        for node, hashed in tree.append(hashes[0, leaf]):
            hashes[node] = hashed
    found = [
        Proof(
            str(entry_id),
            leaf,
            salt,
            content,
            commitment_of(salt, content),
            len(rows),
            inclusion_path(leaf, len(rows), hashes),
        )
        for leaf, entry_id, salt, content in rows[::others]
    ]
    return found, SIGNER.sign(tree.size, tree.root)


def ping(number):
    day = NOW - timedelta(hours=7 * (number % 200))
    return {
        "received_at": day.isoformat(),
        "installation_id": str(UUID(int=number % 7 + 1)),
        "sequence": number + 1,
        "client_address": f"203.0.113.{number % 250}",
        "service_version": "7.4.2",
        "license_source_detail": HOSTILE if number == 3 else None,
        "privacy_notice_version": "2026-01" if number % 3 else None,
        "verdict": "over_seats",
        "facts": {
            "os": {"name": "debian", "kernel": "6.1.0"},
            "license": {"key_hint": "0046", "note": "ask bob@example.org"},
        },
        "place": {"country": "DE", "asn": 64500},
    }


async def pieces(count, at_once=500):
    for first in range(0, count, at_once):
        yield [ping(number) for number in range(first, min(count, first + at_once))]


def case_file(**changed):
    custody, checkpoint = proofs(4)
    notice = "What we collect, and why."
    return CaseFile(
        **{
            "case": {
                "case_id": "1",
                "title": HOSTILE,
                "subject": "license 0046",
                "state": "open",
                "hold_ground": "evidence of an open case",
                "score_parts": [
                    {"label": "prior", "bits": -6.6},
                    {"label": "key", "bits": 9.2},
                    {"label": "persistence", "bits": -0.4},
                ],
            },
            "findings": [
                {
                    "rule": "over_seats",
                    "title": "More copies than seats",
                    "means": "More copies report than the license has seats.",
                    "does_not_mean": "That anyone copied it on purpose.",
                    "falsepositives": ["Failover pairs", HOSTILE],
                    "subject": "license 0046",
                    "first_seen": "2026-10-01",
                }
            ],
            "history": [
                {
                    "happened_at": "2026-11-30",
                    "actor": "person:ann@example.com (person 1)",
                    "what": "opened",
                    "note": HOSTILE,
                }
            ],
            "handovers": [],
            "rules": [Rule("over_seats", "SELECT 1 /* one */;\n", [{"leeway": 2, "text": "*/ DROP"}])],
            "notices": [Notice("2026-01", "en", notice, sha256(notice.encode()).hexdigest())],
            "custody": custody,
            "checkpoint": checkpoint,
            "purpose": "Clarification with the customer",
            "attachments": [{"name": "../../" + HOSTILE, "content": b"%PDF-1.7 invented"}],
            **changed,
        }
    )


def write_bag(path, *, rows=60, profile=Profile.NOTHING, timestamp=None, file=None):
    """A sealed bag at `path`; returns its statement."""
    file = file or case_file()
    columns = list(ping(0))
    bag = Bag(path)
    manifest = asyncio.run(
        evidence.write(bag, file, [RowsOf("pings", columns, pieces(rows))], profile=profile, now=NOW)
    )
    return seal(
        bag, manifest, case="1", checkpoint=file.checkpoint, signer=SIGNER, now=NOW, timestamp=timestamp
    )
