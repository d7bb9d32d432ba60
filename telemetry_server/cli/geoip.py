"""The commands "geoip …": install, update and inspect the databases of the places of addresses."""

import os
from contextlib import closing, nullcontext
from datetime import UTC, date, datetime, timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import wrap_file

from telemetry_server.cli.download import NotPublished, open_url, shown
from telemetry_server.cli.invocation import Group, Invocation
from telemetry_server.cli.output import as_json, print_json, print_table, say
from telemetry_server.enrich.places import hosting
from telemetry_server.enrich.places.databases import Database, UnusableDatabase
from telemetry_server.enrich.places.fetch import dbip_lite_url
from telemetry_server.enrich.places.fetch import install as install_from
from telemetry_server.enrich.places.hosting import HostingList
from telemetry_server.enrich.places.place import Atlas
from telemetry_server.enrich.places.records import DatabaseKind

OLD_AFTER = timedelta(days=60)


@click.group(cls=Group)
def geoip() -> None:
    """Country, city and network operator of addresses.

    The databases are in DIR/geoip, and so is hosting.txt, your list of hosting providers: a network or an
    AS number on each line.
    """


@geoip.command()
@click.option("--source", default="dbip", show_default=True, metavar="dbip|FILE|URL")
@click.option(
    "--kind",
    type=click.Choice([kind.value for kind in DatabaseKind]),
    help="[default: read from the file; dbip: country and asn]",
)
@click.option("--sha256", metavar="HEX", help="Refuse a file or URL whose bytes have another SHA-256.")
@click.pass_obj
def install(invocation: Invocation, source: str, kind: str | None, sha256: str | None) -> None:
    """Install or update databases: DB-IP Lite, free and without an account, or a .mmdb or .mmdb.gz file.

    A running server loads them within a minute. The license of DB-IP Lite is CC BY 4.0: the pages that
    show its results show a link to it.
    """
    directory = invocation.settings().geoip
    wanted = DatabaseKind(kind) if kind else None
    if source == "dbip":
        if sha256:
            raise click.UsageError("DB-IP publishes no SHA-256; --sha256 goes with a FILE or a URL.")
        if wanted is DatabaseKind.HOSTING:
            raise click.UsageError("DB-IP Lite has no hosting data; give a FILE or a URL.")
        for each in [wanted] if wanted else [DatabaseKind.COUNTRY, DatabaseKind.ASN]:
            _report(_from_dbip(directory, each))
    elif "://" in source:
        _report(_from_url(directory, source, wanted, sha256))
    else:
        with Path(source).open("rb") as file:
            _report(_from_stream(directory, file, Path(source).stat().st_size, wanted, sha256))


@geoip.command()
@as_json
@click.pass_obj
def status(invocation: Invocation, as_json: bool) -> None:
    """Show the installed databases and their age; exit with 1 if one cannot be used."""
    atlas = Atlas(invocation.settings().geoip)
    rows = [_about(kind, atlas.databases.get(kind)) for kind in DatabaseKind]
    rows.append(_about("hosting list", atlas.hosting_list))
    if as_json:
        attributions = [owed._asdict() for owed in atlas.attributions]
        print_json({"databases": rows, "attributions": attributions, "problems": atlas.problems})
    else:
        print_table(("kind", "source", "built on", "age", "size"), map(_cells, rows))
        for text, url in atlas.attributions:
            click.echo(f"{text}: {url}")
        for problem in atlas.problems:
            say(f"Problem: {problem}")
    if atlas.problems:
        raise click.exceptions.Exit(1)


@geoip.command()
@click.pass_obj
def reload(invocation: Invocation) -> None:
    """Check the installed files, and make running servers reload them within a minute."""
    directory = invocation.settings().geoip
    atlas = Atlas(directory)
    if atlas.problems:
        raise click.ClickException("\n".join(atlas.problems))
    for kind in atlas.databases:
        os.utime(directory / kind.filename)
    valid = [*atlas.databases, *([hosting.FILENAME] if atlas.hosting_list else [])]
    if not valid:
        raise click.ClickException("No database is installed. Run: telemetry-server geoip install")
    click.echo(f"Valid: {', '.join(valid)}. Running servers reload them within a minute.")


def _from_dbip(directory: Path, kind: DatabaseKind) -> Database:
    """The database of this month, or of last month if this one is not published yet."""
    this_month = _today().replace(day=1)
    try:
        return _from_url(directory, dbip_lite_url(kind, this_month), kind, None)
    except NotPublished:
        last_month = this_month - timedelta(days=1)
        return _from_url(directory, dbip_lite_url(kind, last_month), kind, None)


def _from_url(directory: Path, url: str, kind: DatabaseKind | None, sha256: str | None) -> Database:
    try:
        with closing(open_url(url)) as answer:
            return _from_stream(directory, answer, answer.length, kind, sha256)
    except UnusableDatabase as problem:
        raise click.ClickException(f"{shown(url)}: {problem.detail}") from problem
    except (OSError, HTTPException) as problem:
        raise click.ClickException(
            f"{shown(url)} cannot be installed: {getattr(problem, 'reason', problem)}\n"
            "If this machine cannot reach it, download it elsewhere, copy it here and run:\n"
            "  telemetry-server geoip install --source FILE"
        ) from problem


def _from_stream(
    directory: Path, stream: Any, size: int | None, kind: DatabaseKind | None, sha256: str | None
) -> Database:
    console = Console(stderr=True)
    named = str(kind) if kind else "database"
    shown = wrap_file(stream, size, description=named, console=console, transient=True) if size else None
    with shown or nullcontext(stream) as source:
        return install_from(source, directory, kind, sha256=sha256)


def _report(database: Database) -> None:
    built = f", built {database.built_on}" if database.built_on else ""
    click.echo(f"{database.kind}: {database.source}{built}")
    for kind in database.also:
        click.echo(f"  It also contains {kind}; to use it for that as well, install it with --kind {kind}.")
    if database.attribution:
        text, url = database.attribution
        click.echo(f'  Its license requires the link "{text}" ({url}) on pages that show its results.')


def _about(kind: str, database: Database | HostingList | None) -> dict[str, Any]:
    if database is None:
        return {"kind": kind, "source": None, "built_on": None, "age_days": None, "bytes": None, "also": []}
    built_on = database.built_on
    return {
        "kind": kind,
        "source": database.source,
        "built_on": built_on and built_on.isoformat(),
        "age_days": built_on and (_today() - built_on).days,
        "bytes": database.fingerprint.size,
        "also": database.also if isinstance(database, Database) else [],
    }


def _cells(row: dict[str, Any]) -> list[str]:
    if row["source"] is None:
        return [row["kind"], "not installed", "", "", ""]
    age = row["age_days"]
    old = age is not None and age > OLD_AFTER.days
    days = "unknown" if age is None else f"{age}d" + (": old, run geoip install" if old else "")
    source = f"{row['source']} (also {', '.join(row['also'])})" if row["also"] else row["source"]
    return [row["kind"], source, row["built_on"] or "unknown", days, f"{row['bytes'] / 2**20:.1f} MiB"]


def _today() -> date:
    return datetime.now(UTC).date()
