"""The ten verdicts in six groups, each with a shape, a word and a colour (static/style.css). Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry_server.enrich.verdict import COVERED
from telemetry_server.model import Verdict


@dataclass(frozen=True, slots=True)
class VerdictGroup:
    """Verdicts that lead to the same work. `name`: its class in CSS. `path` draws it in a box of 10 by 10."""

    name: str
    text: str
    verdicts: tuple[Verdict, ...]
    path: str

    @property
    def term(self) -> str:
        """As a term of a filter."""
        return f"verdict={','.join(self.verdicts)}"


GROUPS = (
    VerdictGroup("covered", "covered", (Verdict.VALID,), "M5 .5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9z"),
    VerdictGroup(
        "trial",
        "trial",
        (Verdict.TRIAL,),
        "M5 .5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9zM5 3a2 2 0 1 0 0 4a2 2 0 1 0 0-4z",
    ),
    VerdictGroup(
        "lapsed",
        "lapsed",
        (Verdict.EXPIRED, Verdict.SUSPENDED),
        "M5 .5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9zM5 2a3 3 0 1 0 0 6z",
    ),
    VerdictGroup("excess", "excess", (Verdict.OVER_SEATS, Verdict.WRONG_PLACE), "M5 .6 9.8 9.2H.2z"),
    VerdictGroup("wrong", "wrong", (Verdict.REVOKED, Verdict.WRONG_PRODUCT), "M1 1h8v8H1z"),
    VerdictGroup("unknown", "unknown key", (Verdict.UNKNOWN_KEY,), "M5 0 10 5 5 10 0 5z"),
    VerdictGroup("none", "no key", (Verdict.NO_KEY,), "M5 0 10 5 5 10 0 5zM5 2.4 2.4 5 5 7.6 7.6 5z"),
)
"""`none` has the hue of `unknown`, pale, and a hollow shape."""

NOT_COVERED = tuple(group for group in GROUPS if COVERED.isdisjoint(group.verdicts))
NOT_COVERED_TERM = f"verdict={','.join(verdict for group in NOT_COVERED for verdict in group.verdicts)}"

_BY_VERDICT: Mapping[str, VerdictGroup] = {verdict: group for group in GROUPS for verdict in group.verdicts}


def group_of(verdict: str) -> VerdictGroup:
    return _BY_VERDICT[verdict]
