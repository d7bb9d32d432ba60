"""The table of docs/accounts.md is written from the code. UPDATE=1 (make fields) writes it anew."""

import os
import re

import pytest
from places import ROOT

from telemetry_server.model import Role
from telemetry_server.permissions import BY_ROLE, FROM_THE_SHELL, Permission

PAGE = ROOT / "docs" / "accounts.md"


def test_the_table_of_the_page_is_that_of_the_code():
    roles = [role.value.replace("_", " ") for role in Role]
    lines = [
        f"| permission | {' | '.join(roles)} | shell: viewer | shell: admin | for |",
        f"| --- |{' --- |' * (len(roles) + 3)}",
    ]
    for each in Permission:
        held = [each in BY_ROLE[role] for role in Role]
        held += [each in FROM_THE_SHELL[role] for role in (Role.VIEWER, Role.ADMIN)]
        cells = " | ".join("●" if one else "" for one in held)
        lines.append(f"| `{each}` | {cells} | {each.meaning} |")
    table = "\n".join(lines) + "\n"
    before, mark, rest = PAGE.read_text("utf-8").partition("<!-- written by make fields -->\n")
    shown, end, after = rest.partition("<!-- end -->")
    assert mark
    assert end
    if os.environ.get("UPDATE"):
        PAGE.write_text(before + mark + table + end + after, "utf-8")
    else:
        assert shown == table


@pytest.mark.parametrize(("page", "least"), [("security.md", 30), ("privacy.md", 10)])
def test_every_test_that_the_page_names_exists(page, least):
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / page).read_text("utf-8")))
    there = {
        found
        for path in (ROOT / "tests").rglob("test_*.py")
        for found in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert named - there == set()
    assert len(named) > least
