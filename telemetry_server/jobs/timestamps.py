"""Timestamps of RFC 3161 from an authority that the operator chooses. Needs the extra `timestamps`."""

from importlib.util import find_spec
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from telemetry_server.errors import OperatorError

TIMEOUT_SECONDS = 30
_LARGEST_ANSWER = 65_536
_GRANTED = (0, 1)
"""Granted, and granted with modifications."""


class TimestampsMissing(OperatorError):
    """Timestamps need rfc3161-client. Install it: pip install "license-telemetry-server[timestamps]"."""

    code = "timestamps_missing"


class NoTimestamp(OperatorError):
    """The timestamp authority gives no timestamp."""

    code = "no_timestamp"


def timestamp(url: str, data: bytes) -> bytes:
    """The answer of the authority for the SHA-256 of `data`, which has its signature: DER. Blocks.

    Raises TimestampsMissing, NoTimestamp or OSError. Checks that the answer belongs to the request; the
    signature of the authority is for `openssl ts -verify`, with its certificate.
    """
    if find_spec("rfc3161_client") is None:
        raise TimestampsMissing
    from rfc3161_client import (  # noqa: PLC0415
        HashAlgorithm,
        TimestampRequestBuilder,
        decode_timestamp_response,
    )

    request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
    headers = {"Content-Type": "application/timestamp-query", "User-Agent": "license-telemetry-server"}
    asked = Request(url, request.as_bytes(), headers)  # noqa: S310  the setting is http or https
    with build_opener(NoRedirects()).open(asked, timeout=TIMEOUT_SECONDS) as reply:
        answer: bytes = reply.read(_LARGEST_ANSWER)
    try:
        response = decode_timestamp_response(answer)
        if response.status not in _GRANTED:
            raise NoTimestamp(f"The timestamp authority refuses, with status {response.status}.")
        info = response.tst_info
        same = info.nonce == request.nonce and info.message_imprint.message == request.message_imprint.message
    except ValueError as error:
        raise NoTimestamp(f"The timestamp authority's answer is not one of RFC 3161 ({error}).") from None
    if not same:
        raise NoTimestamp("The timestamp authority's answer belongs to another request.")
    return answer


class NoRedirects(HTTPRedirectHandler):
    """An authority or a witness answers where it is asked; another address was not configured."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None
