"""One installation: what the registry says of it, its present state, its timeline, its pings, evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from aiohttp import web

from telemetry_server import app_keys
from telemetry_server.errors import NotFound
from telemetry_server.permissions import Permission
from telemetry_server.routing import HTML, Parameter, get
from telemetry_server.show.addresses import shown_to
from telemetry_server.show.charts_lanes import Lanes, PingMark, TimeAxis, lane
from telemetry_server.show.charts_small import Ranked, RankedList
from telemetry_server.show.formatting import country, inert, plural, stamp
from telemetry_server.show.history import Entry, entries
from telemetry_server.show.query import IDENTIFIER, integer, one_of, read_path, read_query
from telemetry_server.show.recorded_views import record
from telemetry_server.show.render import attributions, page
from telemetry_server.show.responses import path_with
from telemetry_server.show.scope import SCOPE, read_scope
from telemetry_server.show.serializers import installation_item
from telemetry_server.show.time_zone import zone_of
from telemetry_server.show.verdict_groups import group_of
from telemetry_server.show.verdicts import rests_on
from telemetry_server.show.viewer import VIEWER
from telemetry_server.store.fleet import installations
from telemetry_server.store.fleet.installations import InstallationDetails, Row
from telemetry_server.store.registry.license_lists import licenses_named

TABS = {
    "summary": "Summary",
    "timeline": "Timeline",
    "pings": "Pings",
    "features": "Features",
    "evidence": "Evidence",
}
PARAMETERS = (
    Parameter("installation_id", "Its id.", IDENTIFIER, where="path", required=True),
    Parameter("tab", "What to look at.", {**one_of(*TABS), "default": "summary"}),
    Parameter("before", "Show the pings before this number.", integer(1, installations.LAST_NUMBER)),
    *SCOPE,
)

_PINGS = 90
_CHANGES = 100
_FEATURES = 200

CARDS = (
    ("License", "license", ("status", "source", "source_detail", "edition", "key_hint", "expires_at")),
    ("Service", "service", ("version", "build", "environment")),
    ("Place", "place", ("country", "region", "city", "organisation", "asn", "hosting")),
    ("Operating system", "os", ("name", "version", "type", "kernel")),
    ("Virtualization", "virtualization", ("vm", "container", "cloud")),
    ("Host", "host", ("arch",)),
    ("Runtime", "runtime", ("name", "version")),
    ("Telemetry", "privacy", ("level", "notice_version")),
)
OTHERS: Mapping[tuple[str, str], str] = {
    ("license", "status"): "license_status",
    ("license", "source"): "license_source",
    ("license", "source_detail"): "license_source_detail",
    ("license", "edition"): "edition",
    ("service", "version"): "version",
    ("service", "environment"): "environment",
    ("place", "country"): "country",
    ("place", "asn"): "asn",
    ("os", "name"): "os_name",
    ("virtualization", "vm"): "vm",
    ("virtualization", "container"): "container",
    ("virtualization", "cloud"): "cloud",
    ("host", "arch"): "arch",
}
"""The parameter that finds other installations with the same value."""


@dataclass(frozen=True, slots=True)
class HeadFlag:
    """Something to look into, and where the page describes it."""

    text: str
    href: str


async def installation(request: web.Request) -> web.Response:
    asked = read_query(request, PARAMETERS)
    pool, installation_id = request.app[app_keys.POOL], read_path(request, "installation_id")
    known = await installations.installation(pool, installation_id)
    if known is None or not request[VIEWER].sees(known.row["product"]):
        raise NotFound("No installation has this id. It may have been erased, or has never sent a ping.")
    summary = await summary_of(request, known)
    scope = await read_scope(request, {name: value for name, value in asked.items() if name != "product"})
    return page(
        request,
        "installation.html",
        scope=scope,
        tab=asked["tab"],
        tabs=[(text, _tab(request, name), name == asked["tab"]) for name, text in TABS.items()],
        attributions=attributions(request),
        **summary,
        **await _of_tab(request, summary["known"], asked),
    )


async def summary_of(request: web.Request, known: InstallationDetails) -> dict[str, Any]:
    """What the head and the summary of an installation say, as far as the viewer may see it."""
    viewer = request[VIEWER]
    [row], forks = shown_to(viewer, [known.row]), shown_to(viewer, known.forks)
    licenses = viewer.may(Permission.LICENSES)
    shown = replace(known, row=row, forks=forks, license=known.license if licenses else None)
    return {
        "item": installation_item(row),
        "known": shown,
        "hostname": row["hostname"],
        "rests_on": rests_on(known.row, known.license, licenses=licenses),
        "flags": _flags(f"/installations/{row['installation_id']}", known),
        "license": await _license(request, shown),
        "cards": CARDS,
        "others": OTHERS,
    }


async def _of_tab(
    request: web.Request, known: InstallationDetails, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What only the chosen tab shows."""
    if asked["tab"] == "features":
        return {"features": _features(known)}
    if asked["tab"] not in {"timeline", "pings"}:
        return {}
    pool, installation_id = request.app[app_keys.POOL], known.row["installation_id"]
    below = asked.get("before", installations.LAST_NUMBER)
    rows = await installations.history(pool, installation_id, below=below, limit=_PINGS + 1)
    more, interval = len(rows) > _PINGS, timedelta(seconds=known.row["ping_interval_seconds"])
    pings = entries(rows[:_PINGS], rows[_PINGS] if more else None, interval)
    found: dict[str, Any] = {
        "entries": pings,
        "older": path_with(request, before=str(rows[_PINGS - 1]["sequence"])) if more else None,
        "newest": path_with(request, before=None) if "before" in asked else None,
    }
    if asked["tab"] == "timeline":
        changes = await installations.changes(pool, installation_id=installation_id, limit=_CHANGES)
        changes = shown_to(request[VIEWER], changes)
        found["timeline"] = [
            list(each) for _, each in groupby(changes, key=itemgetter("changed_at", "sequence"))
        ]
        found["lanes"] = _lanes(request, known, changes, pings)
    return found


def _tab(request: web.Request, name: str) -> str:
    return path_with(request, tab=None if name == "summary" else name, before=None)


def _features(known: InstallationDetails) -> RankedList:
    rows = [Ranked(inert(row["feature"]), int(row["uses"])) for row in known.features[:_FEATURES]]
    return RankedList("Features", rows, 0, len(known.features) - len(rows), unit="Uses")


def _flags(path: str, known: InstallationDetails) -> list[HeadFlag]:
    """What is unusual about this copy, the most serious first; `path` is that of its page."""
    row, evidence = known.row, f"{path}?tab=evidence"
    flags = []
    if known.fork_count or known.children or known.parent:
        flags.append(HeadFlag("shared identity", f"{evidence}#identity"))
    if row["claim_mismatch"]:
        flags.append(HeadFlag(f"claims to be {inert(row['license_status'])}", f"{evidence}#registry"))
    if row["source_mismatch"]:
        flags.append(
            HeadFlag(f"names another source: {inert(row['license_source'])}", f"{evidence}#registry")
        )
    if row["missing"]:
        flags.append(HeadFlag(f"{plural(row['missing'], 'ping')} missing", f"{evidence}#identity"))
    if row["last_occurred_at"] and abs(row["last_occurred_at"] - row["last_received_at"]) > timedelta(days=1):
        flags.append(HeadFlag("wrong clock", f"{path}?tab=pings"))
    return flags


async def _license(request: web.Request, known: InstallationDetails) -> dict[str, Any] | None:
    """Its license with seats and, for those who may see it, its customer."""
    if known.license is None:
        return None
    viewer, found = request[VIEWER], dict(known.license)
    found["customer"] = None
    if viewer.may(Permission.CUSTOMERS):
        named = await licenses_named(request.app[app_keys.POOL], [found["license_id"]])
        customer = named.get(found["license_id"], {})
        found |= {"customer": customer.get("customer"), "customer_id": customer.get("customer_id")}
        if found["customer"]:
            await record(request.app[app_keys.POOL], request, "customer.view", found["customer_id"])
    return found


def _lanes(
    request: web.Request, known: InstallationDetails, changes: Sequence[Row], pings: Sequence[Entry]
) -> Lanes:
    now, item = datetime.now(UTC), installation_item(known.row)
    axis = TimeAxis(known.row["first_received_at"], now)
    facts: Any = item
    shown = (
        lane("Life", "life", known.row["life"], changes, axis),
        lane("Version", "service.version", facts.service.version, changes, axis),
        lane("Country", "place.country", facts.place.country, changes, axis),
        lane("OS version", "os.version", facts.os.version, changes, axis),
    )
    verdicts = lane("Verdict", "verdict", known.row["verdict"], changes, axis, classes=True)
    named = [
        replace(one, name=f"g-{group_of(one.name).name}", value=one.value.replace("_", " "))
        for one in verdicts.segments
    ]
    places = [
        replace(one, value=country(one.value)) if one.value != "unknown" else one for one in shown[2].segments
    ]
    lanes = (
        replace(verdicts, segments=tuple(named)),
        *shown[:2],
        replace(shown[2], segments=tuple(places)),
        shown[3],
    )
    return Lanes(lanes, tuple(_marks(pings, known.forks, axis)), axis.labels(zone_of(request)))


def _marks(pings: Sequence[Entry], forks: Sequence[Row], axis: TimeAxis) -> list[PingMark]:
    """Pings at their time; missing ones between those beside them; forks last, on top."""
    marks = []
    for entry, before in zip(pings, [*pings[1:], None], strict=True):
        at = axis.x(entry.row["received_at"])
        if before is not None and entry.missing:
            low = axis.x(before.row["received_at"])
            text = f"missing: {entry.missing[0]} to {entry.missing[1] - 1}"
            marks += [
                PingMark(round(low + (at - low) * (number + 1) / (entry.hollow + 1), 2), "hollow", text)
                for number in range(entry.hollow)
            ]
        kind = "suspect" if entry.row["time_suspect"] else "ping"
        marks.append(PingMark(at, kind, f"#{entry.row['sequence']}, {stamp(entry.row['received_at'])}"))
    marks += [
        PingMark(
            axis.x(fork["received_at"]),
            "fork",
            f"#{fork['sequence']} a second time, {stamp(fork['received_at'])}",
        )
        for fork in forks
    ]
    return marks


ROUTES = (
    get(
        "/installations/{installation_id}",
        installation,
        "One installation",
        HTML,
        PARAMETERS,
        audited="installation",
        errors=(NotFound,),
        permission=Permission.INSTALLATIONS,
    ),
)
