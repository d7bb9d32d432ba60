"""The privacy notice as installations learn of it: with their identity, and with the answer to an upload."""

from typing import Annotated

from msgspec import Meta, Struct

from telemetry_server.model import Moment


class Notice(Struct):
    """The privacy notice in force."""

    version: str
    url: str


class NoticeText(Struct):
    """The privacy notice in force, in one language."""

    version: str
    url: Annotated[str, Meta(description="A page for people.")]
    sha256: Annotated[str, Meta(description="Of its text in UTF-8, in lower-case hex.")]
    language: str
    valid_from: Moment
