"""The command "import": sends uploads that copies exported to the running server.

The server checks their signatures as it does over the network, and counts a file that is imported twice once.
"""

import time
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import click
import orjson

from telemetry_server.cli.address import settings_of_server
from telemetry_server.cli.invocation import Invocation
from telemetry_server.cli.output import as_json, print_json, progress, say
from telemetry_server.errors import OperatorError, Unavailable
from telemetry_server.receive.pings import PATH
from telemetry_server.text import in_utf8

KEPT_HEADERS = frozenset({"content-type", "content-encoding", "telemetry-signature"})
LONGEST_LINE = 2 << 20
TIMEOUT_SECONDS = 60
BUSY = (429, 503)
ATTEMPTS, LONGEST_PAUSE_SECONDS = 5, 60
NO_UPLOAD = "is not an upload of the SDK; use the unchanged files of `license-telemetry export`."


class Refused(Exception):
    """The server refused an upload; the import continues with the next one."""


class Upload(NamedTuple):
    """A signed request."""

    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Summary:
    """The outcome of an import. `pings` counts by status."""

    uploads: int = 0
    refused: int = 0
    pings: Counter[str] = field(default_factory=Counter)


@click.command("import")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--endpoint", metavar="URL", help="The running server. [default: as it says itself]")
@as_json
@click.pass_obj
def import_uploads(
    invocation: Invocation, files: tuple[Path, ...], endpoint: str | None, as_json: bool
) -> None:
    """Send the FILEs that "license-telemetry export FILE" (without --to) wrote to the running server.

    A bundle goes to "bundle take".
    A file may be imported again: each ping counts once. Exits with 1 if the server refused an upload.
    """
    url = (endpoint or settings_of_server(invocation).base_url).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("--endpoint must be an http:// or https:// address.")
    summary = Summary()
    for path in files:
        _import(path, url + PATH, summary)
    if as_json:
        print_json({"uploads": summary.uploads, "refused": summary.refused, "pings": summary.pings})
    else:
        pings = ", ".join(f"{number} {status}" for status, number in sorted(summary.pings.items()))
        click.echo(f"{summary.uploads} uploads, {summary.refused} refused; pings: {pings or 'none'}")
    if summary.refused:
        raise click.exceptions.Exit(1)


def _import(path: Path, url: str, summary: Summary) -> None:
    with progress() as bar, path.open("rb") as file:
        task = bar.add_task(path.name, total=path.stat().st_size)
        for number, line in _lines(in_utf8(file)):
            summary.uploads += 1
            try:
                summary.pings.update(result["status"] for result in _send(url, parse(line)))
            except Refused as refusal:
                summary.refused += 1
                say(f"{path} line {number}: {refusal}")
            bar.update(task, completed=file.tell())


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers; a line that is too long is cut, and then invalid."""
    for number in count(1):
        rest = line = file.readline(LONGEST_LINE)
        if not line:
            return
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
        if line.strip():
            yield number, line


def parse(line: bytes) -> Upload:
    """The upload in a line of an export. Raises Refused."""
    try:
        document = orjson.loads(line)
        headers = {name: text for name, text in document["headers"].items() if name.lower() in KEPT_HEADERS}
        upload = Upload(headers, b64decode(document["body"], validate=True))
        plain = all(text.isascii() and text.isprintable() for text in headers.values())
        whole = (document["method"], document["path"]) == ("POST", PATH) and plain
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(NO_UPLOAD) from error
    if not whole:
        raise Refused(NO_UPLOAD)
    return upload


def _send(url: str, upload: Upload) -> list[dict[str, Any]]:
    """The results of the upload's pings; retries if the server is busy. Raises Refused or OperatorError."""
    for _ in range(ATTEMPTS):
        try:
            return _post(url, upload)
        except Unavailable as busy:
            time.sleep(min(busy.retry_after or 1, LONGEST_PAUSE_SECONDS))
    raise OperatorError(
        f"{url} was busy {ATTEMPTS} times; try again later. Pings that were accepted count once."
    )


def _post(url: str, upload: Upload) -> list[dict[str, Any]]:
    request = Request(url, upload.body, upload.headers, method="POST")  # noqa: S310  http or https
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as answer:
            results: list[dict[str, Any]] = orjson.loads(answer.read())["results"]
            return results
    except HTTPError as error:
        with error:
            if error.code in BUSY:
                seconds = error.headers.get("Retry-After", "")
                raise Unavailable(retry_after=int(seconds) if seconds.isdecimal() else None) from error
            raise Refused(f"{error.code} {detail(error.read())}") from error
    except URLError as error:
        raise OperatorError(
            f"Nothing answers at {url} ({error.reason}). "
            "Start telemetry-server serve, or name the running server with --endpoint."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"{url} is not a telemetry server ({error!r}); check --endpoint.") from error


def detail(body: bytes) -> str:
    """The detail of a problem document."""
    try:
        return str(orjson.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "without a reason"
