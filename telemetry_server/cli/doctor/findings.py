"""The result of a check of "doctor"."""

from dataclasses import dataclass
from enum import StrEnum


class FindingLevel(StrEnum):
    """The outcome of a check: a warning may be intended, a failure has to be fixed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of a check, with advice."""

    check: str
    outcome: FindingLevel
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, FindingLevel.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, FindingLevel.WARNING, detail, advice)


def failed(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, FindingLevel.FAILED, detail, advice)
