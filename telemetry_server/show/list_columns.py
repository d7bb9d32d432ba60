"""The columns of the list of installations: which there are, and which are shown. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from telemetry_server.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Column:
    """A column after that of the verdict. `order`: what it sorts by; None: it does not."""

    name: str
    title: str
    order: str | None = None
    usual: bool = True
    brief: bool = False
    customers: bool = False


COLUMNS = {
    column.name: column
    for column in (
        Column("customer", "Customer", customers=True, brief=True),
        Column("product", "Product", usual=False),
        Column("license", "License", "license"),
        Column("version", "Version", "version", brief=True),
        Column("edition", "Edition", usual=False),
        Column("environment", "Environment", usual=False),
        Column("system", "System", "system"),
        Column("arch", "Architecture", usual=False),
        Column("runs", "Runs on"),
        Column("place", "Place", "place", brief=True),
        Column("operator", "Operator", usual=False),
        Column("address", "Address", usual=False),
        Column("life", "Life", "life"),
        Column("spark", "30 days"),
        Column("pings", "Pings", usual=False),
        Column("first", "First ping", "first", usual=False),
        Column("last", "Last ping", "last", brief=True),
    )
}
"""By name, in the order of the list. `brief` ones are shown beside a panel."""
USUAL = tuple(name for name, column in COLUMNS.items() if column.usual)


def read_columns(text: str) -> tuple[str, ...]:
    """The columns of a text like "version,life", in the order of the list. Raises BadRequest."""
    wanted = set(text.split(","))
    if unknown := wanted - COLUMNS.keys():
        raise BadRequest(f"There is no column {min(unknown)[:40]!r}; there are {', '.join(COLUMNS)}.")
    return tuple(name for name in COLUMNS if name in wanted)


@dataclass(frozen=True, slots=True)
class Choice:
    """The columns that are shown, those chosen, and the menu: title, address that turns it, if it is on."""

    shown: Sequence[Column]
    chosen: Sequence[str]
    menu: Sequence[tuple[str, str, bool]]

    @property
    def text(self) -> str:
        return ",".join(self.chosen)


def choice(
    chosen: Sequence[str], path: Callable[[str], str], *, customers: bool, brief: bool = False
) -> Choice:
    """`path` is given the text of other columns. `customers`: with customers; `brief`: beside a panel."""
    there = [column for column in COLUMNS.values() if customers or not column.customers]
    shown = [column for column in there if column.name in chosen and (column.brief or not brief)]
    menu = [(column.title, path(_turned(column.name, chosen)), column.name in chosen) for column in there]
    return Choice(shown, chosen, menu)


def _turned(name: str, chosen: Sequence[str]) -> str:
    """At least one column stays."""
    others = [each for each in COLUMNS if (each in chosen) != (each == name)]
    return ",".join(others) or name
