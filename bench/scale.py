"""make bench-scale: a simulated fleet of a million: its roll-ups, queries, exports and ingest.

    python -m bench.scale --installations 1000000 --pings 30000000

It is made in three sizes, a tenth, three tenths and the whole, to show the growth. Ingest beside the roll-ups
is measured on the whole, which needs 40 GB in TMPDIR.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path

import asyncpg

from bench import growth, results
from bench.asking import Asked, Program, ask, ask_first, stream
from bench.beside import ingest_beside_roll_ups
from bench.questions import EXPORTS, MAKE_DUE, QUESTIONS, ROLL_UPS, STREAMS, WIDE_EXPORTS
from bench.servers import free_port, make_places, telemetry_server
from telemetry_server.store.counts.rollups import AHEAD

PRODUCT, SLUG, DAYS = "Simulated", "simulated", 90
SHARES = (0.1, 0.3, 1)


@dataclass
class Measured:
    """The measurements of a fleet of one size."""

    installations: int
    pings: int = 0
    simulate_seconds: float = 0
    bytes_by_table: dict = field(default_factory=dict)
    roll_up_seconds: dict = field(default_factory=dict)
    day_seconds: dict = field(default_factory=dict)
    pings_of_day: int = 0
    asked: list = field(default_factory=list)
    asked_first: list = field(default_factory=list)
    rows_a_second: dict = field(default_factory=dict)
    load_before: float = 0
    ingest: list = field(default_factory=list)


def main():
    options = arguments()
    os.environ["TELEMETRY_JOBS"] = "false"  # no job runs by itself: each is measured in turn
    measured = noted(options.notes)
    for installations in options.sizes:
        pings = options.pings * installations // options.installations
        with tempfile.TemporaryDirectory(prefix="bench-") as home:
            Path(home).chmod(0o755)
            fresh = measure(
                Path(home, "data"), installations, pings, ingest=installations == options.installations
            )
        others = [found for found in measured if found.installations != installations]
        measured = sorted([*others, fresh], key=lambda found: found.installations)
        if options.notes:
            options.notes.write_text(json.dumps([asdict(found) for found in measured]), "utf-8")
        command = f"python -m bench.scale --installations {options.installations} --pings {options.pings}"
        results.write("scale", growth.text(command, measured))
    growth.show(measured)


def arguments():
    parser = argparse.ArgumentParser(description="Measures at size; writes its section of bench/RESULTS.md.")
    parser.add_argument("--installations", type=int, default=1_000_000)
    parser.add_argument("--pings", type=int, default=30_000_000)
    parser.add_argument(
        "--sizes", help="other sizes than a tenth, three tenths and the whole, by comma; or one of them"
    )
    parser.add_argument(
        "--notes", type=Path, help="a file to keep sizes in, so that they can be measured one by one"
    )
    options = parser.parse_args()
    sizes = options.sizes.split(",") if options.sizes else [options.installations * share for share in SHARES]
    options.sizes = [int(size) for size in sizes]
    return options


def noted(notes):
    """The earlier measurements, if they were kept."""
    if notes is None or not notes.exists():
        return []
    kept = json.loads(notes.read_text("utf-8"))
    lists = ("asked", "asked_first")
    return [
        Measured(**one | {name: [Asked(**asked) for asked in one.get(name, ())] for name in lists})
        for one in kept
    ]


def measure(data, installations, pings, *, ingest):
    make_places(data / "geoip")
    port, found = free_port(), Measured(installations, load_before=os.getloadavg()[0])
    with telemetry_server(data, port, 1):
        with timed(f"simulate {installations:,} installations") as watch:
            made = json.loads(
                run(
                    data,
                    "simulate",
                    "--product",
                    PRODUCT,
                    *size(installations, pings),
                    "--no-counts",
                    "--json",
                )
            )
        found.simulate_seconds, found.pings = watch.seconds, made["pings"]
        roll_up(data, found, datetime.fromisoformat(made["ends_at"]))
        found.bytes_by_table = sizes(data)
        values, token = look(data, port, found)
    with timed("the first asks after a start"):
        found.asked_first = ask_first(lambda: started(data), QUESTIONS, values, token)
    if ingest:
        with timed("ingest alone and beside the roll-ups"):
            found.ingest = ingest_beside_roll_ups(data, dsn(data))
    return found


def size(installations, pings):
    return "--installations", str(installations), "--pings", str(pings), "--days", str(DAYS)


# ── roll-ups ────────────────────────────────────────────────────────────────────────────────


def roll_up(data, found, ends_at):
    """Rolls up all days, as after an upgrade; then the last whole day again, as if it were not counted yet."""
    sql(data, "VACUUM (ANALYZE)")
    found.roll_up_seconds = run_roll_ups(data)
    day = (ends_at - timedelta(days=1)).date()
    for table in ("installation_days", "fleet_days", "feature_days"):
        sql(data, f"DELETE FROM {table} WHERE day = $1", day)
    begin = datetime.combine(day, clock(), UTC) - AHEAD
    sql(data, "UPDATE rollup_marks SET reached_at = $1 WHERE name = 'roll up pings'", begin)
    sql(data, "VACUUM (ANALYZE)")
    found.day_seconds = run_roll_ups(data)
    [[found.pings_of_day]] = sql(data, "SELECT sum(pings)::bigint FROM installation_days WHERE day = $1", day)
    sql(data, "VACUUM (ANALYZE)")


def run_roll_ups(data):
    """Seconds by job; recently changed days are made due at once."""
    seconds = {}
    for job in ROLL_UPS:
        for statement in MAKE_DUE:
            sql(data, statement)
        with timed(job) as watch:
            run(data, "run", job)
        seconds[job] = watch.seconds
    return seconds


# ── questions and exports ───────────────────────────────────────────────────────────────────


def look(data, port, found):
    values = asyncio.run(values_of(dsn(data)))
    token = run(data, "token", "create", "--role", "admin").strip()
    program = Program(port, token)
    with timed(f"{len(QUESTIONS)} questions"):
        found.asked = [ask(program, question, values) for question in QUESTIONS]
    for name, wanted in EXPORTS + WIDE_EXPORTS:
        found.rows_a_second[name] = export(data, [part.format_map(first(values)) for part in wanted])
    for question in STREAMS:
        found.rows_a_second[question.name] = stream(program, question, values)
    return values, token


@contextmanager
def started(data):
    """The port of a server that was started just now."""
    with telemetry_server(data, port := free_port(), 1):
        yield port


def export(data, wanted):
    """Rows per second of the command, including its start; the rows are discarded."""
    started = time.perf_counter()
    done = subprocess.run(
        command(data, "export", *wanted),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stderr.split()[-3]) / (time.perf_counter() - started)


def first(values):
    return {name: many[0] for name, many in values.items() if many}


async def values_of(address):
    """The values for the braces of questions: many of each, so that no two requests are equal."""
    connection = await asyncpg.connect(address)
    try:
        found = {
            name: [str(row[0]) for row in await connection.fetch(query)] for name, query in VALUES.items()
        }
        last = await connection.fetchval("SELECT max(received_at) FROM pings")
    finally:
        await connection.close()
    days = [(last - timedelta(days=number)) for number in range(60)]
    return found | {
        "product": [SLUG],
        "range": ["24h", "7d", "30d", "90d"],
        "step": ["day", "week", "month"],
        "limit": [str(number) for number in range(20, 60)],
        "moment": [moment.isoformat().replace("+00:00", "Z") for moment in days],
        "day_90": [f"{moment - timedelta(days=89):%Y-%m-%d}" for moment in days[:7]],
        "last_day": [f"{last:%Y-%m-%d}"],
        "last_day_begins": [(last - timedelta(days=1)).isoformat()],
        "bad_verdict": ["unknown_key", "expired", "revoked", "over_seats"],
        "changed_field": ["service.version", "verdict", "life", "place.country"],
    }


_OF_FACTS = "SELECT {0} FROM installation_facts GROUP BY 1 ORDER BY count(*) {1}, 1 LIMIT 50"
VALUES = {
    "installation": "SELECT installation_id FROM installation_facts ORDER BY md5(installation_id::text) LIMIT 100",
    "license": "SELECT license_id FROM licenses ORDER BY md5(license_id::text) LIMIT 100",
    "customer": "SELECT customer_id FROM customers ORDER BY md5(customer_id::text) LIMIT 100",
    "common_country": "SELECT country FROM installation_facts GROUP BY 1 ORDER BY count(*) DESC LIMIT 4",
    "country": _OF_FACTS.format("country", "DESC"),
    "rare_asn": _OF_FACTS.format("asn", "ASC"),
    "version": "SELECT DISTINCT version FROM installation_facts WHERE version LIKE '7.%' ORDER BY 1",
    "feature": "SELECT DISTINCT feature FROM feature_days ORDER BY 1 LIMIT 50",
}


# ── the server's command and its database ───────────────────────────────────────────────────


def command(data, *words):
    return [sys.executable, "-m", "telemetry_server", *words, "--data", str(data)]


def run(data, *words):
    """The output of the command."""
    done = subprocess.run(command(data, *words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def dsn(data):
    return f"postgresql://telemetry@/telemetry?host={data}/run"


def sql(data, statement, *values):
    async def ask():
        connection = await asyncpg.connect(dsn(data))
        try:
            return await connection.fetch(statement, *values, timeout=3600)
        finally:
            await connection.close()

    return asyncio.run(ask())


def sizes(data):
    """Bytes by table, including indexes and partitions, the largest first."""
    rows = sql(
        data,
        """
        SELECT coalesce(parent.relname, c.relname) AS name, sum(pg_total_relation_size(c.oid))::bigint AS bytes
        FROM pg_class AS c
        LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid
        LEFT JOIN pg_class AS parent ON parent.oid = h.inhparent
        WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
        GROUP BY 1 ORDER BY 2 DESC
        """,
    )
    return {row["name"]: row["bytes"] for row in rows}


class Watch:
    """The duration of a block, in seconds."""

    seconds = 0.0


@contextmanager
def timed(what):
    watch, started = Watch(), time.perf_counter()
    yield watch
    watch.seconds = time.perf_counter() - started
    print(f"{what}: {watch.seconds:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
