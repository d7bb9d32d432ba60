"""Tiny GeoIP databases on the networks reserved for documentation."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

BUILT = datetime(2026, 11, 1, tzinfo=UTC)


class Writer(MMDBWriter):
    def _build_meta(self):
        return super()._build_meta() | {"build_epoch": int(BUILT.timestamp())}


def write_mmdb(
    path: Path, records: dict, database_type: str = "DBIP-Country-Lite", ip_version: int = 6
) -> Path:
    """`records` by network; the file is put in place by a rename, as an updater does."""
    writer = Writer(ip_version, database_type, ["en"], "test", ipv4_compatible=ip_version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    writer.to_db_file(str(part))
    return part.replace(path)


@pytest.fixture(scope="session")
def mmdb():
    return write_mmdb
