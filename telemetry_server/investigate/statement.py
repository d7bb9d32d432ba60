"""The statement on a bag: a signed note (c2sp.org/signed-note) that names the digest of its tag manifest.

    license-telemetry evidence
    case: 12
    exported: 2026-11-30T19:33:00Z
    tool: license-telemetry-server 0.1.0
    tagmanifest-sha256: 5f0c…
    timestamp-sha256: none
    audit-log: 20852 CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
    key: license-telemetry/audit/5f0c2a7d9e11b3c4+…

    — license-telemetry/audit/5f0c2a7d9e11b3c4 Az3grlgtzPICa5OS…

The key is that of the audit log's checkpoints. A time stamp (RFC 3161) stamps the tag manifest, and the
statement names its digest: a bag cannot lose it unseen.
"""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256

from telemetry_server.investigate.bag import Bag
from telemetry_server.signed_note import NoteSigner
from telemetry_server.version import version

TITLE = "license-telemetry evidence"
STATEMENT = "statement.txt"
TIMESTAMP = "tagmanifest-sha256.tsr"


def seal(
    bag: Bag,
    tag_manifest: bytes,
    *,
    case: str,
    checkpoint: str,
    signer: NoteSigner,
    now: datetime,
    timestamp: Callable[[bytes], bytes] | None = None,
) -> str:
    """Writes the statement, and the time stamp before it; returns the statement.

    `timestamp`: the token of an authority for data, in DER. Where it raises, the bag is not sealed.
    """
    token = timestamp(tag_manifest) if timestamp else None
    if token is not None:
        bag.tag(TIMESTAMP, token)
    size, root = checkpoint.splitlines()[1:3]
    lines = [
        TITLE,
        f"case: {case}",
        f"exported: {now:%Y-%m-%dT%H:%M:%SZ}",
        f"tool: license-telemetry-server {version()}",
        f"tagmanifest-sha256: {sha256(tag_manifest).hexdigest()}",
        f"timestamp-sha256: {'none' if token is None else sha256(token).hexdigest()}",
        f"audit-log: {size} {root}",
        f"key: {signer.verifier.key}",
    ]
    note = signer.sign_text("\n".join(lines) + "\n")
    bag.tag(STATEMENT, note.encode())
    return note
