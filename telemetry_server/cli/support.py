"""The commands "support …" and "support keys …"."""

import asyncio
import ipaddress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.cli.recorded_commands import operating_user
from telemetry_server.cli.session import ask, connection
from telemetry_server.errors import OperatorError
from telemetry_server.settings import Settings
from telemetry_server.store.access import audit
from telemetry_server.store.database import Connection
from telemetry_server.support import opening, store
from telemetry_server.support.support_keys import PublicKey, SupportKeys, make_root, sign_list

WEEKS, MOST_WEEKS = 13, 53


class CaseId(click.ParamType[str]):
    """The name of a case."""

    name = "case"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not store.CASE_ID.fullmatch(value):
            self.fail("A case is named by lower-case letters, digits and hyphens, such as 4711.", param, ctx)
        return str(value)


@click.group(cls=Group)
def support() -> None:
    """Support cases, the access that customers grant for them, and its opening.

    docs/support.md describes what is sealed, by whom, and who can open it.
    """


@support.command("cases")
@as_json
@click.pass_obj
def list_cases(invocation: Invocation, as_json: bool) -> None:
    """List cases, the open ones first, with the number of their valid grants."""
    now = datetime.now(UTC)

    async def look(connection: Connection) -> tuple[list[store.Case], Any]:
        return await store.list_cases(connection), await store.count_valid_grants(connection, now)

    cases, valid = ask(invocation.settings(), look)
    if as_json:
        print_json(
            {"cases": [{**asdict(each), "valid_grants": valid.get(each.case_id, 0)} for each in cases]}
        )
        return
    rows = ((each.case_id, each.title, _state(each), valid.get(each.case_id, 0)) for each in cases)
    print_table(("case", "about", "state", "valid grants"), rows)


@support.command()
@click.argument("case_id", metavar="CASE", type=CaseId())
@click.option("--title", default="", metavar="TEXT", help="What it is about.")
@click.option("--two-persons", is_flag=True, help="Each opening needs the approval of a second person.")
@as_json
@click.pass_obj
def begin(invocation: Invocation, case_id: str, title: str, two_persons: bool, as_json: bool) -> None:
    """Begin CASE, or open it again after it was closed."""
    now, about = datetime.now(UTC), opening.checked_title(title)

    async def make(connection: Connection) -> bool:
        by = _entry("support_case.begin", case_id)
        return await store.begin_case(connection, case_id, about, two_persons=two_persons, by=by, now=now)

    if not ask(invocation.settings(), make):
        raise OperatorError(f"The case {case_id} is open already.")
    if as_json:
        print_json({"case_id": case_id, "two_persons": two_persons})
    else:
        click.echo(f"Case {case_id} is open. Its customer runs: license-telemetry support grant {case_id}")


@support.command()
@click.argument("case_id", metavar="CASE", type=CaseId())
@as_json
@click.pass_obj
def close(invocation: Invocation, case_id: str, as_json: bool) -> None:
    """Close CASE: its grants stay sealed from now on."""
    now = datetime.now(UTC)

    async def make(connection: Connection) -> bool:
        return await store.close_case(connection, case_id, by=_entry("support_case.close", case_id), now=now)

    if not ask(invocation.settings(), make):
        raise OperatorError(f"There is no open case {case_id}.")
    if as_json:
        print_json({"case_id": case_id, "closed_at": now})
    else:
        click.echo(f"Case {case_id} is closed.")


@support.command("open")
@click.argument("case_id", metavar="CASE", type=CaseId())
@click.option("--reason", required=True, metavar="TEXT", help="Why; recorded in the audit log.")
@click.option(
    "--public-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Your public key of SSH, for a certificate of four hours.",
)
@as_json
@click.pass_obj
def open_one(
    invocation: Invocation, case_id: str, reason: str, public_key: Path | None, as_json: bool
) -> None:
    """Print what the valid grants of CASE contain, once, after the audit log has the entry.

    Nothing of it is stored or logged. Write it into no file, ticket or chat.
    """
    settings, now = invocation.settings(), datetime.now(UTC)
    key = None if public_key is None else public_key.read_text("utf-8", "replace")
    by = opening.Opener(operating_user(), reason, public_key=key)

    async def opened() -> list[opening.Opened]:
        async with connection(settings) as found:
            return await opening.open_case(found, _keys(settings), case_id, by, now)

    found = asyncio.run(opened())
    if as_json:
        print_json({"grants": [_described(each) for each in found]})
        return
    for each in found:
        grant = each.grant
        click.echo(f"{grant.product} {grant.installation_id}, until {grant.not_after:%Y-%m-%d %H:%M} UTC")
        print_table(("", ""), _lines(each))
    if not found:
        say(f"There is no valid grant for the case {case_id}.")


def _described(each: opening.Opened) -> dict[str, Any]:
    grant = each.grant
    about = {
        "grant_id": grant.grant_id,
        "installation_id": grant.installation_id,
        "not_after": grant.not_after,
    }
    return about | {"content": each.content, "certificate": each.certificate, "problem": each.problem}


def _lines(each: opening.Opened) -> list[tuple[str, object]]:
    beside = [("problem", each.problem), ("certificate", each.certificate)]
    return [*opening.flattened(dict(each.content or {})), *(line for line in beside if line[1])]


# ── keys ─────────────────────────────────────────────────────────────────────────────────────


@support.group(cls=Group)
def keys() -> None:
    """The keys of the support team: weekly files beside the keyring, whose list an offline root signs.

    `keys root` and `keys sign` need no server: run them on a machine without network.
    """


@keys.command("list")
@as_json
@click.pass_obj
def list_keys(invocation: Invocation, as_json: bool) -> None:
    """List the keys, with the week of each, and whether its private half is still here."""
    found = _keys(invocation.settings())
    rows = [(each, found.private_key(each.id) is not None) for each in found.public_keys()]
    is_signed = found.is_signed()
    if as_json:
        print_json({"signed": is_signed, "keys": [each.described | {"private": here} for each, here in rows]})
        return
    print_table(("key", "use from", "until", "private key"), (_row(each, here) for each, here in rows))
    if not is_signed:
        say(f"The list is not signed yet: have {found.payload} signed, and save that as {found.signed.name}.")


@keys.command()
@click.option("--weeks", type=click.IntRange(1, MOST_WEEKS), default=WEEKS, show_default=True)
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="CIDR",
    help="A network from which the support team signs in at customers; repeatable.",
)
@as_json
@click.pass_obj
def make(invocation: Invocation, weeks: int, networks: tuple[str, ...], as_json: bool) -> None:
    """Make the missing keys of this week and the next ones, and the list that the root has to sign.

    Without --network, customers admit the support team from anywhere.
    """
    try:
        named = [str(ipaddress.ip_network(each)) for each in networks]
    except ValueError as error:
        raise OperatorError(f"{error}.") from None
    settings = invocation.settings()
    found, now = _keys(settings), datetime.now(UTC)

    async def made(_: Connection) -> list[PublicKey]:
        return await asyncio.to_thread(found.make, weeks, named, now)

    fresh = ask(settings, made)
    if as_json:
        print_json({"made": [each.id for each in fresh], "to_sign": str(found.payload)})
    else:
        click.echo(f"{len(fresh)} keys made. Have {found.payload} signed by the offline root:")
        click.echo(
            f"  telemetry-server support keys sign {found.payload.name} --root ROOT > {found.signed.name}"
        )


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@as_json
def root(file: Path, as_json: bool) -> None:
    """Make the root key in FILE, on a machine without network, and print what the software pins."""
    try:
        public = make_root(file.absolute())
    except FileExistsError:
        raise OperatorError(f"{file} exists; a root key is never replaced.") from None
    if as_json:
        print_json({"support_root": public})
    else:
        click.echo(public)
        say("Keep the file offline, with a copy. Your software passes this line as support_root.")


@keys.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--root",
    "root_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ROOT",
    help="The root key.",
)
@as_json
def sign(file: Path, root_file: Path, as_json: bool) -> None:
    """Sign the list of keys in FILE with the offline root, and print the signed list."""
    signed = sign_list(file.read_text("utf-8"), root_file)
    if as_json:
        print_json({"signed": signed})
    else:
        click.echo(signed, nl=False)


@keys.command()
@click.argument("key", required=False)
@click.option("--expired", is_flag=True, help="All to which no grant can be valid any more.")
@as_json
@click.pass_obj
def destroy(invocation: Invocation, key: str | None, expired: bool, as_json: bool) -> None:
    """Destroy the private half of KEY: what was sealed to it can never be opened again.

    Servers destroy expired keys by themselves.
    """
    if expired == (key is not None):
        raise OperatorError("Name one KEY, or pass --expired.")
    settings = invocation.settings()
    found = _keys(settings)

    async def destroyed(_: Connection) -> list[str]:
        if key is None:
            return await asyncio.to_thread(found.destroy_expired)
        await asyncio.to_thread(found.destroy, key)
        return [key]

    ended = ask(settings, destroyed)
    if as_json:
        print_json({"destroyed": ended})
    else:
        click.echo(f"Destroyed: {', '.join(ended) or 'none'}.")


# ── what they share ──────────────────────────────────────────────────────────────────────────


def _keys(settings: Settings) -> SupportKeys:
    return SupportKeys(settings.support_directory)


def _entry(action: str, case_id: str) -> audit.Entry:
    return audit.Entry(actor=operating_user(), action=action, subject_kind="support_case", subject_id=case_id)


def _state(case: store.Case) -> str:
    if case.closed_at is not None:
        return "closed"
    return "open, two persons" if case.two_persons else "open"


def _row(each: PublicKey, here: bool) -> tuple[object, ...]:
    return each.id, f"{each.use_from:%Y-%m-%d}", f"{each.use_until:%Y-%m-%d}", "here" if here else "destroyed"
