"""Dimensions: what installations are filtered and counted by, one row each.

Filters, facets, roll-ups, the present counts, the projection and the API's parameters are filled from this
table through slots of their statements. A dimension is a field of the filter language by the same name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from telemetry_server.model import NONE, UNKNOWN

ALL = "all"
"""The dimension with one value, '', which all installations have."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """`column`: of installation_facts AS f, and the parameter that asks for it.

    `state`: its value in a state, of states AS s, from which the column is projected. `day`: its value on a
    day, where installation_days AS d has it. With neither, only its present value is known.
    `rolled`: counted in fleet_days. `faceted`: shown as facets, and has a parameter. `flag`: a boolean, NULL
    if unknown. `added`: a later migration added the column; NULL until the job "catch up" has filled it.
    """

    name: str
    column: str
    state: str | None = None
    day: str | None = None
    rolled: bool = True
    faceted: bool = True
    flag: bool = False
    added: bool = False

    @property
    def present(self) -> str:
        """Its value now."""
        return _or_unknown(f"f.{self.column}") if self.added else f"f.{self.column}"

    @property
    def then(self) -> str | None:
        """Its value on a day."""
        return self.day or self.state

    def text(self, expression: str) -> str:
        """One of its values as text."""
        return _or_unknown(f"{expression}::text") if self.flag else expression


def _or_unknown(expression: str) -> str:
    return f"coalesce({expression}, '{UNKNOWN}')"


def _reported(column: str) -> str:
    """A value that the copy may omit."""
    return _or_unknown(f"s.{column}")


def _detected(column: str) -> str:
    """A value that the copy may omit, or report as not found."""
    return f"coalesce(s.{column}, CASE WHEN s.virtualization_told THEN '{NONE}' ELSE '{UNKNOWN}' END)"


DIMENSIONS = (
    Dimension("verdict", "verdict", day="d.verdict"),
    Dimension("status", "license_status", _reported("license_status")),
    Dimension("source", "license_source", _reported("license_source")),
    Dimension(
        "claim_mismatch", "claim_mismatch", day="d.claim_mismatch", rolled=False, faceted=False, flag=True
    ),
    Dimension(
        "source_mismatch", "source_mismatch", day="d.source_mismatch", rolled=False, faceted=False, flag=True
    ),
    Dimension("source_detail", "license_source_detail", _reported("license_source_detail"), added=True),
    Dimension("version", "version", _reported("service_version")),
    Dimension("edition", "edition", _reported("license_edition")),
    Dimension("environment", "environment", _reported("service_environment")),
    Dimension("os", "os_name", _reported("os_name")),
    Dimension("arch", "arch", _reported("host_arch"), added=True),
    Dimension("vm", "vm", _detected("virtualization_vm")),
    Dimension("container", "container", _detected("virtualization_container")),
    Dimension("cloud", "cloud", _detected("virtualization_cloud")),
    Dimension("country", "country", _reported("country")),
    Dimension("asn", "asn", _reported("asn")),
    Dimension("hosting", "hosting", "s.hosting::boolean", rolled=False, faceted=False, flag=True),
    Dimension("life", "life", rolled=False),
)
BY_NAME: Mapping[str, Dimension] = {one.name: one for one in DIMENSIONS}
FACETED = tuple(one for one in DIMENSIONS if one.faceted)
PROJECTED: Mapping[str, str] = {one.column: one.state for one in DIMENSIONS if one.state}
"""The columns of installation_facts that follow from a state, and their values."""
ADDED = tuple(one for one in DIMENSIONS if one.added)


def at_end_of_day(turned: str, turned_as: str, life: str, *, lost: str) -> dict[str, str]:
    """The values by name at the end of a day, NULL of lost copies: of installation_facts AS f, of a day AS d.

    Where no day and state were found, the present values; `life` holds the life, and is a value of its own.
    """
    values = {
        one.name: f"CASE WHEN d.state IS NULL THEN {one.text(one.present)} ELSE {one.text(one.then)} END"
        for one in DIMENSIONS
        if one.then and one.name != "verdict"
    }
    alive = {name: f"CASE WHEN {life} <> '{lost}' THEN {value} END" for name, value in values.items()}
    return alive | {"life": life, turned: turned_as}


def grouping(values: Mapping[str, str], *, otherwise: str, value: str, total: bool = True) -> dict[str, str]:
    """The slots of a statement that counts by each of the dimensions `values` in one pass.

    columns: the values by name. sets: the grouping sets, with that of the `total`. dimension and value: those
    of a group; `otherwise` and `value` for the total.
    """
    names = [f'"{name}"' for name in values]
    cases = " ".join(
        f"WHEN grouping({quoted}) THEN '{name}'" for quoted, name in zip(names, values, strict=True)
    )
    return {
        "columns": _listed(f'{expression} AS "{name}"' for name, expression in values.items()) or "NULL",
        "dimension": f"CASE 0 {cases} ELSE '{otherwise}' END" if cases else f"'{otherwise}'",
        "value": f"coalesce({_listed([*names, value])})",
        "sets": _listed([*["()"] * total, *(f"({name})" for name in names)]),
    }


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)
