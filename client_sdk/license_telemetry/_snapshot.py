"""How a counter file is laid out, and what one holds.

bytes 0-511       64 words: magic, used slots, lost, ignored, the process, the outbox, what was said
bytes 512-2559    256 words: the counts
from 4096         256 names of 64 bytes
from 20480        for each topic two texts of 1,024 bytes, used in turn
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator

    from ._process import Process

MAGIC = int.from_bytes(b"LTcount\x01", sys.byteorder)
SLOTS, NAME_BYTES = 256, 64
TOPICS = ("license", "ping", "level", "enabled", "forget")
TEXT_BYTES = 1024
PAGE = 4096
VALUES_WORD = 64
NAMES_AT = PAGE
TEXTS_AT = NAMES_AT + SLOTS * NAME_BYTES
FORGONE_WORD = (TEXTS_AT + 2 * len(TOPICS) * TEXT_BYTES) // 8
REGAINED_WORD = FORGONE_WORD + SLOTS
SIZE = 8 * (REGAINED_WORD + SLOTS)
USED, LOST, IGNORED, PROCESS, OUTBOX, WITHDRAWN, SAID = 1, 2, 3, 4, 8, 9, 10
SUFFIX = ".counts"


class Snapshot:
    """What one counter file holds.

    `numbers` only grow: counts by name after a "+", `lost`, `ignored`, and by topic how often something was
    said; `said` has what was said last. `forgone` are the counts
    when consent was withdrawn, `regained` those when it was given.
    """

    __slots__ = ("forgone", "id", "numbers", "outbox", "process", "regained", "said")

    def __init__(
        self,
        id: str,  # noqa: A002
        numbers: Dict[str, int],
        said: Dict[str, str],
        *,
        process: Process,
        outbox: int,
        forgone: Dict[str, int],
        regained: Dict[str, int],
    ) -> None:
        self.id = id
        self.numbers = numbers
        self.said = said
        self.process = process
        self.outbox = outbox
        self.forgone = forgone
        self.regained = regained


def snapshot(content: bytes, id: str) -> Snapshot:  # noqa: A002
    """Read a file's content. Raises ValueError where it is no counter file."""
    if len(content) != SIZE:
        raise ValueError("no counter file")
    words = memoryview(content).cast("Q")
    if words[0] != MAGIC:
        raise ValueError("no counter file")
    numbers = {"+" + name: words[VALUES_WORD + slot] for slot, name in enumerate(names(content))}
    numbers.update(lost=words[LOST], ignored=words[IGNORED], withdrawn=words[WITHDRAWN])
    said = {}
    for number, topic in enumerate(TOPICS):
        times = words[SAID + number]
        if times:
            at = text_at(number, times)
            length = int.from_bytes(content[at : at + 2], "little")
            said[topic] = content[at + 2 : at + 2 + length].decode("utf-8", "replace")
            numbers[topic] = times
    process: Any = tuple(words[PROCESS : PROCESS + 4])
    forgone = {"+" + name: words[FORGONE_WORD + slot] for slot, name in enumerate(names(content))}
    regained = {"+" + name: words[REGAINED_WORD + slot] for slot, name in enumerate(names(content))}
    return Snapshot(
        id, numbers, said, process=process, outbox=words[OUTBOX], forgone=forgone, regained=regained
    )


def names(content: bytes) -> Iterator[str]:
    used = min(memoryview(content).cast("Q")[USED], SLOTS)
    for at in range(NAMES_AT, NAMES_AT + used * NAME_BYTES, NAME_BYTES):
        yield content[at : at + NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")


def text_at(topic: int, times: int) -> int:
    return TEXTS_AT + (2 * topic + times % 2) * TEXT_BYTES
