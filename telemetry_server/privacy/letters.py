"""The draft of the answer to a request: one text for each kind, filled with the facts. Nothing is sent.

An operator's own text replaces one of these: DATA/letters/KIND.txt, with the same placeholders.
"""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from string import Template

from telemetry_server.errors import OperatorError
from telemetry_server.privacy.deadlines import due_on
from telemetry_server.privacy.store.requests import RequestKind, RequestState, Step, SubjectRequest
from telemetry_server.text import decoded

DIRECTORY = "letters"
REFUSED = "refused"
"""The letter of a refusal: `$what` is its ground; in others, what was done, from the history."""

_BEGINNING = "On $received you sent us a request about the data of $subject.\n\n"
_END = """
$extended
If you do not agree, you can complain to a supervisory authority, or go to court.

$owner
$today
"""
LETTERS = {
    RequestKind.ACCESS: """You asked which data we store about you (Article 15 GDPR). The enclosed files have
all of it, one for each kind of data. README.txt says what each of them is, why it is collected and how long
it is kept.
$what
""",
    RequestKind.RECTIFICATION: """You asked us to correct your data (Article 16 GDPR). It now reads:

$what
""",
    RequestKind.ERASURE: """You asked us to erase your data (Article 17 GDPR). It was deleted from our
systems. Backups that were made before are overwritten by the day that the enclosed certificate names. It says
what is kept for legal claims, if anything is.
$what
""",
    RequestKind.RESTRICTION: """You asked us to restrict the processing of your data (Article 18 GDPR). Since
then, only our privacy officer sees it. We tell you before that ends.
$what
""",
    RequestKind.OBJECTION: """You objected to the use of your data for "$purpose" (Article 21 GDPR). We do not
keep what only that purpose needs any more, and delete what was kept before.
$what
""",
    RequestKind.PORTABILITY: """You asked for your data in a machine-readable format (Article 20 GDPR). The
enclosed file is JSON: an object for each kind of data, with a list of rows.
$what
""",
}
REFUSAL = """We do not act on this request, for this reason (Article 12(4) GDPR):

$what
"""


def letter(
    request: SubjectRequest, steps: Sequence[Step], today: date, *, directory: Path | None = None
) -> str:
    """The draft. `directory`: the operator's own texts. Raises OperatorError for one that is not UTF-8."""
    refused = request.state is RequestState.REFUSED
    own = own_text(directory, REFUSED if refused else request.kind)
    text = own or _BEGINNING + (REFUSAL if refused else LETTERS[request.kind]) + _END
    facts = {
        "received": request.received_on,
        "due": request.due_on,
        "extended": _extension(request, steps),
        "subject": f"{request.subject.kind} {request.name}",
        "purpose": request.purpose or "every purpose",
        "owner": request.owner or "",
        "what": _what(steps, request.state),
        "today": today,
    }
    filled = Template(text).safe_substitute(facts).strip()
    return re.sub(r"\n{3,}", "\n\n", filled) + "\n"


def own_text(directory: Path | None, name: str) -> str | None:
    """The operator's own text of that name; None: there is none. Raises OperatorError."""
    try:
        return decoded((directory / f"{name}.txt").read_bytes()) if directory else None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise OperatorError(f"{directory}/{name}.txt is no text in UTF-8.") from error


def _extension(request: SubjectRequest, steps: Sequence[Step]) -> str:
    if not request.extended:
        return ""
    reason = next((step.note for step in steps if step.step == "extended"), None) or ""
    first = due_on(request.received_on)
    return f"We needed longer than until {first}, and extended the time to {request.due_on}: {reason}\n"


def _what(steps: Sequence[Step], state: RequestState) -> str:
    """What the steps say that was done, one line each."""
    lines = []
    for step in steps:
        for name, change in step.details.get("changed", {}).items():
            lines.append(f"{name}: {change[1] if change[1] is not None else '(removed)'}")
        if step.step == "answered" and (erasure := step.details.get("erasure")):
            lines.append(f"Certificate: {erasure}")
        if step.step == "done" and (level := step.details.get("level")):
            lines.append(f"We keep no more than the level: {level}")
    closing = [step.note for step in steps if step.step == state and step.note and state.is_closed]
    return "\n".join([*lines, *closing[-1:]])
