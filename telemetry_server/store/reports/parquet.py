"""Converts the CSV of PostgreSQL to Parquet, one row group at a time. Needs the extra `parquet`: pyarrow."""

import asyncio
import io
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from importlib.util import find_spec
from typing import Any, BinaryIO, TypeAlias

from telemetry_server.errors import TelemetryError

Sink: TypeAlias = Callable[[bytes], Coroutine[Any, Any, None]]

_ROW_GROUP_BYTES = 16 * 2**20
"""About as many bytes of CSV become one row group."""


class ParquetMissing(TelemetryError):
    """Parquet needs pyarrow. Install it: pip install "license-telemetry-server[parquet]"."""

    status, code = 501, "parquet_missing"


def demand() -> None:
    """Raises ParquetMissing."""
    if find_spec("pyarrow") is None:
        raise ParquetMissing


async def write(csv: Callable[[Sink], Awaitable[int]], columns: Mapping[str, str], sink: Sink) -> int:
    """Lets `csv` write to one end of a pipe, and a thread convert to Parquet at the other.

    `columns` are PostgreSQL's types by name. Returns what `csv` returns; raises the first error: if one end
    fails, the other one does too.
    """
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    source, pipe = os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)
    whole: list[int] = []

    async def copy() -> None:
        try:
            whole.append(await csv(lambda piece: asyncio.to_thread(_put, pipe, piece)))
        finally:
            await asyncio.to_thread(pipe.close)

    def hand_on(piece: bytes) -> None:
        asyncio.run_coroutine_threadsafe(sink(piece), loop).result()

    converting = asyncio.to_thread(_convert, source, columns, hand_on, lambda: bool(whole))
    copied, converted = await asyncio.gather(copy(), converting, return_exceptions=True)
    # A broken pipe follows from an error at the other end.
    in_order = (converted, copied) if isinstance(copied, BrokenPipeError) else (copied, converted)
    for failed in in_order:
        if isinstance(failed, BaseException):
            raise failed
    return whole[0]


def _put(pipe: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[pipe.write(rest) :]


def _convert(
    source: BinaryIO, columns: Mapping[str, str], hand_on: Callable[[bytes], None], whole: Callable[[], bool]
) -> None:
    import pyarrow.csv  # noqa: PLC0415  an extra
    import pyarrow.parquet  # noqa: PLC0415

    options = {
        "read_options": pyarrow.csv.ReadOptions(block_size=_ROW_GROUP_BYTES),
        "parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True),
        "convert_options": pyarrow.csv.ConvertOptions(
            column_types=_types(columns),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }
    file, done = _File(hand_on), False
    with source, pyarrow.csv.open_csv(source, **options) as reader:
        writer = pyarrow.parquet.ParquetWriter(file, reader.schema, compression="zstd")
        try:
            for batch in reader:
                writer.write_batch(batch)
            done = whole()
        finally:
            if not done:
                file.give_up()  # closing would turn the incomplete file into a valid one
            writer.close()


def _types(columns: Mapping[str, str]) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415

    types = {
        "bool": pa.bool_(),
        "timestamptz": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "numeric": pa.decimal128(38),
    }
    return {name: types.get(type_, pa.string()) for name, type_ in columns.items()}


class _File(io.RawIOBase):
    """A file that cannot seek, and passes all data on at once."""

    def __init__(self, hand_on: Callable[[bytes], None]) -> None:
        super().__init__()
        self._hand_on = hand_on
        self._at = 0

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._hand_on(data)
        self._at += len(data)
        return len(data)

    def give_up(self) -> None:
        """Discards all further data."""
        self._hand_on = lambda _: None

    def tell(self) -> int:
        return self._at

    def writable(self) -> bool:
        return True
