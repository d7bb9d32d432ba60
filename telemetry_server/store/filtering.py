"""Filters as SQL: conditions made of the columns declared here, values only as parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from telemetry_server.check.days import beginning, end
from telemetry_server.check.filters.parser import ANY_VERSION, BadFilter, version_key
from telemetry_server.check.filters.terms import (
    EXACT,
    Filter,
    Operator,
    Term,
    Value,
    ValueType,
    printed,
)
from telemetry_server.check.licenses.cells import in_unicode
from telemetry_server.errors import BadRequest
from telemetry_server.model import NONE, UNKNOWN
from telemetry_server.store.database import Connection
from telemetry_server.store.dimensions import BY_NAME, DIMENSIONS
from telemetry_server.store.queries import load

SQL = load(__name__)

Columns: TypeAlias = Mapping[str, str]

VERSION_NUMBERS = "version numbers"

NOW: Columns = {
    "product": "f.product_id",
    "simulated": "f.product_id",
    "license": "f.license_id",
    **{one.name: one.present for one in DIMENSIONS},
    VERSION_NUMBERS: "f.version_key",
    "life_since": "f.life_since",
    "address": "i.client_address",
    "network": "i.client_address",
    "first_seen": "f.first_received_at",
    "last_seen": "i.last_received_at",
    "attention": "i.received",
    "id": "f.installation_id",
}
"""Of installation_facts AS f and installations AS i."""

THEN: Columns = {
    "product": "d.product_id",
    "simulated": "d.product_id",
    **{one.name: one.then for one in DIMENSIONS if one.then},
    VERSION_NUMBERS: "version_key(s.service_version)",
    "id": "d.installation_id",
}
"""On a day: of installation_days AS d and its states AS s."""

PRODUCTS: Columns = {"product": "r.product_id", "simulated": "r.product_id"}
"""Of any table AS r that has products, such as fleet_now."""

COHORTS: Columns = PRODUCTS
"""Of cohort_weeks AS r."""

FEATURES: Columns = {**PRODUCTS, "feature": "r.feature"}
"""Of feature_days AS r."""

ROLLED_UP: Columns = {**PRODUCTS, "verdict": "r.verdict"}
"""Of fleet_days AS r."""

LICENSES: Columns = {
    "product": "l.product_id",
    "simulated": "l.product_id",
    "status": "l.status",
    "type": "l.type",
    "source": f"coalesce(l.source, '{UNKNOWN}')",
    "customer": "l.customer_id",
    "order": "l.order_reference",
    "edition": f"coalesce(l.edition, '{UNKNOWN}')",
    "hint": "l.key_hint",
    "seats": "l.seats",
    "seats_used": "l.seats_used",
    "exceeded": "coalesce(l.seats_used > l.seats, false)",
    "starts": "l.starts_at",
    "expires": "l.expires_at",
    "created": "l.created_at",
    "updated": "l.updated_at",
    "id": "l.license_id",
}
"""Of licenses AS l."""

CUSTOMERS: Columns = {
    "email": "lower(c.email)",
    "name": "c.name",
    "company": "c.company",
    "tax_id": "c.tax_id",
    "account": "c.account",
    "created": "c.created_at",
    "updated": "c.updated_at",
    "id": "c.customer_id",
}
"""Of customers AS c."""

_ATTENTION = {
    "missing": "i.received <> int8multirange(int8range(1, upper(i.received)))",
    "lost": "i.lost > 0",
    "forked": "EXISTS (SELECT FROM forks AS k WHERE k.installation_id = f.installation_id)",
}
_MIRRORED = {
    Operator.LESS: Operator.MORE,
    Operator.AT_MOST: Operator.AT_LEAST,
    Operator.MORE: Operator.LESS,
    Operator.AT_LEAST: Operator.AT_MOST,
}
_POSITIVE = {Operator.UNEQUAL: Operator.EQUAL}
_TYPES = {ValueType.NUMBER: "bigint"}
_COLUMNS_OF_PRODUCTS = {"product": "slug", "simulated": "is_simulated"}
_STARTS, _EXPIRES = "starts", "expires"
_OF_PRODUCTS = {*_COLUMNS_OF_PRODUCTS, _STARTS, _EXPIRES}
_WITHOUT_ZONE = "UTC"
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
_BEGINNING = re.compile(r"[vV]?([0-9]{1,15}(?:\.[0-9]{1,15}){0,6})\.\*")
_ID_DIGITS = 32
_MOST_NAMED = 20


class NotThen(BadRequest):
    """Only the present value of this is known: it cannot be asked over time."""

    code = "only_now"


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL that is true of the wanted rows, and the values of its parameters."""

    sql: str
    values: tuple[Any, ...]


def by_value(columns: Columns, name: str) -> str:
    """The values of a field as text, to count by."""
    return "p.slug" if name == "product" else BY_NAME[name].text(columns[name])


async def condition(
    connection: Connection, wanted: Filter, columns: Columns, *, now: datetime, first: int
) -> Condition:
    """The condition of a filter on `columns`; its parameters are numbered from `first` on.

    Time spans end at `now`. Raises NotThen, and BadFilter for an unknown product.
    """
    if unknown := sorted(wanted.fields - columns.keys()):
        raise NotThen(f"{', '.join(unknown)}: only the present value is known. Omit from, to and step.")
    products = await connection.fetch(SQL["products_to_filter"]) if wanted.fields & _OF_PRODUCTS else []
    compiling = _Compiling(columns, products, now, first)
    return Condition(" AND ".join(map(compiling.term, wanted.terms)) or "TRUE", tuple(compiling.values))


async def simulated(connection: Connection, wanted: Filter) -> list[str]:
    """The slugs of the simulated products that match a filter."""
    products = await connection.fetch(SQL["products_to_filter"])
    terms = [
        (_COLUMNS_OF_PRODUCTS[term.field.name], term.values, term.operator is not Operator.UNEQUAL)
        for term in wanted.terms
        if term.field.name in _COLUMNS_OF_PRODUCTS
    ]
    return sorted(
        row["slug"]
        for row in products
        if row["is_simulated"] == "true"
        and all((row[column] in values) is equal for column, values, equal in terms)
    )


@dataclass(slots=True)
class _Compiling:
    """Compiles one filter to SQL; each method returns a condition and appends its parameters."""

    columns: Columns
    products: list[Any]
    now: datetime
    first: int
    values: list[Any] = field(default_factory=list)

    def term(self, term: Term) -> str:
        holds = self._holds(term)
        return f"({holds}) IS NOT TRUE" if term.operator is Operator.UNEQUAL else f"({holds})"

    def _holds(self, term: Term) -> str:
        column = self.columns[term.field.name]
        match term.field.name, term.field.kind:
            case (("product" | "simulated"), _):
                return self._one_of(column, self._product_ids(term), "uuid")
            case "attention", _:
                return " OR ".join(_ATTENTION[str(value)] for value in term.values)
            case _, ValueType.EMAIL:
                emails = map(str, term.values)
                both = dict.fromkeys(form for each in emails for form in (each, in_unicode(each)))
                return self._one_of(column, tuple(both), "text")
            case _, ValueType.FLAG:
                flags = [value == "true" for value in term.values if value != UNKNOWN]
                return self._one_of_or_null(column, flags, "boolean", null=UNKNOWN in term.values)
            case _, ValueType.IDENTITY:
                ids = [UUID(str(value)) for value in term.values if value != NONE]
                return self._one_of_or_null(column, ids, "uuid", null=NONE in term.values)
            case _, ValueType.TIME | ValueType.TIME_AHEAD:
                return " OR ".join(self._time(column, term, value) for value in term.values)
            case _, ValueType.PREFIX:
                spans = [map(self._bind, identities(str(value))) for value in term.values]
                return " OR ".join(f"{column} BETWEEN {lowest} AND {highest}" for lowest, highest in spans)
            case _, ValueType.ADDRESS | ValueType.ADDRESS_RANGE:
                return self._address(column, term)
            case _, ValueType.VERSION:
                return self._version(column, term)
        return self._plain(column, term)

    def _plain(self, column: str, term: Term) -> str:
        if term.field.kind is ValueType.NUMBER and term.operator not in EXACT:
            return f"{column} {term.operator} {self._bind(term.values[0])}::bigint"
        return self._one_of(column, term.values, _TYPES.get(term.field.kind, "text"))

    def _address(self, column: str, term: Term) -> str:
        if term.field.kind is ValueType.ADDRESS_RANGE:
            return " OR ".join(f"{column} <<= {self._bind(str(value))}::inet" for value in term.values)
        addresses = [str(value) for value in term.values if value != UNKNOWN]
        return self._one_of_or_null(column, addresses, "inet", null=UNKNOWN in term.values)

    def _version(self, column: str, term: Term) -> str:
        """7.4.* by numbers, so that 7.4 and v7.4.2-rc1 are among them; of another beginning by its text."""
        if term.operator not in EXACT:
            compared = self._bind(version_key(str(term.values[0])))
            return f"{self.columns[VERSION_NUMBERS]} {term.operator} {compared}::bigint[]"
        whole = [value for value in map(str, term.values) if not value.endswith(ANY_VERSION)]
        holds = [self._one_of(column, whole, "text")] if whole else []
        for value in map(str, term.values):
            if found := _BEGINNING.fullmatch(value):
                numbers = list(map(int, found[1].split(".")))
                first, after = (self._bind(each) for each in (numbers, [*numbers[:-1], numbers[-1] + 1]))
                key = self.columns[VERSION_NUMBERS]
                holds.append(f"({key} >= {first}::bigint[] AND {key} < {after}::bigint[])")
            elif value not in whole:
                holds.append(f"starts_with({column}, {self._bind(value.removesuffix(ANY_VERSION))}::text)")
        return " OR ".join(holds)

    def _one_of(self, column: str, values: Any, type_: str) -> str:
        """With = for a single value, so that the rows can be read in the order of an index."""
        if len(values) == 1:
            return f"{column} = {self._bind(values[0])}::{type_}"
        return f"{column} = ANY({self._bind(list(values))}::{type_}[])"

    def _one_of_or_null(self, column: str, values: Any, type_: str, *, null: bool) -> str:
        holds = [self._one_of(column, values, type_)] if values else []
        return " OR ".join([*holds, *[f"{column} IS NULL"] * null])

    def _product_ids(self, term: Term) -> list[UUID]:
        """The products by id, so that the planner knows the number of their rows; there are few."""
        column = _COLUMNS_OF_PRODUCTS[term.field.name]
        if term.field.name == "product":
            _refuse_unknown(term, sorted(row["slug"] for row in self.products))
        return [row["product_id"] for row in self.products if row[column] in term.values]

    def _time(self, column: str, term: Term, value: Value) -> str:
        operator = term.operator
        match value:
            case str():
                return f"{column} IS NULL"
            case timedelta() if term.field.kind is ValueType.TIME_AHEAD:
                return f"{column} {operator} {self._bind(self.now + value)}"
            case timedelta():
                return f"{column} {_MIRRORED[operator]} {self._bind(self.now - value)}"
            case datetime():
                return f"{column} {_POSITIVE.get(operator, operator)} {self._bind(value)}"
            case date() if term.field.name in {_STARTS, _EXPIRES}:
                return self._day_of_license(column, term, value)
            case date():
                return self._day(column, operator, value, _WITHOUT_ZONE)
        raise AssertionError(value)

    def _day_of_license(self, column: str, term: Term, day: date) -> str:
        """A day in the time zone of each license's product; a license expires at the end of its day."""
        zones: dict[str, list[UUID]] = {}
        for row in self.products:
            zones.setdefault(row["time_zone"], []).append(row["product_id"])
        at_its_end = term.field.name == _EXPIRES
        days = {
            zone: self._day(column, term.operator, day, zone, at_its_end=at_its_end)
            for zone in zones or {_WITHOUT_ZONE: []}
        }
        if len(days) == 1:
            return next(iter(days.values()))
        product = self.columns["product"]
        return " OR ".join(
            f"({self._one_of(product, zones[zone], 'uuid')} AND ({holds}))" for zone, holds in days.items()
        )

    def _day(self, column: str, operator: Operator, day: date, zone: str, *, at_its_end: bool = False) -> str:
        """With `at_its_end`, the first moment after a day belongs to that day, and not to the next one."""
        first, after = beginning(day, zone), end(day, zone) or _LAST_MOMENT
        since, before = (">", "<=") if at_its_end else (">=", "<")
        one_sided = {
            Operator.LESS: (before, first),
            Operator.AT_LEAST: (since, first),
            Operator.AT_MOST: (before, after),
            Operator.MORE: (since, after),
        }
        sides = [one_sided[operator]] if operator in one_sided else [(since, first), (before, after)]
        return " AND ".join(f"{column} {compared} {self._bind(moment)}" for compared, moment in sides)

    def _bind(self, value: Any) -> str:
        self.values.append(value)
        return f"${self.first + len(self.values) - 1}"


def _refuse_unknown(term: Term, slugs: list[str]) -> None:
    """Raises BadFilter: a misspelt product would look like one without installations."""
    if unknown := sorted({str(value) for value in term.values} - set(slugs)):
        there = f"The products are {', '.join(slugs[:_MOST_NAMED])}" if slugs else "There is none yet"
        more = f" and {len(slugs) - _MOST_NAMED:,} more" if len(slugs) > _MOST_NAMED else ""
        raise BadFilter(f"There is no product {', '.join(map(printed, unknown))}. {there}{more}.")


def identities(prefix: str) -> tuple[UUID, UUID]:
    """The lowest and the highest identity that begin with `prefix`: hexadecimal digits and hyphens."""
    digits = prefix.replace("-", "")[:_ID_DIGITS]
    return UUID(digits.ljust(_ID_DIGITS, "0")), UUID(digits.ljust(_ID_DIGITS, "f"))
