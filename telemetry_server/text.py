"""Foreign text: encodings of files, and control characters. Imports nothing of ours."""

import codecs
import re
from typing import IO

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Characters that affect the text around them: control characters, line and paragraph separators, and the
# bidirectional controls of Unicode. Not the joiners U+200C and U+200D, which scripts and emoji need.
_BIDI = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_STEERING = re.compile(f"[\0-\x1f\x7f-\x9f{_BIDI}]")
_STEERING_BUT_LINES = re.compile(f"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_BIDI}]")
IN_NO_TEXT = re.compile(f"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_BIDI}\ud800-\udfff]")


def written_out(text: str, *, lines: bool = False) -> str:
    r"""The text with these characters escaped: U+202E becomes \u202e. With `lines`, tabs and line ends stay.

    Text from machines is escaped, as they cannot correct it; text from people is refused, see `hidden_in`.
    """
    steering = _STEERING_BUT_LINES if lines else _STEERING
    return text if text.isprintable() else steering.sub(_number, text)


def _number(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def hidden_in(text: str) -> str | None:
    """The first such character, U+0000 or lone surrogate, as "U+202E"; None: there is none.

    Tabs and line ends are allowed.
    """
    found = None if text.isprintable() else IN_NO_TEXT.search(text)
    return f"U+{ord(found[0]):04X}" if found else None


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
