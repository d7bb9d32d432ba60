"""How the last group of pings went: whether the next one can be written at all."""

import asyncpg

from telemetry_server.model import SignedUpload
from telemetry_server.store.database import AWAY

_OF_ONE_ROW = {"55P03", "40P01"}  # SQLSTATEs of a lock that somebody holds; others' pings can be written


class LastWrite:
    """`problem` says why pings cannot be written, in words for anybody; None while they can.

    While they cannot, `upload` is one of those that failed, to try again with: without it a server that
    gets no more uploads, because it says that it is not ready, would never be ready again.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self.upload: SignedUpload | None = None

    def good(self) -> None:
        self.problem = self.upload = None

    def failed(self, error: Exception, upload: SignedUpload) -> None:
        if getattr(error, "sqlstate", None) not in _OF_ONE_ROW:
            self.problem, self.upload = _reason(error), upload


def _reason(error: Exception) -> str:
    match error:
        case asyncpg.DiskFullError():
            return "PostgreSQL's disk is full"
        case asyncpg.ReadOnlySQLTransactionError():
            return "PostgreSQL is read-only"
        case _ if isinstance(error, AWAY):
            return "PostgreSQL does not answer"
    return "the log says why"
