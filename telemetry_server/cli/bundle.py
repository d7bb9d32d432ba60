"""The commands "bundle …": what copies behind an air gap send."""

import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import click

from telemetry_server import durable
from telemetry_server.cli.address import settings_of_server
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, say
from telemetry_server.cli.uploads import ATTEMPTS, BUSY, LONGEST_PAUSE_SECONDS, TIMEOUT_SECONDS, detail
from telemetry_server.errors import Malformed, OperatorError
from telemetry_server.receive.bundles import LARGEST_BUNDLE, MEDIA_TYPE, PATH, outcome_of

_LEAST_REFUSAL = 400


@click.group(cls=Group)
def bundle() -> None:
    """Bundles of copies behind an air gap, and their receipts.

    docs/airgap.md describes the whole way.
    """


@bundle.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--receipts",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to write for the copy; an existing one is replaced.",
)
@click.option("--endpoint", metavar="URL", help="The running server. [default: as it says itself]")
@as_json
@click.pass_obj
def take(invocation: Invocation, file: Path, receipts: Path, endpoint: str | None, as_json: bool) -> None:
    """Hand the bundle FILE to the running server, and write its receipts.

    "license-telemetry export --to FILE" wrote the bundle, and "license-telemetry import FILE" takes the
    receipts. A bundle may be taken again: each ping counts once. Exits with 1 if a request was refused.
    """
    if file.stat().st_size > LARGEST_BUNDLE:
        raise OperatorError(f"{file} is larger than {LARGEST_BUNDLE:,} bytes: it is no bundle.")
    url = (endpoint or settings_of_server(invocation).base_url).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise click.UsageError("--endpoint must be an http:// or https:// address.")
    content = _post(url + PATH, file.read_bytes())
    try:
        pings, others = outcome_of(content)
    except Malformed as error:
        raise OperatorError(
            f"{url} is not a telemetry server that takes bundles; check --endpoint."
        ) from error
    durable.write(receipts, content)
    refused = sum(status >= _LEAST_REFUSAL for _, status in others)
    if as_json:
        requests = [{"path": path, "status": status} for path, status in others]
        print_json({"pings": pings, "requests": requests, "receipts": str(receipts)})
    else:
        counted = ", ".join(f"{count} {status}" for status, count in sorted(pings.items()))
        asked = ", ".join(f"{path} {status}" for path, status in others)
        click.echo(f"pings: {counted or 'none'}" + (f"; requests: {asked}" if asked else ""))
        say(f"Bring {receipts} back to the copy: license-telemetry import {receipts.name}")
    if refused:
        raise click.exceptions.Exit(1)


def _post(url: str, content: bytes) -> bytes:
    """The receipts. Raises OperatorError."""
    request = Request(url, content, {"Content-Type": MEDIA_TYPE}, method="POST")  # noqa: S310  http or https
    for _ in range(ATTEMPTS):
        try:
            with build_opener(ProxyHandler({})).open(request, timeout=TIMEOUT_SECONDS) as answer:
                return bytes(answer.read())
        except HTTPError as error:
            with error:
                if error.code not in BUSY:
                    raise OperatorError(detail(error.read())) from error
                seconds = error.headers.get("Retry-After", "")
            time.sleep(min(int(seconds) if seconds.isdecimal() else 1, LONGEST_PAUSE_SECONDS))
        except URLError as error:
            raise OperatorError(
                f"Nothing answers at {url} ({error.reason}). "
                "Start telemetry-server serve, or name the running server with --endpoint."
            ) from error
    raise OperatorError(f"{url} was busy {ATTEMPTS} times; try again later. What was taken counts once.")
