"""The questions of people and programs about a large fleet; a new line adds a measurement.

A question is a path and its parameters. Braces are filled with values of the fleet, each time another one: an
installation, a country, a day … (see `bench/scale.py`, `values_of`).
"""

from dataclasses import dataclass, field

from telemetry_server.store.counts.counting import ROLLED_DIMENSIONS

AIM_MS = 150
AIM_EXPORT_ROWS = 200_000
AIM_DAY_SECONDS = 20
AIM_INGEST = 0.8

ROLL_UPS = ("roll up pings", "roll up days", "roll up cohorts", "count the fleet")
MAKE_DUE = (
    "UPDATE days_due SET due_since = '2020-01-01'",
    "DELETE FROM rollup_marks WHERE name = 'count the fleet'",
)
"""Makes all that is due later due at once."""
OF_A_DAY = ("roll up pings", "roll up days")
"""The roll-ups that count a day; the others count weeks, and the present."""
DIMENSIONS = sorted(ROLLED_DIMENSIONS)


@dataclass(frozen=True)
class Question:
    """A question; `name` is its title in the report."""

    name: str
    path: str
    parameters: dict = field(default_factory=dict)


P = {"product": "{product}"}
LAST_90 = {"from": "{day_90}", "to": "{last_day}"}

QUESTIONS = (
    Question("page: overview", "/", {"range": "{range}", **P}),
    Question("page: overview, every product", "/", {"range": "{range}"}),
    Question("page: intake", "/intake", {"range": "{range}", **P}),
    Question("page: installations, no filter, first page", "/installations", {"seen": "{range}"}),
    Question("page: installations, no filter, further on", "/installations", {"after": "{installation}"}),
    Question(
        "page: installations, common filter",
        "/installations",
        {"filter": "country={common_country} verdict=valid"},
    ),
    Question("page: installations, rare filter", "/installations", {"filter": "asn={rare_asn}"}),
    Question(
        "page: installations, four terms",
        "/installations",
        {"filter": "verdict={bad_verdict} country={country} version>={version} last_seen<30d"},
    ),
    Question("page: one installation", "/installations/{installation}"),
    Question("API: installations, no filter", "/api/v1/installations", {"after": "{installation}"}),
    Question(
        "API: installations, common filter",
        "/api/v1/installations",
        {"filter": "country={common_country} verdict=valid", "after": "{installation}"},
    ),
    Question(
        "API: installations, rare filter",
        "/api/v1/installations",
        {"filter": "asn={rare_asn} verdict={bad_verdict}"},
    ),
    Question("API: one installation", "/api/v1/installations/{installation}"),
    Question("API: pings of one installation", "/api/v1/pings", {"installation_id": "{installation}"}),
    Question("API: newest pings before a moment", "/api/v1/pings", {"until": "{moment}"}),
    Question("API: changes before a moment", "/api/v1/changes", {"until": "{moment}"}),
    Question("API: changes of a field", "/api/v1/changes", {"field": "{changed_field}", "until": "{moment}"}),
    *(
        Question(f"API: fleet by {by}, now", "/api/v1/fleet", {"by": by, "limit": "{limit}", **P})
        for by in DIMENSIONS
    ),
    *(
        Question(
            f"API: fleet by {by}, now, filtered",
            "/api/v1/fleet",
            {"by": by, "filter": "country={country}", **P},
        )
        for by in ("verdict", "version", "asn")
    ),
    *(
        Question(
            f"API: fleet by {by}, 90 days",
            "/api/v1/fleet",
            {"by": by, "step": "{step}", "limit": "{limit}", **LAST_90, **P},
        )
        for by in DIMENSIONS
    ),
    Question(
        "API: fleet by country, 90 days, of a verdict",
        "/api/v1/fleet",
        {"by": "country", "filter": "verdict={bad_verdict}", **LAST_90, **P},
    ),
    Question("API: features, 90 days", "/api/v1/features", {**LAST_90, "limit": "{limit}", **P}),
    Question(
        "API: one feature, day by day",
        "/api/v1/features",
        {**LAST_90, "step": "day", "feature": "{feature}", **P},
    ),
    Question("API: cohorts", "/api/v1/cohorts", {"from": "{day_90}", **P}),
    Question("API: licenses", "/api/v1/licenses", {"after": "{license}", **P}),
    Question(
        "API: licenses of a status", "/api/v1/licenses", {"status": "revoked", "after": "{license}", **P}
    ),
    Question("API: licenses of a customer", "/api/v1/licenses", {"customer_id": "{customer}"}),
    Question("API: one license", "/api/v1/licenses/{license}"),
    Question("API: customers", "/api/v1/customers", {"after": "{customer}"}),
    Question("API: products", "/api/v1/products"),
)

EXPORTS = (
    ("installations, csv, command", ("installations", "--format", "csv")),
    ("installations, ndjson, command", ("installations", "--format", "ndjson")),
    ("installations, parquet, command", ("installations", "--format", "parquet")),
    ("pings of a day, csv, command", ("pings", "--format", "csv", "--since", "{last_day_begins}")),
    ("pings of a day, ndjson, command", ("pings", "--format", "ndjson", "--since", "{last_day_begins}")),
)

WIDE_EXPORTS = (
    ("installations, every column, csv, command", ("installations", "--format", "csv", "--columns", "all")),
    (
        "pings of a day, every column, csv, command",
        ("pings", "--format", "csv", "--columns", "all", "--since", "{last_day_begins}"),
    ),
)
"""Arguments of "telemetry-server export": with the default columns, for which the aim is, and with all columns."""

STREAMS = (
    Question("installations, csv, API", "/api/v1/export/installations", {"format": "csv", **P}),
    Question("installations, ndjson, API", "/api/v1/export/installations", {"format": "ndjson", **P}),
    Question(
        "installations, five columns, csv, API",
        "/api/v1/export/installations",
        {"format": "csv", "columns": "installation_id,verdict,country,service_version,life", **P},
    ),
)
"""Exports over HTTP; the rows are counted by lines."""
