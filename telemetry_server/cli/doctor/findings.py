"""What a check of "doctor" gives."""

from dataclasses import dataclass
from enum import StrEnum


class FindingLevel(StrEnum):
    """How a check went. A warning asks for a look; what failed has to be mended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and what to do about it."""

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
