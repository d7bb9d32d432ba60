"""Figures of rules and cases against a simulated truth, with counts and Wilson's 95 % bounds. Pure."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

SURE = 0.9
"""The score from which a case is counted as called misuse."""
LASTING = 30
"""Days from which misuse counts as lasting."""
_FIRST = 20
_Z = 1.959964
_BINS = (0.0, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
ORDINARY = "ordinary"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthEntry:
    """An entry of the truth: what happened, from when on, for how many days, and on which installations."""

    story: str
    begins_at: datetime
    days: float
    installations: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The misuse of a simulated fleet, and what is honest and looks like it."""

    misuse: Sequence[TruthEntry]
    honest: Sequence[TruthEntry]

    def thinned(self, share: float) -> tuple["Truth", frozenset[str]]:
        """With that share of the misuse, spread over the stories; and the installations of the rest."""
        ordered = sorted(self.misuse, key=lambda each: (each.story, each.begins_at))
        kept = [
            each for number, each in enumerate(ordered) if int((number + 1) * share) > int(number * share)
        ]
        rest = frozenset(each for one in ordered if one not in kept for each in one.installations)
        return Truth(misuse=kept, honest=self.honest), rest

    @property
    def guilty(self) -> frozenset[str]:
        return frozenset(each for entry in self.misuse for each in entry.installations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: its score by this formula, and the installations that its findings rest on."""

    case_id: str
    score: float
    installations: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A finding that counts. `seen_at`: when its rule could first have seen it, if it says so."""

    rule: str
    installations: frozenset[str]
    seen_at: datetime | None


def read_truth(document: Mapping[str, Any]) -> Truth:
    """The truth that `simulate --truth` wrote. Raises KeyError or ValueError."""
    return Truth(misuse=_entries(document["misuse"]), honest=_entries(document.get("honest", ())))


def measure(
    truth: Truth, findings: Collection[Finding], cases: Mapping[str, Sequence[Case]], interval: timedelta
) -> dict[str, Any]:
    """The figures, as a document. `cases` by the name of the formula; the first is the one in use."""
    guilty = truth.guilty
    in_use = next(iter(cases.values()))
    return {
        "misuses": len(truth.misuse),
        "honest_oddities": len(truth.honest),
        "rules": {
            rule: _of_rule([each for each in findings if each.rule == rule], truth, guilty)
            for rule in sorted({each.rule for each in findings})
        },
        "cases": _of_cases(in_use, truth, guilty),
        "formulas": {name: _of_formula(scored, truth, guilty) for name, scored in cases.items()},
        "live_clone": _delay(truth, findings, interval),
    }


def wilson(true: int, of: int) -> dict[str, Any]:
    """A share with its counts and 95 % bounds; share is None of nothing."""
    low, high = bounds_of(true, of)
    share = round(true / of, 4) if of else None
    return {"true": true, "of": of, "share": share, "low": round(low, 4), "high": round(high, 4)}


def bounds_of(true: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % bounds of a share."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = true / of, _Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    width = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, middle - width), min(1.0, middle + width)


def _entries(entries: Iterable[Mapping[str, Any]]) -> list[TruthEntry]:
    return [
        TruthEntry(
            story=each["story"],
            begins_at=datetime.fromisoformat(each["from"]),
            days=each["days"],
            installations=frozenset(each["installations"]),
        )
        for each in entries
    ]


def _of_rule(findings: Sequence[Finding], truth: Truth, guilty: frozenset[str]) -> dict[str, Any]:
    true = sum(not each.installations.isdisjoint(guilty) for each in findings)
    seen = frozenset(each for finding in findings for each in finding.installations)
    return {
        "true_positives": true,
        "false_positives": len(findings) - true,
        "precision": wilson(true, len(findings)),
        "recall": wilson(sum(_is_in(entry, seen) for entry in truth.misuse), len(truth.misuse)),
        "found_by_story": _by_story(entry for entry in truth.misuse if _is_in(entry, seen)),
        "missed_by_story": _by_story(entry for entry in truth.misuse if not _is_in(entry, seen)),
        "false_by_story": _false_by_story(
            [each.installations for each in findings if each.installations.isdisjoint(guilty)], truth
        ),
    }


def _of_cases(cases: Sequence[Case], truth: Truth, guilty: frozenset[str]) -> dict[str, Any]:
    sure = [case for case in cases if case.score >= SURE]
    true = [case for case in sure if not case.installations.isdisjoint(guilty)]
    false = [case.installations for case in sure if case.installations.isdisjoint(guilty)]
    seen = frozenset(each for case in sure for each in case.installations)
    lasting = [entry for entry in truth.misuse if entry.days >= LASTING]
    anywhere = frozenset(each for case in cases for each in case.installations)
    first = sorted(cases, key=lambda case: -case.score)[: min(_FIRST, len(truth.misuse))]
    return {
        "threshold": SURE,
        "cases": len(cases),
        "true_positives": len(true),
        "false_positives": len(false),
        "precision": wilson(len(true), len(sure)),
        "recall": wilson(sum(_is_in(entry, seen) for entry in truth.misuse), len(truth.misuse)),
        "recall_of_lasting": wilson(sum(_is_in(entry, seen) for entry in lasting), len(lasting)),
        "recall_in_queue": wilson(sum(_is_in(entry, anywhere) for entry in truth.misuse), len(truth.misuse)),
        "precision_of_first": wilson(
            sum(not case.installations.isdisjoint(guilty) for case in first), len(first)
        ),
        "missed_by_story": _by_story(entry for entry in truth.misuse if not _is_in(entry, seen)),
        "missed_lasting_by_story": _by_story(entry for entry in lasting if not _is_in(entry, seen)),
        "false_by_story": _false_by_story(false, truth),
        "calibration": _calibration(cases, guilty),
        "calibration_error": _calibration_error(cases, guilty),
    }


def _of_formula(cases: Sequence[Case], truth: Truth, guilty: frozenset[str]) -> dict[str, Any]:
    """What a formula says of the same cases: at the threshold, and as an order at recall 0.8."""
    found = _of_cases(cases, truth, guilty)
    names = ("precision", "recall", "recall_of_lasting", "calibration_error")
    return {name: found[name] for name in names} | {
        "precision_at_recall_0.8": _at_recall(cases, truth, guilty, 0.8)
    }


def _at_recall(
    cases: Sequence[Case], truth: Truth, guilty: frozenset[str], wanted: float
) -> dict[str, Any] | None:
    """The precision of the shortest beginning of the queue with that share of misuse; None: none has."""
    seen: set[str] = set()
    true = 0
    for number, case in enumerate(sorted(cases, key=lambda case: -case.score), 1):
        seen |= case.installations
        true += not case.installations.isdisjoint(guilty)
        if sum(_is_in(entry, seen) for entry in truth.misuse) >= wanted * len(truth.misuse):
            return wilson(true, number)
    return None


def _calibration(cases: Sequence[Case], guilty: frozenset[str]) -> list[dict[str, Any]]:
    rows = []
    for low, high in pairwise(_BINS):
        here = [case for case in cases if low <= case.score < high or case.score == high == _BINS[-1]]
        if here:
            true = sum(not case.installations.isdisjoint(guilty) for case in here)
            says = round(sum(case.score for case in here) / len(here), 4)
            rows.append({"from": low, "to": high, "says": says, "is": wilson(true, len(here))})
    return rows


def _calibration_error(cases: Sequence[Case], guilty: frozenset[str]) -> float | None:
    """The mean distance of what bins of scores say from what they are, each weighed by its cases."""
    rows = _calibration(cases, guilty)
    if not cases:
        return None
    distance = sum(abs(row["says"] - row["is"]["share"]) * row["is"]["of"] for row in rows)
    return round(float(distance) / len(cases), 4)


def _delay(truth: Truth, findings: Collection[Finding], interval: timedelta) -> dict[str, Any]:
    """How long clones went on before the rule could see them, in days and in reporting intervals."""
    clones = [entry for entry in truth.misuse if "clone" in entry.story]
    seen = [each for each in findings if each.rule == "live_clone" and each.seen_at is not None]
    delays = []
    for entry in clones:
        times = [each.seen_at for each in seen if each.seen_at and _is_in(entry, each.installations)]
        if times:
            delays.append(max(0.0, (min(times) - entry.begins_at).total_seconds()))
    middle = median(delays) if delays else None
    return {
        "misuses": len(clones),
        "found": wilson(len(delays), len(clones)),
        "median_days": None if middle is None else round(middle / 86_400, 2),
        "median_intervals": None if middle is None else round(middle / interval.total_seconds(), 2),
    }


def _is_in(entry: TruthEntry, installations: Collection[str]) -> bool:
    return not entry.installations.isdisjoint(installations)


def _by_story(entries: Iterable[TruthEntry]) -> dict[str, int]:
    return dict(sorted(Counter(each.story for each in entries).items()))


def _false_by_story(false: Sequence[frozenset[str]], truth: Truth) -> dict[str, int]:
    """The honest stories behind false alarms; those of no story are ordinary."""
    of = {each: entry.story for entry in truth.honest for each in entry.installations}
    stories = (next((of[each] for each in ids if each in of), ORDINARY) for ids in false)
    return dict(sorted(Counter(stories).items()))
