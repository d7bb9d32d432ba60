"""From the bytes of an upload to its pings, each with its own fate. Pure."""

from typing import Any

import msgspec
import orjson

from telemetry_server.check.explain import FieldFault, explain
from telemetry_server.check.ping import PingReader, Refused, check_characters
from telemetry_server.check.registry import MOST_PINGS, Carrier, Registry
from telemetry_server.check.schema import strict_upload_type, type_of
from telemetry_server.errors import FieldProblem, Malformed, TooLarge, Unprocessable
from telemetry_server.model import Arrival, Ping, Reason, RefusedPing

LARGEST_SINGLE_SENT = 64 * 1024
LARGEST_SINGLE_INFLATED = 256 * 1024
_ESCAPED_NUL = b"\\u0000"


class UploadReader:
    """Reads uploads as the field registry declares them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._decode = msgspec.json.Decoder(strict_upload_type(registry)).decode
        self._type = type_of(Carrier.UPLOAD, registry)
        self._pings = PingReader(registry)

    def read(self, arrival: Arrival) -> None:
        """Fills in what the upload says of itself and its pings, in the order sent.

        Raises Malformed, Unprocessable or TooLarge for the upload as a whole; a single bad ping never
        costs a good one, a RefusedPing stands in its place.
        """
        if not self._read_at_once(arrival):
            self._read_thoroughly(arrival)

    def _read_at_once(self, arrival: Arrival) -> bool:
        """Decodes and checks in one pass what is as our own clients write it: nearly every upload.

        False for any other, which is not judged here.
        """
        if _ESCAPED_NUL in arrival.body:
            return False
        try:
            upload: Any = self._decode(arrival.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        _refuse_large_single(arrival, upload.pings)
        items: list[Ping | RefusedPing] = []
        for ping in upload.pings:
            kept = self._pings.keep(ping, upload.sdk)
            if kept is None:
                return False
            items.append(kept)
        _fill_in(arrival, upload, items)
        return True

    def _read_thoroughly(self, arrival: Arrival) -> None:
        """Field by field; finds out what is wrong, what is unknown, and what is above a ping's level."""
        raw = _decode(arrival.body)
        envelope, raws = self._envelope(raw)
        _refuse_large_single(arrival, raws)
        doubtful = _ESCAPED_NUL in arrival.body
        if doubtful and envelope.sdk is not msgspec.UNSET:
            _refuse_forbidden_characters(raw["sdk"])
        _fill_in(arrival, envelope, [self._read_ping(ping, envelope.sdk, doubtful) for ping in raws])

    def _envelope(self, raw: object) -> tuple[Any, list[Any]]:
        if not isinstance(raw, dict):
            raise Unprocessable("An upload is a JSON object.")
        raws = raw.get("pings")
        if not isinstance(raws, list) or not 1 <= len(raws) <= MOST_PINGS:
            problem = FieldProblem("/pings", f"must be an array of 1 to {MOST_PINGS} pings")
            raise Unprocessable("The upload carries no pings, or too many.", problems=[problem])
        try:
            return msgspec.convert(raw, self._type), raws
        except msgspec.ValidationError as error:
            faults = explain(raw, self._registry, Carrier.UPLOAD) or [FieldFault.unexplained(str(error))]
            problems = [FieldProblem(fault.pointer, fault.detail) for fault in faults]
            raise Unprocessable("The upload around the pings is wrong.", problems=problems) from None

    def _read_ping(self, raw: Any, sdk: object, doubtful: bool) -> Ping | RefusedPing:
        try:
            if doubtful:
                check_characters(raw)
            return self._pings.read(raw, sdk)
        except Refused as refusal:
            return _refused(raw, refusal.faults[0])


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None


def _fill_in(arrival: Arrival, envelope: Any, items: list[Ping | RefusedPing]) -> None:
    arrival.items = _in_order(items) if len(items) > 1 else items
    arrival.upload_id = envelope.upload_id
    arrival.sent_at = envelope.sent_at


def _refuse_large_single(arrival: Arrival, pings: list[Any]) -> None:
    if len(pings) > 1:
        return
    if len(arrival.sent) > LARGEST_SINGLE_SENT or len(arrival.body) > LARGEST_SINGLE_INFLATED:
        raise TooLarge(
            f"One ping may take {LARGEST_SINGLE_SENT} bytes sent and {LARGEST_SINGLE_INFLATED} inflated."
        )


def _refuse_forbidden_characters(sdk: object) -> None:
    try:
        check_characters(sdk)
    except Refused as refusal:
        problem = FieldProblem("/sdk", refusal.faults[0].detail)
        raise Unprocessable("The upload around the pings is wrong.", problems=[problem]) from None


def _in_order(items: list[Ping | RefusedPing]) -> list[Ping | RefusedPing]:
    """The items with every ping refused whose number does not rise, but for a plain repetition."""
    highest: Ping | None = None
    ordered: list[Ping | RefusedPing] = []
    for item in items:
        if isinstance(item, Ping):
            if highest is None or item.sequence > highest.sequence or _same(item, highest):
                highest = item
            else:
                detail = f"sequence {item.sequence} comes after {highest.sequence}; send in rising sequence"
                item = RefusedPing(str(item.ping_id), item.sequence, Reason.OUT_OF_ORDER, detail)  # noqa: PLW2901
        ordered.append(item)
    return ordered


def _same(one: Ping, other: Ping) -> bool:
    return one.sequence == other.sequence and one.ping_id == other.ping_id


def _refused(raw: Any, fault: FieldFault) -> RefusedPing:
    ping_id = raw.get("ping_id") if isinstance(raw, dict) else None
    sequence = raw.get("sequence") if isinstance(raw, dict) else None
    detail = f"{fault.path}: {fault.detail}" if fault.path else fault.detail
    return RefusedPing(
        ping_id if isinstance(ping_id, str) and len(ping_id) <= 64 else None,  # noqa: PLR2004  a UUID has 36
        sequence if type(sequence) is int else None,
        fault.reason,
        detail,
    )
