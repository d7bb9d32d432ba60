"""The result of the last group of pings: whether pings can be written at all."""

import asyncpg

from telemetry_server.model import SignedUpload
from telemetry_server.store.database import AWAY

OF_ONE_NODE = "08006"  # the SQLSTATE of a cluster for a node that is down
# Pings of other installations can be written: a row is locked, a shard moved, or a node is down.
_OF_SOME_ROWS = {"55P03", "40P01", "40001", OF_ONE_NODE}


class LastWrite:
    """`problem`: why pings cannot be written, in words that anyone may read; None while they can.

    While they cannot, `upload` is one that failed, for retries: a server that is not ready gets no uploads,
    and would not become ready again without one.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self.upload: SignedUpload | None = None

    def good(self) -> None:
        self.problem = self.upload = None

    def failed(self, error: Exception, upload: SignedUpload) -> None:
        if getattr(error, "sqlstate", None) not in _OF_SOME_ROWS:
            self.upload = upload
            if isinstance(error, asyncpg.DiskFullError):
                self.problem = "PostgreSQL's disk is full"
            elif isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                self.problem = "PostgreSQL is read-only"
            else:
                self.problem = "PostgreSQL does not answer" if isinstance(error, AWAY) else "see the log"
