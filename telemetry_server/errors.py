"""The errors of this server.

    TelemetryError
    ├── BadRequest                      400   the bytes are not what the protocol says
    │   ├── Malformed                         not JSON, not UTF-8, broken gzip
    │   ├── TooLarge                    413   over a limit on bytes
    │   ├── UnsupportedEncoding         415   neither identity nor gzip
    │   ├── UnknownExpectation          417   Expect is not 100-continue
    │   └── Unprocessable               422   JSON, but not an upload
    ├── Unauthenticated                 401   no valid signature, product key, token or session
    ├── Forbidden                       403   known, but not allowed
    ├── NotFound                        404
    ├── MethodNotAllowed                405
    ├── Gone                            410   the installation was erased
    ├── SlowClient                      408   the body did not arrive in time
    ├── TooManyRequests                 429   over a rate limit; has the time to retry
    ├── Unavailable                     503   full, or PostgreSQL is down or slow (store.reading's TooSlow)
    │   └── OutOfFiles                        this process or machine may open no more files
    └── OperatorError                         the user of the command line can fix it
        ├── SettingsError                     a setting is wrong or unknown
        ├── MigrationError                    this version cannot use the database
        └── KeyringError, DatabaseUnreachable, ProductExists, NoSuchProduct, LicenseExists, WrongFile …
            are defined where they are raised

The class docstring is the default message. `middleware.py` turns errors into RFC 9457 documents with `status`
and `code`; the command line prints the message and exits with `exit_code`. Only `store/` translates driver
errors.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """A problem in a body; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


class TelemetryError(Exception):
    """Something went wrong in the telemetry server."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        detail: str | None = None,
        *,
        problems: Sequence[FieldProblem] = (),
        retry_after: int | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.problems = tuple(problems)
        self.retry_after = retry_after
        super().__init__(self.detail)


class BadRequest(TelemetryError):
    """The request is not one this server understands."""

    status, code = 400, "bad_request"


class Malformed(BadRequest):
    """The body is not valid JSON in UTF-8."""

    code = "malformed"


class TooLarge(BadRequest):
    """The body is larger than the limit."""

    status, code = 413, "too_large"


class UnsupportedEncoding(BadRequest):
    """Send the body as it is, or with Content-Encoding: gzip."""

    status, code = 415, "unsupported_encoding"


class UnknownExpectation(BadRequest):
    """Of Expect, this server takes only 100-continue."""

    status, code = 417, "unknown_expectation"


class Unprocessable(BadRequest):
    """The body is JSON, but not what this address takes."""

    status, code = 422, "unprocessable"


class Unauthenticated(TelemetryError):
    """The request is not signed by anyone this server knows."""

    status, code = 401, "unauthenticated"


class Forbidden(TelemetryError):
    """This is not allowed with the rights you have."""

    status, code = 403, "forbidden"


class NotFound(TelemetryError):
    """There is nothing at this address."""

    status, code = 404, "not_found"


class MethodNotAllowed(TelemetryError):
    """This address does not take that method."""

    status, code = 405, "method_not_allowed"


class Gone(TelemetryError):
    """This installation was erased; a copy that is to report again gets a new identity first."""

    status, code = 410, "gone"


class SlowClient(TelemetryError):
    """The body did not arrive in time."""

    status, code = 408, "slow_client"


class TooManyRequests(TelemetryError):
    """Too many requests; come back after the time in Retry-After."""

    status, code = 429, "too_many_requests"


class Unavailable(TelemetryError):
    """The server cannot answer for this now; send the same again after the time in Retry-After."""

    status, code = 503, "unavailable"


class OutOfFiles(Unavailable):
    """Too many open files. Raise the limit of the server (LimitNOFILE, ulimit -n), then restart it."""

    code = "out_of_files"

    @classmethod
    def means(cls, error: BaseException) -> bool:
        """Whether the error is a limit of open files, which says nothing about the file or the peer."""
        return isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}


class OperatorError(TelemetryError):
    """The command cannot go on."""

    code = "operator"


class SettingsError(OperatorError):
    """The settings are wrong."""

    code, exit_code = "settings", 2


class MigrationError(OperatorError):
    """The database is not one this version can use."""

    code, exit_code = "migration", 3
