"""Text from elsewhere: files that other systems wrote, and characters that steer what is around them.

Stands on nothing of ours.
"""

import codecs
import re
from typing import IO

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Control characters (Cc), line and paragraph separators, and the bidirectional controls of Unicode, which
# turn the direction of the text around them. Not the joiners U+200C and U+200D: scripts and emoji need them.
_STEERING = "\x01-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
STEERING = re.compile(f"[{_STEERING}]")


def written_out(text: str) -> str:
    r"""`text` with each steering character as its number: U+202E becomes the six characters \u202e."""
    return STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def steering_in(text: str) -> str | None:
    """The first steering character of `text`, as "U+202E at character 3"; None where there is none."""
    found = STEERING.search(text)
    return f"U+{ord(found[0]):04X} at character {found.start() + 1}" if found else None


def decoded(content: bytes, *, errors: str = "strict") -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Editors and shells of Windows write all three. Raises UnicodeDecodeError.
    """
    return content.decode(_encoding(content) or "utf-8", errors)


def in_utf8(file: IO[bytes]) -> IO[bytes]:
    """`file`, which stands at its beginning and can seek, as UTF-8 without a byte order mark."""
    encoding = _encoding(file.read(len(codecs.BOM_UTF8)))
    file.seek(len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
    return codecs.EncodedFile(file, "utf-8", encoding) if encoding == "utf-16" else file


def _encoding(start: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)
