"""Questions about the use of features by version, edition, verdict and life. Reads only."""

from datetime import datetime

from telemetry_server.check.filters.filter_fields import FEATURES as FIELDS
from telemetry_server.check.filters.terms import Filter, term
from telemetry_server.store.counts.active import counted_until
from telemetry_server.store.counts.counting import Counts, Span
from telemetry_server.store.database import Pool
from telemetry_server.store.dimensions import ALL
from telemetry_server.store.filtering import FEATURES, PRODUCTS, condition, simulated
from telemetry_server.store.queries import fill, load
from telemetry_server.store.reading import reading

SQL = load(__name__)

DIMENSIONS = (ALL, "version", "edition", "verdict", "life")
"""What the use of features is counted by."""


async def feature_use(
    pool: Pool, by: str, wanted: Filter, span: Span, *, now: datetime, limit: int, values: int = 20
) -> Counts:
    """The most widespread features: day (None: in total), feature, value, uses, installations, used_by,
    reports.

    `installations` is the peak of daily installations. `used_by` of `reports` is the share of copies: of
    those with the value that sent a ping, day by day, those that used the feature. A copy with a weekly ping
    weighs as much in both, so that the interval does not matter. `value` is None for the rare ones.
    """
    features = Filter(tuple(one for one in wanted.terms if one.field.name == "feature"))
    products = Filter(tuple(one for one in wanted.terms if one.field.name != "feature"))
    products += term(FIELDS["simulated"], "=", "true", "false")  # the key begins with the product
    dimension = "verdict" if by == ALL else by
    asked = (limit, span.first, span.last, span.step, dimension, values, by == ALL)
    async with reading(pool) as connection:
        of_features = await condition(connection, features, FEATURES, now=now, first=len(asked) + 1)
        first = len(asked) + len(of_features.values) + 1
        of_products = await condition(connection, products, PRODUCTS, now=now, first=first)
        statement = fill(SQL["feature_use"], filter=of_features.sql, products=of_products.sql)
        rows = await connection.fetch(statement, *asked, *of_features.values, *of_products.values)
        until = await counted_until(connection)
        return Counts(
            [dict(row) for row in rows] if until else None, until, await simulated(connection, wanted)
        )
