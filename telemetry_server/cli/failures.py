"""Errors become a sentence on stderr and an exit code.

0    success
1    failure; the sentence says what to do
2    wrong usage, or a wrong setting
3    the database has another version: run "telemetry-server migrate", or update the software;
     or this software cannot use it: the sentence says what to do
4    PostgreSQL cannot be reached, or the embedded one cannot run
5    another process is running this; nothing was done
70   a bug in this software; --debug prints the traceback
130  interrupted with Ctrl-C

"doctor" exits with 1 if a check failed, "audit verify" with 3 if the log is not intact, "db psql" with the
exit code of psql.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click

from telemetry_server.errors import OperatorError, TelemetryError

_ADVICE = {
    "25006": " It is a standby, or read-only: name the primary in TELEMETRY_DATABASE_URL.",
    "42501": " Connect as the owner of the tables; telemetry-server doctor says who that is.",
    "53100": " Its disk is full: free some space.",
}
"""Advice by SQLSTATE."""

AWAY_CODE, MISTAKE_CODE, INTERRUPTED_CODE = 4, 70, 130


class Busy(OperatorError):
    """Another process is running this; nothing was done."""

    code, exit_code = "busy", 5


class Failure(NamedTuple):
    """An error as it is reported."""

    message: str
    exit_code: int


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Reports errors of the block and exits with their code; `debug` prints the traceback first."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click handles these
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED_CODE) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, exit_code = failure(error)
        click.echo(f"Error: {message}", err=True)
        raise click.exceptions.Exit(exit_code) from error


def failure(error: Exception) -> Failure:
    """The message and the exit code of the error."""
    match error:
        case ExceptionGroup(exceptions=(Exception() as only,)):
            return failure(only)
        case TelemetryError():
            return Failure(error.detail, error.exit_code)
        case OSError(filename=str() | bytes() as name, strerror=reason):
            return Failure(f"{click.format_filename(name)}: {reason}", 1)
        case ConnectionError() | TimeoutError():
            return Failure(
                f"PostgreSQL disconnected ({str(error) or type(error).__name__}). Try again.", AWAY_CODE
            )
        case OSError():
            return Failure(str(error), 1)
    return _of_the_driver(error) or Failure(
        f"A bug in this software: {type(error).__name__}: {error}. "
        "Repeat the command as: telemetry-server --debug …",
        MISTAKE_CODE,
    )


def _of_the_driver(error: Exception) -> Failure | None:
    """By attributes of the error, so that --help need not import the driver."""
    if (state := getattr(error, "sqlstate", None)) is not None:
        advice = _ADVICE.get(state, "")
        return Failure(f"PostgreSQL refuses: {error} (SQLSTATE {state}).{advice}", 1)
    if type(error).__module__.startswith("asyncpg."):
        return Failure(f"PostgreSQL disconnected ({error}). Try again.", AWAY_CODE)
    return None
