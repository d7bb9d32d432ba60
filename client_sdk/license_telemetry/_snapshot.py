"""The layout and the content of a counter file.

bytes 0-511       64 words: magic, used slots, lost, ignored, the process, the outbox, statements
bytes 512-2559    256 words: the counts
from 4096         256 names of 64 bytes
from 20480        for each topic two texts of 1,024 bytes, used in turn
from 30720        256 counts when consent was withdrawn, 256 when it was given
from 34816        the first 2,560 bytes at the last harvest: read if the outbox does not know the file
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List

    from ._process import Process

MAGIC = int.from_bytes(b"LTcount\x02", sys.byteorder)
SLOTS, NAME_BYTES = 256, 64
TOPICS = ("license", "ping", "level", "enabled", "forget")
TEXT_BYTES = 1024
PAGE = 4096
VALUES_WORD = 64
NAMES_AT = PAGE
TEXTS_AT = NAMES_AT + SLOTS * NAME_BYTES
FORGONE_WORD = (TEXTS_AT + 2 * len(TOPICS) * TEXT_BYTES) // 8
REGAINED_WORD = FORGONE_WORD + SLOTS
TAKEN_WORD = REGAINED_WORD + SLOTS
TAKEN_WORDS = VALUES_WORD + SLOTS
SIZE = 8 * (TAKEN_WORD + TAKEN_WORDS)
USED, LOST, IGNORED, PROCESS, OUTBOX, WITHDRAWN, SAID, ORIGINAL = 1, 2, 3, 4, 8, 9, 10, 15
HEAD = (
    ("lost", LOST),
    ("ignored", IGNORED),
    ("withdrawn", WITHDRAWN),
    *((topic, SAID + number) for number, topic in enumerate(TOPICS)),
)
SUFFIX = ".counts"


class Snapshot:
    """The content of a counter file.

    `numbers` only grow: counts by name after a "+", `lost`, `ignored`, and the number of statements by topic;
    `said` has the last statements. `forgone` are the counts when consent was withdrawn, `regained` those when
    it was given, `taken` the numbers at the last harvest. `is_original`: not a copy of one in shared memory.
    """

    __slots__ = ("forgone", "id", "is_original", "numbers", "outbox", "process", "regained", "said", "taken")

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
        taken: Dict[str, int],
        is_original: bool,
    ) -> None:
        self.id = id
        self.numbers = numbers
        self.said = said
        self.process = process
        self.outbox = outbox
        self.forgone = forgone
        self.regained = regained
        self.taken = taken
        self.is_original = is_original


def snapshot(content: bytes, id: str) -> Snapshot:  # noqa: A002
    """Reads the content of a file. Raises ValueError if it is not a counter file."""
    if len(content) != SIZE:
        raise ValueError("no counter file")
    words = memoryview(content).cast("Q")
    if words[0] != MAGIC:
        raise ValueError("no counter file")
    features = ["+" + name for name in names(content)]
    said = {}
    for number, topic in enumerate(TOPICS):
        times = words[SAID + number]
        if times:
            at = text_at(number, times)
            length = int.from_bytes(content[at : at + 2], "little")
            said[topic] = content[at + 2 : at + 2 + length].decode("utf-8", "replace")
    process: Any = tuple(words[PROCESS : PROCESS + 4])
    return Snapshot(
        id,
        _numbers(words, 0, features),
        said,
        process=process,
        outbox=words[OUTBOX],
        forgone=_counts(words, FORGONE_WORD, features),
        regained=_counts(words, REGAINED_WORD, features),
        taken=_numbers(words, TAKEN_WORD, features),
        is_original=bool(words[ORIGINAL]),
    )


def _counts(words: Any, start: int, features: List[str]) -> Dict[str, int]:
    return {name: words[start + slot] for slot, name in enumerate(features)}


def _numbers(words: Any, start: int, features: List[str]) -> Dict[str, int]:
    numbers = _counts(words, start + VALUES_WORD, features)
    for name, word in HEAD:
        if words[start + word]:
            numbers[name] = words[start + word]
    return numbers


def taken_block(numbers: Dict[str, int]) -> bytes:
    """The bytes of the `numbers` of a snapshot, for the file from TAKEN_WORD on."""
    words = [0] * TAKEN_WORDS
    counts = [count for name, count in numbers.items() if name.startswith("+")]  # in the order of their slots
    words[VALUES_WORD : VALUES_WORD + len(counts)] = counts
    for name, word in HEAD:
        words[word] = numbers.get(name, 0)
    return b"".join(word.to_bytes(8, sys.byteorder) for word in words)


def names(content: bytes) -> Iterator[str]:
    used = min(memoryview(content).cast("Q")[USED], SLOTS)
    for at in range(NAMES_AT, NAMES_AT + used * NAME_BYTES, NAME_BYTES):
        yield content[at : at + NAME_BYTES].rstrip(b"\0").decode("ascii", "replace")


def text_at(topic: int, times: int) -> int:
    return TEXTS_AT + (2 * topic + times % 2) * TEXT_BYTES
