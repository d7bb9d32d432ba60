"""What goes wrong becomes a sentence on stderr and an exit code.

0    done
1    it could not be done; the sentence says what to do
2    wrong usage, or a wrong setting
3    the database is of another version: run "telemetry-server migrate", or update the software;
     or it is none that this software can use: the sentence says what to do
4    PostgreSQL cannot be reached, or the embedded one cannot run
5    another process is at it; nothing was done
70   a mistake in this software; --debug shows where
130  interrupted with Ctrl-C

"doctor" leaves with 1 when a check failed, "db psql" with the exit code of psql.
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
    "53100": " Its disk is full: make room there.",
}
"""What to do, by SQLSTATE."""

AWAY_CODE, MISTAKE_CODE, INTERRUPTED_CODE = 4, 70, 130


class Busy(OperatorError):
    """Another process is at it; nothing was done."""

    code, exit_code = "busy", 5


class Failure(NamedTuple):
    """What is told of an error."""

    message: str
    exit_code: int


@contextmanager
def told(*, debug: bool) -> Iterator[None]:
    """Tells what is raised, and leaves with its exit code; with `debug`, the traceback comes first."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click knows what to do
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED_CODE) from None
    except Exception as error:
        if debug:
            traceback.print_exc()
        message, exit_code = failure(error)
        click.echo(f"Error: {message}", err=True)
        raise click.exceptions.Exit(exit_code) from error


def failure(error: Exception) -> Failure:
    """The error in words for the person at the command line."""
    match error:
        case ExceptionGroup(exceptions=(Exception() as only,)):
            return failure(only)
        case TelemetryError():
            return Failure(error.detail, error.exit_code)
        case OSError(filename=str() | bytes() as name, strerror=reason):
            return Failure(f"{click.format_filename(name)}: {reason}", 1)
        case ConnectionError() | TimeoutError():
            return Failure(
                f"PostgreSQL went away ({str(error) or type(error).__name__}). Try again.", AWAY_CODE
            )
        case OSError():
            return Failure(str(error), 1)
    return _of_the_driver(error) or Failure(
        f"A mistake in this software: {type(error).__name__}: {error}. "
        "Repeat the command as: telemetry-server --debug …",
        MISTAKE_CODE,
    )


def _of_the_driver(error: Exception) -> Failure | None:
    """Told by PostgreSQL's error code, so that the driver need not be imported for --help."""
    if (state := getattr(error, "sqlstate", None)) is not None:
        advice = _ADVICE.get(state, "")
        return Failure(f"PostgreSQL refuses: {error} (SQLSTATE {state}).{advice}", 1)
    if type(error).__module__.startswith("asyncpg."):
        return Failure(f"PostgreSQL went away ({error}). Try again.", AWAY_CODE)
    return None
