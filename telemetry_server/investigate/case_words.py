"""Cases in words: what happened to one, and what its score says. The language is of leads. Pure."""

from collections.abc import Mapping
from typing import Any

from telemetry_server.investigate.case_lists import QueueState
from telemetry_server.investigate.case_work import CaseAction, Decision

DECISIONS: Mapping[Decision, str] = {
    Decision.CONFIRMED: "The lead was right",
    Decision.EXPLAINED: "There is an innocent explanation",
    Decision.UNCLEAR: "It stays unclear",
}
STATES: Mapping[QueueState, str] = {
    QueueState.TO_DO: "to do",
    QueueState.WAITING: "waiting",
    QueueState.PAUSED: "out of the queue",
    QueueState.DECIDED: "decided",
    QueueState.ALL: "all",
}
PAUSES: Mapping[str, str] = {
    CaseAction.SNOOZE: "Snoozed",
    CaseAction.KNOWN_AND_FINE: "Known and fine",
    CaseAction.EXCEPTION: "Exception",
}


def similar(score: float) -> str:
    """What a score says: a frequency in a simulated world, never a probability of guilt."""
    of_100 = round(100 * score)
    return f"In {of_100} of 100 simulated cases with this evidence, a copy should not have existed."


def described(what: Mapping[str, Any]) -> tuple[str, str | None]:
    """What happened, in words, and the text that a person gave with it."""
    for name, said in what.items():
        if (words := _WORDS.get(name)) is not None:
            note = said if name == "note" else said.get("reason") or said.get("ground")
            return words(said), note
    return "changed", None


def _state(said: Mapping[str, Any]) -> str:
    until = f" until {str(said['until'])[:10]}" if said.get("until") else ""
    return f"state {said['before']} → {said['after']}{until}"


def _moved(count: int) -> str:
    return "1 finding" if count == 1 else f"{count} findings"


def _found(said: Any) -> str:
    return f"a rule found something: {said['rule']}"


_WORDS: Mapping[str, Any] = {
    "opened": lambda _: "opened by its first finding",
    "found": _found,
    "closed": lambda said: f"no longer seen: {said['rule']} ({said['closed_why']})",
    "state": _state,
    "owner": lambda said: f"owner {said['before'] or 'no one'} → {said['after'] or 'no one'}",
    "note": lambda _: "note",
    "paused": lambda said: (
        f"{PAUSES[said['kind']].lower()}{' of ' + said['rule'] if said['rule'] else ''} until {said['until']}"
    ),
    "pause_ended": lambda said: f"{PAUSES[said['kind']].lower()} ended",
    "merged": lambda said: f"merged into case {said['case'][-12:]}, with {_moved(len(said['findings']))}",
    "merged_from": lambda said: (
        f"case {said['case'][-12:]} was merged into this, with {_moved(len(said['findings']))}"
    ),
    "unmerged": lambda said: f"merge taken back, with {_moved(len(said['findings']))}",
    "unmerged_from": lambda said: (
        f"case {said['case'][-12:]} is one of its own again, with {_moved(len(said['findings']))}"
    ),
    "held": lambda said: f"{said['rows']} rows held",
    "hold_released": lambda _: "hold released, its rows deleted",
    "exported": lambda said: f"evidence exported for: {said['purpose']} (SHA-256 {said['sha256'][:16]}…)",
    "attached": lambda said: f"file added: {said['name']}",
    "detached": lambda said: f"file removed: {said['name']}",
}
