"""Reads the bytes of an upload: each ping is kept or refused on its own. Pure."""

from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Raw

from telemetry_server.check.explain import FORBIDDEN_CHARACTER, FieldFault, explain
from telemetry_server.check.fields import MOST_PINGS, Carrier, Registry
from telemetry_server.check.json_text import NUL, has_forbidden_character, scalar
from telemetry_server.check.normalise import Normaliser
from telemetry_server.check.ping import PingReader, Refused
from telemetry_server.check.schema import array_type, envelope_type, type_of, upload_type
from telemetry_server.errors import FieldProblem, Malformed, TooLarge, Unprocessable
from telemetry_server.model import Arrival, Ping, Reason, RefusedPing, Slices

LARGEST_SINGLE_SENT = 64 * 1024
LARGEST_SINGLE_INFLATED = 256 * 1024
_AT_ONCE = 64 * 1024  # bytes, read in a few milliseconds
_COST_OF_A_PING = 1024  # the fixed cost of a ping, in bytes
_LONGEST_ID = 64  # a UUID has 36


class UploadReader:
    """Reads uploads as the field registry declares them."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._decode = msgspec.json.Decoder(upload_type(registry)).decode
        self._decode_envelope = msgspec.json.Decoder(envelope_type(registry)).decode
        self._decode_array = msgspec.json.Decoder(array_type(MOST_PINGS)).decode
        self._decode_own = msgspec.json.Decoder(type_of(Carrier.UPLOAD, registry)).decode
        self._normalise = Normaliser(Carrier.UPLOAD, registry).normalise
        self._pings = PingReader(registry)

    def read(self, arrival: Arrival) -> Slices | None:
        """Fills in the upload's own fields and its pings, in the order sent.

        Returns None when that is done, as for nearly every upload; else the slices of the work, of a few
        milliseconds each. Raises Malformed, Unprocessable or TooLarge for the upload as a whole. A bad ping
        never costs a good one: a RefusedPing takes its place.
        """
        if len(arrival.body) <= _AT_ONCE and self._read_at_once(arrival):
            return None
        return self._read_in_slices(arrival)

    def _read_at_once(self, arrival: Arrival) -> bool:
        """Decodes and checks in one pass an upload as our own clients write it; False for any other."""
        if NUL in arrival.body:
            return False
        try:
            upload: Any = self._decode(arrival.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        _refuse_large_single(arrival, len(upload.pings))
        items: list[Ping | RefusedPing] = []
        for ping in upload.pings:
            kept = self._pings.keep(ping, upload.sdk)
            if kept is None:
                return False
            items.append(kept)
        _fill_in(arrival, upload, items)
        return True

    def _read_in_slices(self, arrival: Arrival) -> Slices:
        """Reads ping by ping. Unknown members are skipped as bytes, and never built."""
        members = self._members(arrival.body)
        yield
        pings = self._array(members.pop("pings", None))
        _refuse_large_single(arrival, len(pings))
        own = self._own(members)
        items: list[Ping | RefusedPing] = []
        cost = len(arrival.body)
        for ping in pings:
            if cost > _AT_ONCE:
                yield
                cost = 0
            text = bytes(ping)
            items.append(self._read_ping(text, own.sdk))
            cost += len(text) + _COST_OF_A_PING
        _fill_in(arrival, own, items)

    def _members(self, body: bytes) -> dict[str, Raw]:
        """The known members of the upload, each as its JSON. Raises Unprocessable or Malformed."""
        try:
            body.decode()
            envelope = self._decode_envelope(body)
        except msgspec.ValidationError:
            raise Unprocessable("An upload is a JSON object.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"The body is not valid JSON in UTF-8: {error}") from None
        return {name: text for name, text in msgspec.structs.asdict(envelope).items() if text is not None}

    def _array(self, pings: Raw | None) -> list[Raw]:
        """The JSON of each ping. Raises Unprocessable."""
        try:
            if pings is not None:
                array = self._decode_array(pings)
                texts = (getattr(array, name) for name in array.__struct_fields__)
                return list(takewhile(lambda text: text is not None, texts))
        except msgspec.ValidationError:
            pass
        problem = FieldProblem("/pings", f"must be an array of 1 to {MOST_PINGS} pings")
        raise Unprocessable("The upload carries no pings, or too many.", problems=[problem])

    def _own(self, members: dict[str, Raw]) -> Any:
        """The upload without its pings, decoded. Raises Unprocessable."""
        problems = [
            FieldProblem(f"/{name}", f"may take at most {LARGEST_SINGLE_INFLATED} bytes")
            for name, text in members.items()
            if len(bytes(text)) > LARGEST_SINGLE_INFLATED
        ]
        if not problems:
            known = self._normalise(members).members
            text = msgspec.json.encode(known)
            try:
                own = self._decode_own(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                faults = explain(known, self._registry, Carrier.UPLOAD)
                problems = [FieldProblem("/" + f.path.replace(".", "/"), f.detail) for f in faults]
                problems = problems or [FieldProblem("", str(error))]
            else:
                if not has_forbidden_character(text):
                    return own
                problems = [FieldProblem("/sdk", FORBIDDEN_CHARACTER.detail)]
        raise Unprocessable("The upload around the pings is wrong.", problems=problems)

    def _read_ping(self, text: bytes, sdk: object) -> Ping | RefusedPing:
        if len(text) > LARGEST_SINGLE_INFLATED:
            detail = f"takes more than {LARGEST_SINGLE_INFLATED} bytes"
            return _refused(text, FieldFault("", Reason.TOO_LARGE, detail))
        try:
            return self._pings.read(text, sdk)
        except Refused as refusal:
            return _refused(text, refusal.fault)


def _fill_in(arrival: Arrival, envelope: Any, items: list[Ping | RefusedPing]) -> None:
    arrival.items = _in_order(items) if len(items) > 1 else items
    arrival.upload_id = envelope.upload_id
    arrival.sent_at = envelope.sent_at


def _refuse_large_single(arrival: Arrival, pings: int) -> None:
    if pings > 1:
        return
    if len(arrival.sent) > LARGEST_SINGLE_SENT or len(arrival.body) > LARGEST_SINGLE_INFLATED:
        raise TooLarge(
            f"One ping may take {LARGEST_SINGLE_SENT} bytes sent and {LARGEST_SINGLE_INFLATED} inflated."
        )


def _in_order(items: list[Ping | RefusedPing]) -> list[Ping | RefusedPing]:
    """The items, with a refusal for each ping whose number does not rise; a plain repetition may stay."""
    highest: Ping | None = None
    ordered: list[Ping | RefusedPing] = []
    for item in items:
        if isinstance(item, Ping):
            repeats = highest and (item.sequence, item.ping_id) == (highest.sequence, highest.ping_id)
            if highest is None or item.sequence > highest.sequence or repeats:
                highest = item
            else:
                detail = f"sequence {item.sequence} comes after {highest.sequence}; send in rising sequence"
                item = RefusedPing(str(item.ping_id), item.sequence, Reason.OUT_OF_ORDER, detail)  # noqa: PLW2901
        ordered.append(item)
    return ordered


class _Identity(msgspec.Struct, gc=False):
    """The members that identify a ping, each as its JSON."""

    ping_id: Raw = Raw(b"null")
    sequence: Raw = Raw(b"null")


_decode_identity = msgspec.json.Decoder(_Identity).decode


def _refused(text: bytes, fault: FieldFault) -> RefusedPing:
    try:
        named = _decode_identity(text)
    except msgspec.ValidationError:
        named = _Identity()
    ping_id, sequence = _short(named.ping_id), _short(named.sequence)
    detail = f"{fault.path}: {fault.detail}" if fault.path else fault.detail
    return RefusedPing(
        ping_id if isinstance(ping_id, str) else None,
        sequence if type(sequence) is int else None,
        fault.reason,
        detail,
    )


def _short(text: Raw) -> Any:
    """The value if it is no longer than an id, else None."""
    return scalar(text) if len(bytes(text)) <= _LONGEST_ID else None
