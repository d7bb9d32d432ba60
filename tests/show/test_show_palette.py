"""The colours of verdict groups can be told apart by everyone, on the cards of both schemes."""

import re
from importlib import resources
from itertools import combinations

import pytest

from telemetry_server.model import Verdict
from telemetry_server.show.verdict_groups import GROUPS

SHEET = resources.files("telemetry_server.show").joinpath("static", "style.css").read_text("utf-8")
GROUPS_OF_COLOUR = ("covered", "trial", "lapsed", "excess", "wrong", "unknown")
SCHEMES = {"light": 0, "dark": 1}
# Machado, Oliveira and Fernandes 2009, severity 1.0: how linear RGB is seen.
SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}  # fmt: skip
XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)


def token(name, scheme):
    found = re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\);", SHEET)
    return found[1 + SCHEMES[scheme]]


def linear(colour):
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def lab(rgb):
    ratios = [one / white for one, white in zip(times(XYZ, rgb), WHITE, strict=True)]
    x, y, z = (ratio ** (1 / 3) if ratio > 0.008856 else 7.787 * ratio + 16 / 116 for ratio in ratios)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen(colour, sight):
    return lab([min(1, max(0, share)) for share in times(SIGHT[sight], linear(colour))])


def distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5


def contrast(one, other):
    lights = sorted((times(XYZ, linear(colour))[1] for colour in (one, other)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("sight", SIGHT)
def test_every_pair_of_groups_is_told_apart(scheme, sight):
    colours = {name: seen(token(name, scheme), sight) for name in GROUPS_OF_COLOUR}
    near = {pair: distance(colours[pair[0]], colours[pair[1]]) for pair in combinations(colours, 2)}
    assert len(near) == 15
    assert {pair: round(away, 1) for pair, away in near.items() if away < 18} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_group_stands_out_from_its_card(scheme):
    faint = {
        name: contrast(token(name, scheme), token("card", scheme)) for name in (*GROUPS_OF_COLOUR, "none")
    }
    assert {name: round(ratio, 2) for name, ratio in faint.items() if ratio < 3} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ground", ["card", "ground", "raised"])
def test_text_is_readable(scheme, ground):
    for name in ("text", "muted", "accent", "warn", "bad"):
        assert contrast(token(name, scheme), token(ground, scheme)) >= 4.5, name


def test_every_group_has_a_shape_of_its_own_and_a_word():
    assert len({group.path for group in GROUPS}) == len({group.text for group in GROUPS}) == len(GROUPS) == 7
    assert set(GROUPS_OF_COLOUR) | {"none"} == {group.name for group in GROUPS}
    assert sorted(verdict for group in GROUPS for verdict in group.verdicts) == sorted(Verdict)
