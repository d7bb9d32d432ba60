"""The rules by which a statement runs on one machine and on a Citus cluster, held without a cluster.

A statement is read as blocks: each SELECT, UPDATE, DELETE or INSERT with what it reads, and the blocks within it. Each
rule is a shape that Citus refuses, or that reads a whole table on all nodes to answer for a few rows.
"""

import re
from dataclasses import dataclass, field

import pytest
from places import ROOT

from telemetry_server.investigate.rule_files import shipped_rules
from telemetry_server.store.distribution import REFERENCE
from telemetry_server.store.queries import load, modules

SCHEMA = (ROOT / "schema.sql").read_text()
TABLES = dict(re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", SCHEMA, re.DOTALL | re.MULTILINE))
GROWING = {name for name, columns in TABLES.items() if re.search(r"(^|\n) +installation_id +uuid", columns)}
FUNCTIONS = dict(re.findall(r"^CREATE FUNCTION (\w+)(\(.*?)^COMMENT ON", SCHEMA, re.DOTALL | re.MULTILINE))
LOCAL = TABLES.keys() - GROWING - set(REFERENCE)
STATEMENTS = {f"{module}.{name}": sql for module in modules() for name, sql in load(module).items()}
STATEMENTS |= {f"rules/{rule.name}.sql": rule.statement for rule in shipped_rules()}

WORD = re.compile(r"'(?:[^']|'')*'|\w+|[(),.;]|[^\s\w(),.;']+")
BARE = re.compile(r"SELECT (FROM|WHERE|LIMIT|OFFSET)\b")
OF_ONE = re.compile(r"WHERE installation_id = \$ ?\d+ FOR ")
CUT = re.compile(r"\b(OFFSET|LIMIT)\b")
LOCKS = re.compile(r"\bFOR (NO KEY )?(UPDATE|SHARE)\b")


@dataclass
class Block:
    """One level of a statement: the names it reads, each with its alias and join, and the blocks within it."""

    before: list[str]
    words: list[str] = field(default_factory=list)
    inner: list["Block"] = field(default_factory=list)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def sources(self):
        """(join, name, alias) of each table, CTE, function or subquery (no name) in its FROM clauses."""
        return re.findall(
            r"\b(FROM|USING|UPDATE|INTO|(?:LEFT|FULL|CROSS|RIGHT)? ?JOIN) (?:LATERAL )?(\w+|\(\d+\))"
            r"(?: \(\d+\))?(?: AS (\w+))?",
            self.text,
        )

    def all(self):
        yield self
        for block in self.inner:
            yield from block.all()


def blocks(sql):
    """The outermost block of a statement; parentheses enclose the others."""
    text = re.sub(r"--[^\n]*", "", re.sub(r"/\*.*?\*/", "", sql, flags=re.DOTALL))
    stack = [Block([])]
    for word in WORD.findall(text):
        top = stack[-1]
        if word == "(":
            block = Block(top.words[-3:])
            top.words.append(f"({len(top.inner)})")
            top.inner.append(block)
            stack.append(block)
        elif word == ")":
            stack.pop()
        else:
            top.words.append(word)
    return stack[0]


def names(block):
    return {name for _, name, _ in block.sources}


def reads(block):
    """The names it reads, those of the subqueries in its FROM clauses too."""
    found = set()
    for _, name, _ in block.sources:
        found |= reads(block.inner[int(name[1:-1])]) if name.startswith("(") else {name}
    return found


def is_correlated(block):
    """Whether it names an alias that is not its own."""
    own = {alias or name for each in block.all() for _, name, alias in each.sources}
    used = {match for each in block.all() for match in re.findall(r"\b([a-z]\w*) \. \w", each.text)}
    return bool(used - own - {"excluded"})


def broken(rule):
    """The blocks that break a rule, by statement: `rule` gives those of a list of blocks."""
    found = {
        name: [block.text for block in rule(list(blocks(sql).all()))] for name, sql in STATEMENTS.items()
    }
    return {name: texts for name, texts in found.items() if texts}


def test_the_tables_of_the_schema_are_known():
    assert {"pings", "installations", "states", "changes"} <= GROWING
    assert {"licenses", "fleet_days", "jobs"} <= LOCAL


def test_a_subquery_has_columns_unless_it_asks_for_a_row_that_belongs_to_this_one():
    def rule(found):
        if not any(reads(block) & GROWING for block in found):
            return
        for block in found:
            bare = block.before and BARE.match(block.text)
            if bare and not ("EXISTS" in block.before and is_correlated(block)):
                yield block

    assert broken(rule) == {}


def test_rows_of_many_installations_are_not_locked_by_reading_them():
    def rule(found):
        for block in found:
            if LOCKS.search(block.text) and reads(block) & GROWING and not OF_ONE.search(block.text):
                yield block

    assert broken(rule) == {}


def test_no_subquery_is_cut_off_for_each_row_of_another_table():
    def rule(found):
        for block in found:
            if (
                "LATERAL" in block.before
                and reads(block) & GROWING
                and re.search(r"\b(OFFSET|LIMIT)\b", block.text)
            ):
                yield block

    assert broken(rule) == {}


def test_functions_are_not_joined_in_full_for_each_row():
    def rule(found):
        return (block for block in found if "LATERAL" in block.before and "FULL JOIN" in block.text)

    assert broken(rule) == {}


def test_tables_of_the_coordinator_are_not_joined_with_those_of_the_workers():
    def rule(found):
        for block in found:
            if names(block) & GROWING and names(block) & LOCAL and "INSERT INTO" not in block.text:
                yield block

    assert broken(rule) == {}


def test_a_table_of_the_workers_is_not_asked_for_each_row_of_another():
    """By a correlated subquery, in one that reads no such table itself."""

    def asked(block, around):
        around = reads(block) or around
        for each in block.inner:
            if not around & GROWING and reads(each) & GROWING and is_correlated(each):
                yield each
            yield from asked(each, around)

    assert broken(lambda found: asked(found[0], set())) == {}


def test_a_table_of_the_workers_is_not_read_whole_for_a_few_rows():
    """LEFT JOIN does so where its left side is not distributed."""

    def rule(found):
        for block in found:
            first = next((name for join, name, _ in block.sources if join in {"FROM", "UPDATE"}), None)
            joined = {name for join, name, _ in block.sources if join.startswith(("LEFT", "FULL"))}
            if joined & GROWING and first not in GROWING:
                yield block

    assert broken(rule) == {}


def test_functions_read_no_table():
    """A worker would read the table of that name there, which has no rows: those of a cluster are in shards."""
    reads_a_table = re.compile(rf"\b(?:FROM|JOIN|UPDATE|INTO) (?:{'|'.join(TABLES)})\b")
    called = {name: text for name, text in FUNCTIONS.items() if "RETURNS trigger" not in text}
    assert [name for name, text in called.items() if reads_a_table.search(text)] == []


def test_functions_that_give_rows_are_immutable():
    """Citus takes no others in the FROM clause of a query over shards."""
    giving = {name: text for name, text in FUNCTIONS.items() if "RETURNS TABLE" in text}
    assert {name for name, text in giving.items() if "IMMUTABLE" not in text} == {"run_on_node"}  # of a node


@pytest.mark.parametrize(
    ("sql", "test"),
    [
        (
            "SELECT EXISTS (SELECT FROM installations OFFSET $1)",
            test_a_subquery_has_columns_unless_it_asks_for_a_row_that_belongs_to_this_one,
        ),
        (
            "SELECT f.sequence FROM pings AS f WHERE f.installation_id = ANY ($1) FOR UPDATE OF f",
            test_rows_of_many_installations_are_not_locked_by_reading_them,
        ),
        (
            "SELECT * FROM far AS f CROSS JOIN LATERAL (SELECT 1 FROM pings AS h WHERE h.id = f.id OFFSET 0) AS g",
            test_no_subquery_is_cut_off_for_each_row_of_another_table,
        ),
        (
            "SELECT * FROM states AS s CROSS JOIN LATERAL (SELECT * FROM f(s.facts) AS f FULL JOIN f(s.place) AS t) AS d",
            test_functions_are_not_joined_in_full_for_each_row,
        ),
        (
            "SELECT * FROM installation_facts AS f JOIN licenses AS l USING (license_id)",
            test_tables_of_the_coordinator_are_not_joined_with_those_of_the_workers,
        ),
        (
            "SELECT (SELECT count(*) FROM pings AS g WHERE g.id = k.id) FROM unnest($1::uuid[]) AS k (id)",
            test_a_table_of_the_workers_is_not_asked_for_each_row_of_another,
        ),
        (
            "WITH k AS (SELECT 1) SELECT * FROM k LEFT JOIN states AS s USING (installation_id)",
            test_a_table_of_the_workers_is_not_read_whole_for_a_few_rows,
        ),
    ],
)
def test_each_rule_finds_what_it_is_about(monkeypatch, sql, test):
    monkeypatch.setitem(STATEMENTS, "broken", sql)
    with pytest.raises(AssertionError, match="broken"):
        test()
