"""The left rail: the pages there are and the viewer may see, each with its key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from telemetry_server.routing import Route
from telemetry_server.show.viewer import Viewer
from telemetry_server.store.access.saved_views import SavedView


@dataclass(frozen=True, slots=True)
class Entry:
    """A page in the rail. `key`: after g, it opens the page; a view has none.

    `icon`: the path of its drawing, 16 by 16.
    """

    path: str
    name: str
    key: str
    icon: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An entry as a page shows it."""

    entry: Entry
    href: str
    current: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the rail; the first has no title."""

    title: str
    entries: tuple[Shown, ...]


_VIEWS, _BOOKMARK = "Saved views", "M4 2h8v12l-4-3-4 3z"
_SECTIONS: Mapping[str, tuple[Entry, ...]] = {
    "": (
        Entry("/", "Overview", "o", "M2.5 13.5v-5M6.2 13.5v-9M9.8 13.5v-6M13.5 13.5v-11"),
        Entry("/to-clear-up", "To clear up", "u", "M8 1.8 14.6 13.5H1.4zM8 6v3.6M8 11.4v.4"),
        Entry("/cases", "Cases", "n", "M2 5h12v8.5H2zM5.8 5V2.5h4.4V5M2 8.6h12"),
        Entry("/installations", "Installations", "i", "M2 3h12v4.2H2zM2 8.8h12V13H2zM4.4 5.1h.4M4.4 10.9h.4"),
        Entry("/licenses", "Licenses", "l", "M5.5 7.5a3 3 0 1 1 0-.1zM8.4 7.5h5.8v2.6M11.6 7.5v2"),
        Entry("/customers", "Customers", "c", "M8 7.6a2.7 2.7 0 1 1 .1 0zM2.6 14a5.4 5.4 0 0 1 10.8 0"),
        Entry(
            "/features",
            "Features",
            "f",
            "M2.5 2.5h4v4h-4zM9.5 2.5h4v4h-4zM2.5 9.5h4v4h-4zM9.5 11.5h4M11.5 9.5v4",
        ),
        Entry("/releases", "Releases", "r", "M2.4 8.6V2.4h6.2l5.2 5.2-6.2 6.2zM5.4 5.4h.2"),
        Entry("/changes", "Changes", "h", "M2.5 5.5h9.5M9.5 3l2.5 2.5L9.5 8M13.5 10.5H4M6.5 8 4 10.5 6.5 13"),
        Entry(
            "/map",
            "Map",
            "m",
            "M8 14s4.8-4.2 4.8-7.7a4.8 4.8 0 0 0-9.6 0C3.2 9.8 8 14 8 14zM8 8a1.6 1.6 0 1 1 .1 0z",
        ),
        Entry(
            "/support",
            "Support",
            "d",
            "M8 14.2a6.2 6.2 0 1 1 .1 0zM8 10.8a2.8 2.8 0 1 1 .1 0zM3.8 3.8l2.2 2.2M10 10l2.2 2.2",
        ),
        Entry("/live", "Live", "v", "M1.5 8h3l2-5 3 10 2-5h3"),
    ),
    "Server": (
        Entry("/intake", "Intake", "t", "M8 2v7.5M4.8 6.4 8 9.6l3.2-3.2M2.5 10.5v3h11v-3"),
        Entry("/bundles", "Bundles", "b", "M2 5.5 8 2.5l6 3v5l-6 3-6-3zM2 5.5l6 3 6-3M8 8.5v5"),
        Entry("/settings", "Settings", "s", "M2 4.5h7M12 4.5h2M2 11.5h2M7 11.5h7M10.5 2.7v3.6M5.5 9.7v3.6"),
    ),
    _VIEWS: (Entry("/views", "All views", "w", "M2 4h12M2 8h12M2 12h12"),),
    "Accounts": (
        Entry(
            "/people",
            "People",
            "p",
            "M6 7.2a2.3 2.3 0 1 1 .1 0zM1.6 13a4.4 4.4 0 0 1 8.8 0"
            "M10.6 3a2.3 2.3 0 0 1 0 4.2M12 9.4a4.4 4.4 0 0 1 2.4 3.6",
        ),
        Entry("/tokens", "Service tokens", "k", "M2.5 3.5h11v9h-11zM5 7l1.6 1.4L5 9.8M8.4 10h2.8"),
        Entry(
            "/links",
            "Share links",
            "e",
            "M6.6 9.4a2.6 2.6 0 0 0 3.7 0l2.6-2.6a2.6 2.6 0 0 0-3.7-3.7l-.8.8"
            "M9.4 6.6a2.6 2.6 0 0 0-3.7 0L3.1 9.2a2.6 2.6 0 0 0 3.7 3.7l.8-.8",
        ),
        Entry(
            "/privacy/office",
            "Privacy",
            "y",
            "M8 1.6 13.6 4v4c0 3.4-2.4 5.6-5.6 6.6C4.8 13.6 2.4 11.4 2.4 8V4zM5.6 8l1.8 1.8L10.6 6",
        ),
        Entry("/audit", "Audit", "a", "M4 1.8h8v12.4H4zM6.2 5h3.6M6.2 8h3.6M6.2 11h2"),
    ),
}


def rail(
    routes: Iterable[Route],
    viewer: Viewer,
    here: str,
    link: Callable[[str], str],
    views: Sequence[SavedView] = (),
) -> tuple[Section, ...]:
    """The sections of the rail for this viewer, with the views.

    `link` adds the scope of the page `here`; it is empty for a page that is not shown there.
    """
    path = here.partition("?")[0]
    pages = {route.path: route for route in routes if route.page and route.method == "GET"}

    def shown(entry: Entry) -> bool:
        found = pages.get(entry.path)
        return found is not None and found.permission in viewer.permissions

    saved = tuple(
        Shown(Entry(one.address, one.name, "", _BOOKMARK), one.address, one.address == here) for one in views
    )
    sections = (
        Section(
            title,
            (saved if title == _VIEWS else ())
            + tuple(
                Shown(one, href, _is_at(one.path, path))
                for one in entries
                if shown(one) and (href := link(one.path))
            ),
        )
        for title, entries in _SECTIONS.items()
    )
    return tuple(section for section in sections if section.entries)


def _is_at(entry: str, path: str) -> bool:
    return path == entry or (entry != "/" and path.startswith(f"{entry}/"))
