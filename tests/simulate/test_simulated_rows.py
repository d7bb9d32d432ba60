"""The rows of a made-up fleet are such as a real one would leave behind."""

from itertools import islice

import asyncpg
import orjson
import pytest
from orders import ORDER

from telemetry_server.check.fields import load_registry
from telemetry_server.check.ping import PingReader
from telemetry_server.enrich.lifecycle import Schedule, lives
from telemetry_server.jobs.deadlines import watch_deadlines
from telemetry_server.jobs.verdicts import judge_installations
from telemetry_server.model import Lifecycle
from telemetry_server.simulate.copies import Copy
from telemetry_server.simulate.deals import Story, deal, deals
from telemetry_server.simulate.making import Order, _terms

COUNTED_WRONG = """
    SELECT i.installation_id
    FROM installations AS i
    JOIN (
        SELECT installation_id, range_agg(int8range(sequence, sequence + 1)) AS numbers, count(*) AS pings,
               max(sequence) AS last, min(received_at) AS first_at, max(received_at) AS last_at
        FROM pings GROUP BY installation_id
    ) AS g USING (installation_id)
    WHERE i.received <> g.numbers OR i.last_sequence <> g.last OR i.first_received_at <> g.first_at
       OR i.last_received_at <> g.last_at OR NOT i.received @> i.received_before
       OR (SELECT sum(upper(r) - lower(r)) FROM unnest(i.received) AS r) <> g.pings
"""
IDENTITY = {
    "ping_id": "019ab6ef-f2a0-7c44-8d53-1b6a0f4e7c90",
    "sequence": 1,
    "occurred_at": "2026-11-22T09:59:58Z",
}
LATE_AFTER = (
    "(SELECT make_interval(secs => ping_interval_seconds + grace_seconds) FROM products WHERE simulated)"
)
LOST_AFTER = "(SELECT make_interval(secs => lost_after_seconds) FROM products WHERE simulated)"


async def test_about_as_many_pings_as_were_ordered(fleet, look):
    [row] = await look("SELECT count(*) AS pings, count(DISTINCT ping_id) AS different FROM pings")
    assert row["pings"] == row["different"] == fleet.made.pings
    assert abs(row["pings"] / 16_000 - 1) < 0.04
    assert len(await look("SELECT FROM installations")) == 900


async def test_every_ping_counts_exactly_once(look):
    """What was received is what is there, number by number."""
    assert await look(COUNTED_WRONG) == []


@pytest.mark.parametrize(
    ("days", "installations", "pings"),
    [(7, 80, 4_000), (40, 300, 3_000), (120, 100, 12_000), (400, 60, 6_000)],
)
async def test_fleets_of_all_sizes_hold_together(connection, make, days, installations, pings):
    for seed in (0, 2**31 - 1):
        order = Order("Any Suite", installations, pings, days, seed, ORDER.end, replace=True)
        made = await make(connection, order)
        assert await connection.fetchval("SELECT count(*) FROM pings") == made.pings
        assert await connection.fetch(COUNTED_WRONG) == []
        assert await found_otherwise(connection, made.ends_at) == []


async def test_an_installation_is_in_the_state_of_its_last_ping(look):
    assert (
        await look("""
        SELECT i.installation_id FROM installations AS i
        LEFT JOIN pings AS g ON g.installation_id = i.installation_id AND g.sequence = i.last_sequence
        LEFT JOIN pings AS b ON b.installation_id = i.installation_id AND b.sequence = (
            SELECT max(sequence) FROM pings AS p WHERE p.installation_id = i.installation_id AND p.sequence < i.last_sequence)
        WHERE g.state IS DISTINCT FROM i.state OR g.occurred_at <> i.last_occurred_at OR g.client_address <> i.client_address
           OR i.state_before IS DISTINCT FROM b.state
    """)
        == []
    )


async def test_every_state_is_one_of_some_ping_and_the_other_way_round(look):
    assert (
        await look(
            "SELECT FROM (SELECT installation_id, state FROM pings EXCEPT SELECT installation_id, state FROM states) AS x"
        )
        == []
    )
    assert (
        await look(
            "SELECT FROM (SELECT installation_id, state FROM states EXCEPT SELECT installation_id, state FROM pings) AS x"
        )
        == []
    )


async def test_pings_come_one_after_the_other_and_none_from_the_future(fleet, look):
    assert (
        await look("""
        SELECT FROM (SELECT received_at, lag(received_at) OVER (PARTITION BY installation_id ORDER BY sequence) AS before FROM pings) AS g
        WHERE received_at < before
    """)
        == []
    )
    [row] = await look("SELECT min(received_at) AS first, max(received_at) AS last FROM pings")
    assert fleet.made.begins_at <= row["first"]
    assert row["last"] < fleet.made.ends_at


def test_a_real_ping_that_says_the_same_would_be_in_the_same_state(keyring):
    """Whatever a copy says passes every check, and is kept as it is."""
    terms, _ = _terms(keyring, ORDER)
    reader = PingReader(load_registry())
    copies = [
        Copy(one, 0, terms)
        for one in (deal(terms.seed, number, terms.over) for number in range(200))
        if one.size
    ]
    for copy in copies:
        state = copy.state(terms.over.end)
        facts = orjson.loads(state.facts_json)
        sdk = facts.pop("sdk")
        ping = reader.read(orjson.dumps(facts | IDENTITY), sdk)
        assert (ping.unknown, ping.stripped) == (0, 0)
        assert ping.facts == state.facts_json.decode()
        place, key_hash = state.network.place.encode(), state.key_hash or b""
        assert keyring.state_digest(ping.facts.encode(), place, key_hash) == state.digest


async def test_present_facts_are_those_the_writer_would_have_noted(look):
    columns = """
        installation_id, product_id, first_received_at, license_status, license_source, edition, version, version_key,
        environment, os_name, vm, container, cloud, country, asn, hosting, license_key_hash
    """
    wrong = await look(f"""
        SELECT {columns} FROM installation_facts
        EXCEPT
        SELECT i.installation_id, i.product_id, i.first_received_at, s.license_status,
               coalesce(s.license_source, 'unknown'), coalesce(s.facts #>> '{{license,edition}}', 'unknown'),
               coalesce(s.facts #>> '{{service,version}}', 'unknown'), version_key(s.facts #>> '{{service,version}}'),
               coalesce(s.facts #>> '{{service,environment}}', 'unknown'), coalesce(s.facts #>> '{{os,name}}', 'unknown'),
               coalesce(s.facts #>> '{{virtualization,vm}}', n.vain), coalesce(s.facts #>> '{{virtualization,container}}', n.vain),
               coalesce(s.facts #>> '{{virtualization,cloud}}', n.vain), coalesce(s.place ->> 'country', 'unknown'),
               coalesce(s.place ->> 'asn', 'unknown'), (s.place ->> 'hosting')::boolean, s.license_key_hash
        FROM installations AS i
        JOIN states AS s ON s.installation_id = i.installation_id AND s.state = i.state
        CROSS JOIN LATERAL (SELECT CASE WHEN s.facts ? 'virtualization' THEN 'none' ELSE 'unknown' END AS vain) AS n
    """)
    assert wrong == []
    assert len(await look("SELECT FROM installation_facts")) == 900


async def test_the_timeline_tells_every_difference_between_states_and_no_other(look):
    wrong = await look("""
        WITH moved AS (
            SELECT installation_id, sequence, received_at, state,
                   lag(state) OVER (PARTITION BY installation_id ORDER BY sequence) AS before
            FROM pings
        ), told AS (
            SELECT m.installation_id, m.received_at AS changed_at, m.sequence, d.field, d.before, d.after
            FROM moved AS m
            JOIN states AS b ON b.installation_id = m.installation_id AND b.state = m.before
            JOIN states AS a ON a.installation_id = m.installation_id AND a.state = m.state
            CROSS JOIN LATERAL (
                SELECT field, b.value AS before, a.value AS after
                FROM facts_by_field(b.facts, b.place, b.license_key_hash) AS b
                FULL JOIN facts_by_field(a.facts, a.place, a.license_key_hash) AS a USING (field)
                WHERE b.value IS DISTINCT FROM a.value
            ) AS d
            WHERE m.before <> m.state
        ), kept AS (
            SELECT * FROM changes WHERE field NOT IN ('life', 'verdict', 'client_address')
        )
        (SELECT * FROM told EXCEPT SELECT * FROM kept) UNION ALL (SELECT * FROM kept EXCEPT SELECT * FROM told)
    """)
    assert wrong == []


async def test_the_timeline_tells_of_addresses_and_verdicts(look):
    for field, column in (
        ("client_address", "abbrev(client_address)"),
        ("verdict", "verdict_of(verdict_code)"),
    ):
        wrong = await look(
            f"""
            WITH told AS (
                SELECT installation_id, received_at, sequence, before, after FROM (
                    SELECT installation_id, received_at, sequence, {column} AS after,
                           lag({column}) OVER (PARTITION BY installation_id ORDER BY sequence) AS before
                    FROM pings) AS g
                WHERE before <> after
            ), kept AS (
                SELECT installation_id, changed_at, sequence, before, after FROM changes WHERE field = $1
            )
            (SELECT * FROM told EXCEPT SELECT * FROM kept) UNION ALL (SELECT * FROM kept EXCEPT SELECT * FROM told)
            """,
            field,
        )
        assert wrong == []


async def test_a_life_follows_from_the_last_ping_and_the_schedule(fleet, look):
    wrong = await look(
        f"""
        SELECT f.installation_id, f.life, i.first_received_at, i.last_received_at
        FROM installation_facts AS f JOIN installations AS i USING (installation_id)
        WHERE (f.life = 'lost') <> (i.last_received_at + {LOST_AFTER} <= $1)
           OR (f.life = 'late') <> (i.last_received_at + {LATE_AFTER} <= $1 AND i.last_received_at + {LOST_AFTER} > $1)
           OR f.life_since > $1 OR f.due_at <= $1
        """,
        fleet.made.ends_at,
    )
    assert wrong == []


async def test_each_step_of_a_life_begins_where_the_one_before_ended(look):
    assert (
        await look("""
        WITH step AS (
            SELECT installation_id, before, after, changed_at,
                   lag(after, 1, 'new') OVER (PARTITION BY installation_id ORDER BY changed_at) AS was,
                   lead(after) OVER (PARTITION BY installation_id ORDER BY changed_at) AS next
            FROM changes WHERE field = 'life'
        )
        SELECT FROM step JOIN installation_facts AS f USING (installation_id)
        WHERE step.before <> was OR next IS NULL AND (f.life, f.life_since) <> (step.after, step.changed_at)
    """)
        == []
    )
    assert (
        await look("""
        SELECT FROM installation_facts AS f JOIN installations AS i USING (installation_id)
        WHERE life = 'new' AND life_since <> i.first_received_at
    """)
        == []
    )


async def test_whoever_was_silent_too_long_was_late_or_lost_meanwhile(look):
    wrong = await look(f"""
        WITH silence AS (
            SELECT installation_id, lag(received_at) OVER (PARTITION BY installation_id ORDER BY sequence) AS since, received_at AS until
            FROM pings
        )
        SELECT FROM silence AS s
        WHERE s.until - s.since > {LATE_AFTER} AND NOT EXISTS (
            SELECT FROM changes AS c
            WHERE c.installation_id = s.installation_id AND c.field = 'life' AND c.changed_at = s.until
              AND c.after = CASE WHEN s.until - s.since >= {LOST_AFTER} THEN 'returned' ELSE 'active' END)
    """)
    assert wrong == []


async def test_seats_are_counted_as_the_registry_counts_them(look):
    assert (
        await look("""
        SELECT l.license_id, l.seats_used, count(f.installation_id)
        FROM licenses AS l
        LEFT JOIN license_keys AS k USING (license_id)
        LEFT JOIN installation_facts AS f
          ON f.license_key_hash = k.key_hash AND f.life NOT IN ('late', 'lost') AND f.environment <> ALL (l.free_environments)
        WHERE l.product_id = k.product_id
        GROUP BY l.license_id
        HAVING l.seats_used <> count(f.installation_id)
    """)
        == []
    )
    assert (
        await look("""
        SELECT FROM installation_facts AS f LEFT JOIN license_keys AS k ON k.key_hash = f.license_key_hash
        WHERE f.license_id IS DISTINCT FROM k.license_id
    """)
        == []
    )


async def test_features_are_used_on_working_days_and_told_by_those_who_may(look):
    assert (
        await look("""
        SELECT FROM v_pings AS g
        WHERE (g.features IS NULL) = (g.privacy_level = 'usage') OR (g.details ? 'usage') <> (g.features IS NOT NULL)
    """)
        == []
    )
    rows = await look("""
        SELECT extract(isodow FROM received_at)::int AS day, sum(value::numeric) / count(DISTINCT ping_id) AS uses
        FROM v_pings CROSS JOIN LATERAL jsonb_each_text(features) GROUP BY 1
    """)
    uses = {row["day"]: row["uses"] for row in rows}
    assert uses[7] < uses[6] < min(uses[day] for day in range(1, 6))


async def test_a_documented_key_has_the_hash_it_has_at_ingest(fleet, look):
    """Under the product's own slug, and under that of the real product beside it."""
    known = {
        row["key_hash"]: row["slug"]
        for row in await look("SELECT key_hash, slug FROM license_keys JOIN products USING (product_id)")
    }
    for slug in ("demo-suite", "billing"):
        assert known[fleet.keyring.hash_of_key(slug, "SIM-demo-suite-7-000000")] == slug
    assert fleet.keyring.hash_of_key("demo-suite", "NIL-demo-suite-7-000007") not in known


async def test_no_two_copies_are_the_same_machine(look):
    assert (
        await look("""
        SELECT fact, count(DISTINCT installation_id)
        FROM states
        CROSS JOIN LATERAL (VALUES (facts ->> 'boot_id'), (facts #>> '{host,fingerprint,machine_id}')) AS f (fact)
        WHERE fact IS NOT NULL
        GROUP BY fact HAVING count(DISTINCT installation_id) > 1
    """)
        == []
    )


async def test_nothing_points_at_anybody(look):
    assert (
        await look("""
        SELECT FROM pings WHERE NOT (client_address <<= '240.0.0.0/4' OR client_address <<= '2001:db8::/32')
    """)
        == []
    )
    assert (
        await look(
            "SELECT FROM states WHERE place ->> 'source' <> 'simulated' OR (place ->> 'asn')::bigint < 4200000000"
        )
        == []
    )
    assert (
        await look("SELECT FROM customers WHERE email NOT LIKE '%.example' OR name NOT LIKE 'Example %'")
        == []
    )


async def test_no_month_is_unlike_the_others_afterwards(look):
    """Months that were filled before they were attached have the same keys, and no check that others lack."""
    rows = await look("""
        SELECT c.relname, array_agg(i.indkey::text ORDER BY i.indkey::text) AS keys,
               (SELECT array_agg(conname::text ORDER BY conname::text) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'c') AS checks
        FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid JOIN pg_index AS i ON i.indrelid = c.oid
        WHERE h.inhparent = 'pings'::regclass
        GROUP BY c.oid, c.relname
    """)
    assert len(rows) > 5
    assert len({(tuple(row["keys"]), tuple(row["checks"] or ())) for row in rows}) == 1
    assert await look("SELECT FROM pings_default") == []


def test_each_story_is_told_by_a_small_fleet_already():
    assert {one.story for one in islice(deals(1, ORDER.over), len(Story))} == set(Story)


async def test_the_jobs_find_everything_as_they_would_have_left_it(fleet):
    connection = await asyncpg.connect(fleet.dsn)
    assert await found_otherwise(connection, fleet.made.ends_at) == []
    await connection.close()


async def found_otherwise(connection, now):
    """What changes when everything is judged anew and watched at that time; it is taken back."""
    queries = (
        "SELECT * FROM changes",
        "SELECT license_id, seats_used FROM licenses",
        """SELECT installation_id, verdict, claim_mismatch, source_mismatch, license_id, counted_key_hash, life, life_since, due_at
           FROM installation_facts""",
    )
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("UPDATE installation_facts SET judge_again = true")
    await connection.execute("UPDATE licenses SET stale = true")
    before = [set(await connection.fetch(query)) for query in queries]
    due = (
        "SELECT FROM installation_facts WHERE judge_again UNION ALL SELECT FROM licenses WHERE stale LIMIT 1"
    )
    for _ in range(10):  # a run works for some seconds only
        await judge_installations(connection, now)
        if not await connection.fetch(due):
            break
    await watch_deadlines(connection, now)
    after = [set(await connection.fetch(query)) for query in queries]
    assert await connection.fetch("SELECT FROM installation_facts WHERE judge_again") == []
    await transaction.rollback()
    return [row for was, is_now in zip(before, after, strict=True) for row in was ^ is_now]


async def test_lives_are_those_of_the_schedule_ping_by_ping(fleet, look):
    """By the pure function that the job and the writer go by, over the pings as they came."""
    schedule, told = Schedule.of(fleet.made.product), {}
    for row in await look("SELECT * FROM changes WHERE field = 'life' ORDER BY installation_id, changed_at"):
        told.setdefault(row["installation_id"], []).append(
            (row["changed_at"], row["before"], row["after"], row["sequence"])
        )
    uploads = await look("""
        SELECT installation_id, array_agg(received_at ORDER BY received_at) AS moments, array_agg(last ORDER BY received_at) AS numbers
        FROM (SELECT installation_id, received_at, max(sequence) AS last FROM pings GROUP BY 1, 2) AS upload GROUP BY 1
    """)
    for installation_id, moments, numbers in uploads:
        assert steps_of(moments, numbers, schedule, fleet.made.ends_at) == told.get(installation_id, [])


def steps_of(moments, numbers, schedule, end):
    life, since, found = Lifecycle.NEW, moments[0], []
    for moment, number, until in zip(moments, numbers, [*moments[1:], end], strict=True):
        if life in {Lifecycle.LATE, Lifecycle.LOST}:
            back = Lifecycle.ACTIVE if life is Lifecycle.LATE else Lifecycle.RETURNED
            found.append((moment, life, back, number))
            life, since = back, moment
        for step in lives(life, since, moments[0], moment, schedule=schedule, now=until):
            if step.since < until or until == end:
                found.append((step.since, life, step.life, number))
                life, since = step
    return found
