"""The private members of aiohttp that we stand on. What fails here has to be read again in aiohttp's source."""

import ast
import inspect
import re
import tomllib

import aiohttp
import pytest
from aiohttp.web_protocol import RequestHandler
from places import ROOT

from telemetry_server.receive.connections import PatientHandler
from telemetry_server.receive.fast_path import DirectConnection

OURS = [DirectConnection, PatientHandler]


def private_members(ours):
    """The members of `self` with an underscore that the class has from aiohttp."""
    [tree] = ast.parse(inspect.getsource(ours)).body
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }
    return sorted(name for name in used if name.startswith("_") and name not in vars(ours))


@pytest.mark.parametrize("ours", OURS)
def test_aiohttp_has_every_private_member_we_use(ours):
    [theirs] = ours.__bases__
    for name in private_members(ours):
        assert hasattr(theirs, name), (
            f"aiohttp {aiohttp.__version__} has no {theirs.__name__}.{name} any more, which {inspect.getfile(ours)} "
            "uses: read there what it was for, and pin aiohttp in pyproject.toml below this version until that works"
        )


@pytest.mark.parametrize(
    ("name", "parameters"),
    {
        "finish_response": ["self", "request", "resp", "start_time"],
        "handle_error": ["self", "request", "status", "exc", "message"],
        "data_received": ["self", "data"],
        "connection_lost": ["self", "exc"],
    }.items(),
)
def test_aiohttp_calls_what_we_override_as_it_did(name, parameters):
    theirs = list(inspect.signature(getattr(RequestHandler, name)).parameters)
    assert theirs == parameters, (
        f"aiohttp {aiohttp.__version__} gives RequestHandler.{name} other arguments: "
        "PatientHandler in receive/connections.py overrides it"
    )


def test_the_pin_of_aiohttp_names_every_member_and_the_versions_looked_at():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    comment = re.search(r"((?:  #.*\n)+)  \"aiohttp", text)[1]
    used = {name for ours in OURS for name in private_members(ours)}
    assert set(re.findall(r"(?<![\w/])_[a-z_]+", comment)) == used
    [pin] = [each for each in tomllib.loads(text)["project"]["dependencies"] if each.startswith("aiohttp")]
    assert re.fullmatch(r"aiohttp>=3\.14\.\d+,<3\.15", pin)
