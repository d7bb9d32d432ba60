"""Public figures: what a year of them says about one customer, to someone who knows all others."""

import json
import math
import random
from datetime import date, timedelta

import aiohttp
import pytest

from telemetry_server.privacy import public_cells

KEY = b"k" * 32
TABLES = public_cells.DIMENSIONS
WEEKS = 52
FIRST = date(2026, 1, 5)
SURE = 0.95


def spread(count, before):
    """The probabilities of the next published number of a drawn cell; what the attacker knows of the method."""
    chances = {}
    for noise, share in public_cells.NOISE.items():
        shown = public_cells.rounded(count + noise)
        if shown is not None and before is not None and abs(shown - before) < public_cells.STEP:
            shown = before
        chances[shown] = chances.get(shown, 0) + share / 256
    return chances


class Year:
    """52 releases of six tables, in each of which the target's cell begins with 30 to 150 customers.

    `target`: whether it joined in the middle of the year. The attacker knows everybody else by week and table.
    """

    def __init__(self, rng):
        self.rng = rng
        self.serial = 0
        self.others = [[self.customer() for _ in range(rng.randrange(30, 150))] for _ in TABLES]
        self.target, self.joins = rng.random() < 0.5, rng.randrange(10, 42)
        self.doubt = [0.0, 0.0]  # the logarithms of what speaks for "never joined" and for "joined"

    def customer(self):
        self.serial += 1
        return b"%d of %d" % (self.serial, id(self))

    def week(self, number, before):
        """The releases of a week; the attacker adds what they say."""
        after, monday, there = [], FIRST + timedelta(weeks=number), self.target and number >= self.joins
        for dimension, others, old in zip(TABLES, self.others, before, strict=True):
            for _ in range(self.rng.choice((0, 1, 1, 2))):
                others.append(self.customer())
            for _ in range(self.rng.choice((0, 1, 1, 2))):
                others[self.rng.randrange(len(others))] = others[-1]
                others.pop()
            drawn = number == 0 or public_cells.is_drawn(dimension, "cell", monday)
            cells = {"cell": {*others, b"target"} if there else set(others)} if drawn else {}
            known = {"cell": old} if old else {}
            first = number == 0
            [figure] = public_cells.release(KEY, dimension, cells, known, monday, first=first) or [None]
            after.append(figure)
            for joined in (0, 1) if drawn else ():
                count = len(others) + (joined and number >= self.joins)
                chance = spread(count, old and old.customers).get(figure and figure.customers, 0)
                self.doubt[joined] += math.log(max(chance, 1e-9))
        return after

    def attacked(self):
        """Whether the attacker's best guess is right, and whether the attacker is sure of it."""
        figures = [None] * len(TABLES)
        for number in range(WEEKS):
            figures = self.week(number, figures)
        never, joined = self.doubt
        sure = 1 / (1 + math.exp(-min(abs(never - joined), 500)))
        guess = joined > never if joined != never else self.rng.random() < 0.5
        return guess == self.target, sure > SURE


def attack(name, years=300):
    """The share of right guesses, and of those the attacker is sure of."""
    rng = random.Random(1)
    results = [Year(rng).attacked() for _ in range(years)]
    right, sure = (sum(column) / years for column in zip(*results, strict=True))
    print(f"{name}: {right:.3f} of {years} guesses are right, {sure:.3f} are sure")
    return right, sure


def test_a_year_of_releases_recovers_no_one_better_than_a_guess():
    right, sure = attack("as published")
    assert right < 0.5 + 3 * math.sqrt(0.25 / 300)  # three standard errors of a coin
    assert sure < 0.02


def test_the_attack_succeeds_where_the_noise_is_switched_off(monkeypatch):
    """The control: the same attacker, on numbers that are only rounded, and drawn each week."""
    monkeypatch.setattr(public_cells, "DRAWN_EVERY", 1)
    monkeypatch.setattr(public_cells, "STEP", public_cells.BASE)
    plain, _ = attack("noise, drawn each week", years=20)
    monkeypatch.setattr(public_cells, "NOISE", {0: 256})
    right, sure = attack("no noise, drawn each week", years=20)
    assert right > 0.95
    assert sure > 0.9
    assert plain > 0.8  # why a cell is drawn anew only now and then


def test_the_noise_is_what_the_table_says_and_belongs_to_the_set():
    assert sum(public_cells.NOISE.values()) == 256
    assert sum(noise * share for noise, share in public_cells.NOISE.items()) == 0
    assert sum(noise**2 * share for noise, share in public_cells.NOISE.items()) / 256 == 1.75
    sets = [[b"%d" % n, b"x", b"y"] for n in range(3000)]
    found = [public_cells.noise_of(KEY, each) for each in sets]
    assert found == [public_cells.noise_of(KEY, reversed(each)) for each in sets]
    assert set(found) == set(public_cells.NOISE)
    assert abs(sum(found) / 3000) < 0.1
    assert 1.5 < sum(each**2 for each in found) / 3000 < 2


@pytest.mark.parametrize("count", range(60))
def test_a_number_is_of_twenty_customers_or_more_and_near_the_truth(count):
    for noise in public_cells.NOISE:
        shown = public_cells.rounded(count + noise)
        if count < public_cells.LEAST:
            assert shown is None
        elif shown is not None:
            assert shown % 5 == 0
            assert abs(shown - count) <= 3 + 2.5


# ── on the real thing ───────────────────────────────────────────────────────────────────────

VALUES = {
    "total": "all",
    "product": "Example",
    "country": "DE",
    "os": "debian",
    "edition": "Example business",
}
FLEET = """
    WITH numbers AS (SELECT n, gen_random_uuid() AS customer_id, gen_random_uuid() AS license_id
                     FROM generate_series(1, 30) AS n),
    customers AS (INSERT INTO customers (customer_id, email, custom, created_at, updated_at)
                  SELECT customer_id, n || '@example.com', '{}', now(), now() FROM numbers),
    licenses AS (INSERT INTO licenses (license_id, product_id, customer_id, key_hash, key_hint, created_at, updated_at)
                 SELECT license_id, $1, customer_id, sha256(n::text::bytea), 'X', now(), now() FROM numbers)
    INSERT INTO installation_facts
        (installation_id, product_id, first_received_at, license_status, license_source, edition, version, environment,
         os_name, vm, container, cloud, country, asn, license_id, verdict, claim_mismatch, source_mismatch, judged_at,
         life, life_since, due_at)
    SELECT gen_random_uuid(), $1, now(), 'licensed', 'direct', 'business', '7', 'production', 'debian', 'none', 'none',
           'none', 'DE', 'unknown', license_id, 'valid', false, false, now(), 'active', now(), now() + interval '9 days'
    FROM numbers CROSS JOIN generate_series(1, 2)
"""


async def test_nothing_is_public_until_the_operator_says_so(common_server, reader):
    for path in ("/public", "/public/badge.svg", "/api/v1/public-figures"):
        assert (await reader(path))[0] == 404


async def test_a_release_is_made_of_what_is_there_and_shown_until_the_next(make_server, tmp_path):
    """Of 30 customers, each with two copies; a simulated product and what is newer than the release never show."""
    server = make_server(public_figures="on", jobs="off")
    product = await server.fetchval("SELECT product_id FROM products")
    await server.fetch(FLEET, product)
    week = server.command("run", "release public figures")
    assert "released" in json.dumps(week)
    figures = await server.fetch("SELECT * FROM public_figures")
    counted = {(row["dimension"], row["value"]): row["customers"] for row in figures}
    assert set(counted) == {(name, VALUES.get(name, "Example 7")) for name in public_cells.DIMENSIONS}
    assert set(counted.values()) <= {25, 30, 35}
    assert len(set(counted.values())) == 1  # the same customers in each table: the same noise
    await server.fetch("UPDATE installation_facts SET country = 'FR'")
    server.command("run", "release public figures")
    async with aiohttp.ClientSession() as session:
        answers = {}
        for path in ("/public", "/public/badge.svg", "/api/v1/public-figures"):
            async with session.get(server.url + path) as answer:
                answers[path] = (answer.status, answer.content_type, await answer.text())
    total = counted["total", "all"]
    assert f"<h1>{total} customers</h1>" in answers["/public"][2]
    assert "FR" not in answers["/public"][2]
    assert answers["/public/badge.svg"][1] == "image/svg+xml"
    assert f'aria-label="customers: {total}"' in answers["/public/badge.svg"][2]
    released = json.loads(answers["/api/v1/public-figures"][2])
    assert {each["value"]: each["customers"] for each in released["figures"]}["DE"] == total
    await server.fetch("UPDATE products SET simulated = true")
    await server.fetch("TRUNCATE public_figures")
    server.command("run", "release public figures")
    assert await server.fetchval("SELECT count(*) FROM public_figures") == 0
