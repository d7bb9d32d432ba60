"""The checks of this machine, without those of the database."""

import resource
import shutil
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import orjson

from telemetry_server.check.fields import load_registry
from telemetry_server.cli.doctor.findings import Finding, failed, ok, warning
from telemetry_server.enrich.places import hosting
from telemetry_server.enrich.places.databases import SLOW, Database
from telemetry_server.enrich.places.place import Atlas
from telemetry_server.keyring import KeyringError, read_keyring
from telemetry_server.receive.capacity import OPEN_FILES, connections_within
from telemetry_server.settings import Settings

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO
LOW_BYTES, SCARCE_BYTES = 2 << 30, 256 << 20
LOW_SHARE = 0.05
OLD_DAYS = 60
ANSWER_SECONDS = 3
FEW_CONNECTIONS = 1_000
RAISE_CAPACITY = (
    "Raise the limit of open files (LimitNOFILE=65536 in the systemd unit, ulimit -Hn) for more connections, "
    "TELEMETRY_MOST_INCOMING_MEBIBYTES for more bytes."
)
LONGEST_ANSWER = 64 << 10
IN_C = ("aiohttp._http_parser", "maxminddb.extension")


def data_directory(settings: Settings) -> Finding:
    name, path = "data directory", settings.data.resolve()
    if not path.is_dir():
        return failed(name, f"{path} does not exist.", "Run: telemetry-server serve --data DIR")
    if path.stat().st_mode & OTHERS_WRITE:
        return failed(name, f"Other users may write to {path}.", f"Run: chmod go-w {path}")
    return ok(name, str(path))


def retention(settings: Settings) -> Finding:
    """The retention of each class of fields, shown because "forever" should be a decision."""
    kept = load_registry().keeping(settings.retention_days).retention
    return ok("retention", ", ".join(f"{name} {how_long}" for name, how_long in kept.items()))


def keyring(settings: Settings) -> Finding:
    name, path = "keyring", settings.keyring
    try:
        found = read_keyring(path)
    except KeyringError as error:
        return failed(name, error.detail, "")
    if path.stat().st_mode & OTHERS_READ:
        return failed(name, f"Other users may read {path}.", f"Run: chmod 600 {path}")
    return ok(
        name, f"master keys {', '.join(found.masters)}; {found.current} in use. Keep a backup of {path}."
    )


def disk(settings: Settings) -> Finding:
    data = settings.data.resolve()
    name, path = "disk space", next(each for each in (data, *data.parents) if each.exists())
    usage = shutil.disk_usage(path)
    found = f"{usage.free / 2**30:.1f} GiB free for {path}"
    if usage.free < SCARCE_BYTES:
        return failed(name, found, "PostgreSQL stops when the disk is full: free some space.")
    if usage.free < LOW_BYTES or usage.free < LOW_SHARE * usage.total:
        return warning(name, found, "Free some space soon.")
    return ok(name, found)


def geoip(settings: Settings) -> Iterator[Finding]:
    atlas = Atlas(settings.geoip)
    for problem in atlas.problems:
        if problem != SLOW:
            yield warning("GeoIP", problem, "")
    for database in atlas.databases.values():
        yield _age(database)
    if listed := atlas.hosting_list:
        entries = f"networks: {listed.networks}, AS numbers: {len(listed.operators)}"
        yield ok("GeoIP", f"{hosting.FILENAME}: {entries}, written on {listed.built_on}")
    if not atlas.databases:
        yield warning(
            "GeoIP", "No database: places of addresses are unknown.", "Run: telemetry-server geoip install"
        )


def _age(database: Database) -> Finding:
    built_on = database.built_on
    found = f"{database.kind}: {database.source}, built on {built_on or 'an unknown day'}"
    if built_on and (datetime.now(UTC).date() - built_on).days > OLD_DAYS:
        return warning("GeoIP", found, "It is old. Run: telemetry-server geoip install")
    return ok("GeoIP", found)


def extensions() -> Finding:
    missing = [module for module in IN_C if find_spec(module) is None]
    if missing:
        return warning(
            "C extensions",
            f"{', '.join(missing)} missing: all works, but slowly.",
            "Install a C compiler, then: pip install --force-reinstall aiohttp maxminddb",
        )
    loop = "uvloop" if find_spec("uvloop") else "the loop of asyncio; the extra [fast] installs uvloop"
    return ok("C extensions", f"all installed; {loop}")


def server(settings: Settings) -> Iterator[Finding]:
    """Readiness and capacity, as a process of the running server reports them."""
    url = f"{settings.base_url}/readyz"
    try:
        readiness = _ask(url)
    except (OSError, ValueError) as error:  # URLError among them
        yield warning(
            "server",
            f"Nothing answers at {url} ({getattr(error, 'reason', error)}).",
            "Start it, or name its address: --listen HOST:PORT or TELEMETRY_PUBLIC_URL.",
        )
        yield _capacity_from_here()
        return
    checks = {check["name"]: check for check in readiness["checks"]}
    missed = [f"{name} {it['detail']}" for name, it in checks.items() if it["needed"] and not it["ok"]]
    if missed:
        found = f"It answers at {settings.base_url}, but is not ready: {'; '.join(missed)}."
        yield failed("server", found, "Its log says more.")
    else:
        yield ok("server", f"answers at {settings.base_url}")
    yield _capacity(checks["capacity"]) if "capacity" in checks else _capacity_from_here()


def _capacity(check: Mapping[str, Any]) -> Finding:
    if check["ok"]:
        return ok("capacity", check["detail"])
    return warning("capacity", f"{check['detail']}.", RAISE_CAPACITY)


def _capacity_from_here() -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = connections_within(OPEN_FILES if hard == resource.RLIM_INFINITY else hard)
    found = f"{connections} connections at most, for a process started from here"
    if connections >= FEW_CONNECTIONS:
        return ok("capacity", found)
    return warning("capacity", found, RAISE_CAPACITY)


def _ask(url: str) -> Mapping[str, Any]:
    """The document of /readyz. Raises OSError, or ValueError for an answer of another server."""
    try:
        answer = build_opener(ProxyHandler({})).open(url, timeout=ANSWER_SECONDS)
    except HTTPError as error:  # 503: not ready
        answer = error
    with answer:
        document = orjson.loads(answer.read(LONGEST_ANSWER))
    if not isinstance(document, dict) or "checks" not in document:
        raise ValueError(f"HTTP {answer.status}, without readiness")
    return document
