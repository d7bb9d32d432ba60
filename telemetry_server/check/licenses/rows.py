"""Files of rows, read bit by bit: CSV with a head, or NDJSON. Pure but for the file that is handed in.

Whatever the bytes are, each row is there or is a problem with its line, and the next row is found again:
a quote that is never closed costs its own line, not the rest of the file. Memory is bounded: no line
longer than LONGEST_LINE is looked at, no row is longer than MOST_LINES of them.
"""

import codecs
import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
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
    """The forms a file may have."""

    CSV = "csv"
    NDJSON = "ndjson"


class WrongFile(OperatorError):
    """The file cannot be read at all."""

    status, code = 422, "wrong_file"


@dataclass(frozen=True, slots=True)
class RowProblem:
    """What is wrong in a file: the line it begins on, the column where it is in one, and what to do."""

    line: int
    column: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Row:
    """A row and the line it begins on: texts by column, or of NDJSON what the JSON object holds."""

    line: int
    cells: Cells


_RUN = "(?=[\\s\ufeff\"']*[=+\\-@|\uff1d\uff0b\uff0d\uff20])"
_BREAK = "(?=[ \ufeff\"']*[\t\r\n\0])"
_FORMULA = re.compile(f"(^|;){_RUN}|^{_BREAK}")
_GUARDED = re.compile(f"(^|;)'{_RUN}|^'{_BREAK}")


def guarded(text: str) -> str:
    """With a ' in front of what a spreadsheet would run; after a ; too, there lists may be split."""
    return _FORMULA.sub(r"\1'", text)


def unguarded(text: str) -> str:
    """What `guarded` made this of."""
    return _GUARDED.sub(r"\1", text)


# Excel's own first line, sep=; and nothing else, maybe quoted.
_SEPARATOR = re.compile(rb'"?sep=([,;\t])"?[;,\t\s]*', re.IGNORECASE)
# A cell whose every backslash is one of a database.
_ESCAPES = re.compile(r"(?:[^\\]|\\[ntr0\\])*")
_ESCAPE = re.compile(r"\\([ntr0\\])")
_CARRIAGE_RETURN = re.compile(rb"\r(?![\r\n]|$)")
_DOUBLED_END = re.compile(rb"\r{2,}\n$")  # a line end that was converted twice
_LINE_END = re.compile(rb"\r\n?|\n")


class Readable(Protocol):
    """A file of bytes."""

    def readline(self, size: int, /) -> bytes: ...


class _Unreadable(Exception):
    """A line is no text; the message says why."""


def read_rows(file: Readable, form: RowFormat) -> Iterator[Row | RowProblem]:
    """Every row of the file. Raises WrongFile, before the first row, where its columns cannot be told."""
    return read_csv(file) if form is RowFormat.CSV else read_ndjson(file)


def read_ndjson(file: Readable) -> Iterator[Row | RowProblem]:
    """One JSON object a line."""
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
    """RFC 4180, UTF-8, with a head; delimited by what the head is: comma, semicolon or tab.

    Passes over rows of empty cells, as spreadsheets leave below a table, and over the head where it comes
    again, as in files put one after the other. With tabs a row is a line, see `_of_a_line`.
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
    """A column's name as names are compared."""
    return visible(cell).strip().lower()


def _head(source: "_Source") -> tuple[list[str], str]:
    """The columns' names, and what delimits cells: by the line sep=; or what the head has most of."""
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
    """The first line of each record and its cells, or what is wrong with it."""
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
    r"""The cells of a line with tabs: quoted by a spreadsheet, or as a database writes them.

    mysql --batch and COPY quote nothing, and write backslash, tab and line feed as \\, \t and \n.
    """
    cells = text.split(TAB)
    if '"' in text:
        try:
            [quoted] = csv.reader([text], delimiter=TAB, strict=True)
        except (csv.Error, ValueError):
            quoted = []
        cells = quoted if len(quoted) == len(cells) else cells
    return [
        _ESCAPE.sub(_escaped, cell) if "\\" in cell and _ESCAPES.fullmatch(cell) else cell for cell in cells
    ]


def _escaped(found: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\"}[found[1]]


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
    """The lines of a file as text, for the CSV reader; remembers those of the record it is in."""

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
        """The record is whole: gives its first line, and goes on with the next record."""
        line = self._taken[0][0]
        self._taken = []
        return line

    def give_back(self) -> int:
        """The record is broken: gives its first line; the lines after that are read again, on their own."""
        first, *rest = self._taken
        self._waiting.extendleft(reversed(rest))
        self._taken = []
        return first[0]

    @property
    def has_escaped_quote(self) -> bool:
        """Whether the first line of the record has a quote behind a backslash."""
        return bool(self._taken) and b'\\"' in self._taken[0][1]

    def skip(self) -> None:
        """Passes over the line that was looked at by `peek`."""
        self._waiting.popleft()

    def peek(self) -> bytes:
        """The first line that is not blank, which will be read next; empty where there is none."""
        for entry in self._lines:
            if entry[1].strip():
                self._waiting.append(entry)
                return entry[1]
        return b""


def _lines(file: Readable) -> Iterator[tuple[int, bytes]]:
    """Numbered lines; of one that is too long, its beginning."""
    number = 0
    beginning = file.readline(LONGEST_LINE + 1)
    if _CARRIAGE_RETURN.search(beginning):
        file = _CarriageReturns(file, beginning)
        beginning = file.readline(LONGEST_LINE + 1)
    line = _without_mark(beginning)
    while line:
        number += 1
        rest = line
        while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE + 1)
        yield number, _DOUBLED_END.sub(b"\n", line)
        line = file.readline(LONGEST_LINE + 1)


class _CarriageReturns:
    """A file whose lines end with a carriage return, as old Macs wrote it, read as if it had line feeds."""

    def __init__(self, file: Readable, beginning: bytes) -> None:
        self._lines = self._split(file, beginning)

    def readline(self, _: int, /) -> bytes:
        return next(self._lines, b"")

    def _split(self, file: Readable, rest: bytes) -> Iterator[bytes]:
        """The lines; of one that is too long, its pieces."""
        while rest:
            *lines, rest = _LINE_END.split(rest)
            yield from (line + b"\n" for line in lines)
            if len(rest) > LONGEST_LINE:
                yield rest
                rest = b""
            more = file.readline(LONGEST_LINE + 1)
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
