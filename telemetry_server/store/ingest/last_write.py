"""The result of the last group of pings: whether pings can be written at all."""

import asyncpg

from telemetry_server.model import SignedUpload
from telemetry_server.store.database import AWAY

_OF_ONE_ROW = {"55P03", "40P01"}  # SQLSTATEs of a locked row: pings of other installations can be written


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
        if getattr(error, "sqlstate", None) not in _OF_ONE_ROW:
            self.upload = upload
            if isinstance(error, asyncpg.DiskFullError):
                self.problem = "PostgreSQL's disk is full"
            elif isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                self.problem = "PostgreSQL is read-only"
            else:
                self.problem = "PostgreSQL does not answer" if isinstance(error, AWAY) else "see the log"
