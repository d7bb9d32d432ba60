"""Reads files of rows incrementally: CSV with a header, or NDJSON. Pure but for the file handed in.

For any bytes, each row is read or is a problem with its line, and reading resumes at the next row: a quote
that is never closed costs its own line, not the rest of the file. Memory is bounded: no line longer than
LONGEST_LINE is parsed, and no row has more than MOST_LINES lines.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, TypeAlias

import orjson

from telemetry_server.check.licenses.cells import visible
from telemetry_server.errors import OperatorError

LONGEST_LINE = 256 * 1024
MOST_LINES = 100
DELIMITERS = (b",", b";", b"\t")
TAB = "\t"
NAMELESS = "column {}"

Cells: TypeAlias = dict[str, Any]


class RowFormat(StrEnum):
    """The formats of a file."""

    CSV = "csv"
    NDJSON = "ndjson"


class WrongFile(OperatorError):
    """The file cannot be read at all."""

    status, code = 422, "wrong_file"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A problem in a file: the first line of its row, its column if it has one, and what to do."""

    line: int
    column: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row and its first line: texts by column, or the members of an NDJSON object."""

    line: int
    cells: Cells


_RUN = "(?=[\\s\ufeff\"']*[=+\\-@|\uff1d\uff0b\uff0d\uff20])"
_BREAK = "(?=[ \ufeff\"']*[\t\r\n\0])"
_FORMULA = re.compile(f"(^|;){_RUN}|^{_BREAK}")
_GUARDED = re.compile(f"(^|;)'{_RUN}|^'{_BREAK}")


def guarded(text: str) -> str:
    """The text with a ' before all that a spreadsheet would run, also after a ; that may split a list."""
    if text[:1].isalnum() and ";" not in text:  # nearly all, and ten times as fast
        return text
    return _FORMULA.sub(r"\1'", text)


def unguarded(text: str) -> str:
    """The text that `guarded` was given."""
    return _GUARDED.sub(r"\1", text)


# Excel's optional first line: sep=; alone, quoted or not.
_SEPARATOR = re.compile(rb'"?sep=([,;\t])"?[;,\t\s]*', re.IGNORECASE)
# A cell in which every backslash is an escape of a database.
_ESCAPES = re.compile(r"(?:[^\\]|\\[ntr0\\])*")
_ESCAPE = re.compile(r"\\([ntr0\\])")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}
_CARRIAGE_RETURN = re.compile(rb"\r(?![\r\n]|$)")
_DOUBLED_END = re.compile(rb"\r{2,}\n$")  # a line end converted twice
_LINE_END = re.compile(rb"\r\n?|\n")


class Readable(Protocol):
    """A file of bytes."""

    def readline(self, size: int, /) -> bytes: ...


class _Unreadable(Exception):
    """A line cannot be decoded; the message says why."""


def read_rows(file: Readable, form: RowFormat) -> Iterator[Row | RowProblem]:
    """Every row of the file. Raises WrongFile, before the first row, if its columns are unclear."""
    return read_csv(file) if form is RowFormat.CSV else read_ndjson(file)


def read_ndjson(file: Readable) -> Iterator[Row | RowProblem]:
    """Reads one JSON object per line."""
    for number, line in _lines(file):
        if not line.strip():
            continue
        try:
            document = orjson.loads(_text(line))
        except _Unreadable as reason:
            yield RowProblem(number, None, str(reason))
        except orjson.JSONDecodeError as error:
            yield RowProblem(number, None, f"is no JSON ({error}); write one JSON object a line")
        else:
            yield (
                Row(number, document)
                if isinstance(document, dict)
                else RowProblem(number, None, "is no JSON object")
            )


def read_csv(file: Readable) -> Iterator[Row | RowProblem]:
    """Reads RFC 4180 in UTF-8 with a header, whose delimiter (comma, semicolon or tab) holds for the file.

    Skips rows of empty cells, as spreadsheets leave below a table, and repeated headers, as in concatenated
    files. With tabs, a row is one line, see `_of_a_line`.
    """
    source = _Source(file)
    columns, delimiter = _head(source)
    head = [_name(column) for column in columns]
    for line, found in _records(source, delimiter):
        if isinstance(found, str):
            yield RowProblem(line, None, found)
            continue
        cells, beyond = found[: len(columns)], found[len(columns) :]
        if not any(cell.strip() for cell in found) or [_name(cell) for cell in found] == head:
            continue
        if len(cells) < len(columns) or any(cell.strip() for cell in beyond):
            counts = f"{len(found)} cells, but the head has {len(columns)}"
            yield RowProblem(line, None, f"has {counts}; quote cells that contain {delimiter!r}")
        else:
            yield Row(line, dict(zip(columns, cells, strict=True)))


def _name(cell: str) -> str:
    """The name of a column in the form that is compared."""
    return visible(cell).strip().lower()


def _head(source: "_Source") -> tuple[list[str], str]:
    """The names of the columns and the delimiter, that of the line sep= or the header's most frequent one."""
    first = source.peek()
    if said := _SEPARATOR.fullmatch(first):
        source.skip()
        source.peek()
    delimiter = (said[1] if said else max(DELIMITERS, key=first.count)).decode()
    line, found = next(_records(source, delimiter), (1, "is missing: the file is empty"))
    if isinstance(found, str):
        raise WrongFile(f"The head, line {line}, {found}.")
    columns = [visible(name).strip() or NAMELESS.format(place) for place, name in enumerate(found, 1)]
    names = [_name(column) for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise WrongFile(f"The head names {', '.join(twice)} twice.")
    return columns, delimiter


def _records(source: "_Source", delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The first line of each record, and its cells or its problem."""
    return _tabbed(source) if delimiter == TAB else _quoted(source, delimiter)


def _tabbed(source: "_Source") -> Iterator[tuple[int, list[str] | str]]:
    while True:
        try:
            text = next(source).rstrip("\r\n")
        except _Unreadable as reason:
            yield source.give_back(), str(reason)
        except StopIteration:
            return
        else:
            line = source.begin()
            if text:
                yield line, _of_a_line(text)


def _of_a_line(text: str) -> list[str]:
    r"""The cells of a line with tabs, quoted as by a spreadsheet or escaped as by a database.

    mysql --batch and COPY do not quote, and write backslash, tab and line feed as \\, \t and \n.
    """
    cells = text.split(TAB)
    if '"' in text:
        try:
            [quoted] = csv.reader([text], delimiter=TAB, strict=True)
        except (csv.Error, ValueError):
            quoted = []
        cells = quoted if len(quoted) == len(cells) else cells
    return [
        _ESCAPE.sub(lambda found: _ESCAPED[found[1]], cell) if _ESCAPES.fullmatch(cell) else cell
        for cell in cells
    ]


def _quoted(source: "_Source", delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    while True:
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                line = source.begin()
                if cells:
                    yield line, cells
        except _Unreadable as reason:
            yield source.give_back(), str(reason)
        except csv.Error as error:
            advice = "close and double the quotes in it"
            if source.has_escaped_quote:
                advice = r'the file has a quote in a cell as \"; have it written as "", as RFC 4180 says'
            yield source.give_back(), f"is no CSV ({error}); {advice}"
        else:
            return


class _Source:
    """The lines of a file as text, for the CSV reader; remembers the lines of the present record."""

    def __init__(self, file: Readable) -> None:
        self._lines = _lines(file)
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._taken: list[tuple[int, bytes]] = []

    def __iter__(self) -> "_Source":
        return self

    def __next__(self) -> str:
        entry = self._waiting.popleft() if self._waiting else next(self._lines)
        self._taken.append(entry)
        if len(self._taken) > MOST_LINES:
            raise _Unreadable(f"opens a quote that {MOST_LINES} lines do not close")
        return _text(entry[1])

    def begin(self) -> int:
        """Ends a whole record; returns its first line."""
        line = self._taken[0][0]
        self._taken = []
        return line

    def give_back(self) -> int:
        """Ends a broken record; returns its first line. The lines after it are read again."""
        first, *rest = self._taken
        self._waiting.extendleft(reversed(rest))
        self._taken = []
        return first[0]

    @property
    def has_escaped_quote(self) -> bool:
        """Whether the first line of the record has a quote after a backslash."""
        return bool(self._taken) and b'\\"' in self._taken[0][1]

    def skip(self) -> None:
        """Skips the line that `peek` returned."""
        self._waiting.popleft()

    def peek(self) -> bytes:
        """The first line that is not blank, without reading it; empty at the end of the file."""
        for entry in self._lines:
            if entry[1].strip():
                self._waiting.append(entry)
                return entry[1]
        return b""


def _lines(file: Readable) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; only the beginning of a line that is too long."""
    number = 0
    pieces = iter(partial(file.readline, LONGEST_LINE + 1), b"")
    beginning = next(pieces, b"")
    if _CARRIAGE_RETURN.search(beginning):
        pieces = _at_carriage_returns(beginning, pieces)
        beginning = next(pieces, b"")
    line = _without_mark(beginning)
    while line:
        number += 1
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = next(pieces, b"")
        yield number, _DOUBLED_END.sub(b"\n", line)
        line = next(pieces, b"")


def _at_carriage_returns(rest: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of an old Mac, whose line ends are carriage returns, with line feeds; long ones in pieces."""
    while rest:
        *lines, rest = _LINE_END.split(rest)
        yield from (line + b"\n" for line in lines)
        if len(rest) > LONGEST_LINE:
            yield rest
            rest = b""
        more = next(pieces, b"")
        if not more:
            yield rest
            return
        rest += more


def _without_mark(line: bytes) -> bytes:
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in line[:2]:
        raise WrongFile("The file is in UTF-16; save it as UTF-8: iconv -f UTF-16 -t UTF-8 FILE > NEW")
    return line.removeprefix(codecs.BOM_UTF8)


def _text(line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        raise _Unreadable(f"is longer than {LONGEST_LINE:,} bytes")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _Unreadable(
            f"is not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x}); "
            "save it as CSV UTF-8, or if it is Excel's in Windows-1252: "
            "iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
        ) from None
