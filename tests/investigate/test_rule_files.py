"""What a rule is, what is none, and what the wing may do."""

import os
import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from places import ROOT

from telemetry_server.investigate.case_pages import rules_by_name
from telemetry_server.investigate.rule_files import all_rules, shipped_rules
from telemetry_server.investigate.rules import Asked, WrongRule, arguments, parse_rule
from telemetry_server.investigate.score import shipped_ratios

HEAD = {
    "id": '"6f1c0f5e-6c0a-4f5e-9f50-0c3f2b9d7a11"',
    "title": '"A title"',
    "status": '"stable"',
    "means": '"This."',
    "does_not_mean": '"That."',
    "falsepositives": '["An excuse."]',
    "closes": '"gone"',
    "family": '"key"',
    "subject": '"license"',
    "cadence": '"day"',
    "window": "30",
}
DAYS = '[parameters.days]\ntype = "integer"\ndefault = 7\nleast = 1\nmost = 30\n'
SQL = "SELECT ':no' AS a /* :none */, :days::integer AS b, x::text -- :nothing\nFROM t WHERE p = :product AND d = :days"
WING = ROOT / "telemetry_server" / "investigate"


def rule(sql=SQL, parameters=DAYS, **head):
    lines = [f"{name} = {value}" for name, value in (HEAD | head).items() if value is not None]
    return parse_rule("a_rule", "/*---\n" + "\n".join(lines) + f"\n{parameters}---*/\n{sql}\n")


def test_named_parameters_are_bound_and_what_is_quoted_stays():
    found = rule()
    assert found.statement == (
        "SELECT ':no' AS a /* :none */, $1::integer AS b, x::text -- :nothing\nFROM t WHERE p = $2 AND d = $1"
    )
    asked = Asked(product_id=UUID(int=1), now=datetime.now(UTC), since=datetime.now(UTC))
    assert arguments(found, asked) == [7, UUID(int=1)]
    assert arguments(found, asked, {"days": 30}) == [30, UUID(int=1)]


@pytest.mark.parametrize("given", [{"days": 0}, {"days": 31}, {"days": 1.5}, {"days": True}, {"weeks": 1}])
def test_a_parameter_stays_within_its_bounds(given):
    asked = Asked(product_id=UUID(int=1), now=datetime.now(UTC), since=datetime.now(UTC))
    with pytest.raises(WrongRule, match=r"days|weeks"):
        arguments(rule(), asked, given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"falsepositives": "[]"}, "falsepositives"),
        ({"means": None}, "means"),
        ({"family": '"luck"'}, "family"),
        ({"subject": '"person"'}, "person"),
        ({"window": "0"}, "window"),
        ({"id": '"7"'}, "UUID"),
        ({"title": "="}, "a_rule"),
        ({"sql": "SELECT 1; DROP TABLE licenses"}, "one SELECT"),
        ({"sql": "DELETE FROM licenses"}, "one SELECT"),
        ({"sql": "SELECT :unheard"}, "unheard"),
        ({"parameters": DAYS.replace("7", "99")}, "99"),
    ],
)
def test_what_is_no_rule_is_refused_with_the_reason(changes, words):
    with pytest.raises(WrongRule, match=words):
        rule(**changes)


def test_the_rules_of_this_package_are_stable_and_none_is_about_virtualization():
    assert {each.status for each in shipped_rules()} == {"stable"}
    assert len({each.id for each in shipped_rules()}) == len(shipped_rules()) >= 15
    assert not [
        each.name for each in shipped_rules() if re.search(r"virtualization|\.vm\b|container", each.sql)
    ]


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WrongRule, match="elsewhere"):
        all_rules(tmp_path / "elsewhere")


def test_what_is_no_file_is_no_rule_and_an_unreadable_one_is_named(tmp_path):
    os.mkfifo(tmp_path / "waits.sql")
    (tmp_path / "folder.sql").mkdir()
    (tmp_path / "endless.sql").symlink_to("/dev/zero")
    assert all_rules(tmp_path) == all_rules(None)
    (tmp_path / "latin.sql").write_bytes(b"\xe9")
    with pytest.raises(WrongRule, match=r"latin\.sql"):
        all_rules(tmp_path)


async def test_the_pages_show_the_shipped_rules_where_an_own_one_is_wrong(tmp_path):
    (tmp_path / "wrong.sql").write_text("nothing")
    assert set(await rules_by_name(tmp_path)) == {each.name for each in shipped_rules()}


def test_the_page_has_every_rule_and_the_counts_behind_every_ratio():
    page = (ROOT / "docs" / "detection.md").read_text()
    assert [each.name for each in shipped_rules() if f"| `{each.name}` | {each.family} |" not in page] == []
    counts = [
        f"| {family} | {name.replace('+', ' + ')} | {count.misuse} | {count.honest} |"
        for family, table in shipped_ratios().patterns.items()
        for name, count in table.items()
    ]
    assert counts
    assert [row for row in counts if row not in page] == []
