"""What the forms of licenses and customers share: fields, changed cells, and the page before a change."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from telemetry_server.errors import BadRequest
from telemetry_server.show.body import LONGEST_REASON
from telemetry_server.show.differences import Difference
from telemetry_server.show.render import page
from telemetry_server.text import hidden_in


class Steps(StrEnum):
    """What a form asks for: to see the difference, or to save it."""

    PREVIEW = "preview"
    SAVE = "save"


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form; `options` make it a choice, `long` a text of several lines."""

    name: str
    label: str
    value: str
    options: tuple[str, ...] = ()
    hint: str | None = None
    problem: str | None = None
    long: bool = False


def changed_cells(
    form: Mapping[str, str], texts: Mapping[str, str], names: Collection[str]
) -> dict[str, str]:
    """The fields of the form that differ from `texts`; an empty one is not in a form, and empties the field.

    The form's `fields`, names separated by commas, limits them: the page before a change sends only these.
    """
    sent = form["fields"].split(",") if "fields" in form else names
    cells = {name: form.get(name, "").replace("\r\n", "\n").strip() for name in names if name in sent}
    return {name: text for name, text in cells.items() if text != texts[name].strip()}


def reason_of(form: Mapping[str, str]) -> str | None:
    """The reason for the history. Raises BadRequest."""
    reason = form.get("reason", "").strip()
    if len(reason) > LONGEST_REASON or hidden_in(reason):
        raise BadRequest(f"The reason may be {LONGEST_REASON} characters long, without invisible ones.")
    return reason or None


def confirm_page(
    request: web.Request,
    *,
    title: str,
    action: str,
    rows: Sequence[Difference],
    cells: Mapping[str, str],
    hidden: Mapping[str, str],
    back: str,
    copies: int = 0,
) -> web.Response:
    """The difference that a form would make, with the button that makes it."""
    return page(
        request,
        "registry_confirm.html",
        title=title,
        action=action,
        rows=rows,
        hidden={**hidden, **cells, "fields": ",".join(cells), "step": Steps.SAVE.value},
        back=back,
        copies=copies,
    )
