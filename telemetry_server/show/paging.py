"""Pagination of the API's lists."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from aiohttp import web
from msgspec import Meta, Struct

from telemetry_server.errors import BadRequest
from telemetry_server.routing import Parameter
from telemetry_server.show.query import IDENTIFIER, in_utc, integer, text
from telemetry_server.show.responses import json_response, path_with

Found = TypeVar("Found")
Item = TypeVar("Item")


class Page(Struct, Generic[Item]):
    """A page of a list."""

    items: list[Item]
    next: Annotated[str | None, Meta(description="Path and query of the next page; null on the last.")]


LIMIT = Parameter("limit", "Items on a page.", integer(1, 500, default=50))
AFTER_ID = Parameter("after", "Where the page before ended: the id of its last item.", IDENTIFIER)
AFTER = Parameter("after", "Where the page before ended: as in its next.", text())


def page(
    request: web.Request,
    found: Sequence[Found],
    limit: int,
    item: Callable[[Found], Item],
    key: Callable[[Found], object],
) -> web.Response:
    """A page of the first `limit` items; one more in `found` means that there is a next page.

    The next page begins after the `key` of the last item.
    """
    following = path_with(request, after=str(key(found[limit - 1]))) if len(found) > limit else None
    return json_response(Page([item(one) for one in found[:limit]], following))


def bigint(text: str) -> int:
    """Raises ValueError."""
    if (found := int(text)).bit_length() >= 64:  # noqa: PLR2004
        raise ValueError(text)
    return found


def moment_key(moment: datetime, *rest: object) -> str:
    """A value of the parameter `after` that begins with a time."""
    return "~".join([moment.astimezone(UTC).isoformat().replace("+00:00", "Z"), *map(str, rest)])


def read_moment_key(cursor: str, *readers: Callable[[str], Any]) -> tuple[Any, ...]:
    """The parts of a `moment_key`, read by `readers`, which raise ValueError. Raises BadRequest."""
    parts = cursor.split("~", len(readers))
    try:
        moment = in_utc(datetime.fromisoformat(parts[0]))
        return moment, *(read(part) for read, part in zip(readers, parts[1:], strict=True))
    except (ValueError, OverflowError):
        raise BadRequest("after must be taken from the next of the page before.") from None
