"""The header of a GGUF file: metadata and the table of tensors, every count checked before it is believed.

The `gguf` package's reader trusts the counts it finds, so one flipped bit can send it through the whole file one element
at a time; it also makes several array views per token of the vocabulary. This one is bounded by the file's size, and
tests hold it against the library's. Format: ggml/docs/gguf.md, versions 2 and 3, little-endian.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from mistral7b.errors import CheckpointError

_SCALARS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
_MIN_FIELD = 8 + 4 + 1  # an empty key, its type, one byte of value
_MIN_TENSOR = 8 + 4 + 8 + 4 + 8  # an empty name, the number of dimensions, one of them, type, offset
_LONGEST_NAME = 256  # bytes; the format allows keys of 65,535, no model has one
_LONGEST_ARRAY = 1 << 22  # items; the largest vocabularies and merge lists have some 300,000


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One row of the tensor table. `shape` is row-major (rows first); `offset` counts bytes from the file's start."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What stands before the weights. `fields` maps keys to Python values, arrays to lists."""

    fields: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_header(path: Path) -> GgufHeader:
    """The header of the GGUF file `path`; raises CheckpointError, in one line, for a file that is not a whole one."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Cursor(path, data).header()
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise CheckpointError(f"{path} cannot be read as GGUF: {error}") from None


class _Cursor:
    """A position in the mapped file; every read is checked against its end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def fail(self, why: str) -> NoReturn:
        raise CheckpointError(f"{self.path} is not a whole GGUF file: {why}; download or convert it again")

    def header(self) -> GgufHeader:
        if self.data[:4] != b"GGUF":
            raise CheckpointError(f"{self.path} is not a GGUF file: it does not begin with 'GGUF'")
        self.at = 4
        version = self.scalar("I")
        if version not in (2, 3):
            raise CheckpointError(f"{self.path} is GGUF version {version}; little-endian versions 2 and 3 can be read")
        n_tensors = self.count("Q", _MIN_TENSOR, "tensors")
        n_fields = self.count("Q", _MIN_FIELD, "metadata fields")
        fields: dict[str, Any] = {}
        for _ in range(n_fields):
            key = self.name()
            if key in fields:
                self.fail(f"the key {key!r} stands in it twice")
            fields[key] = self.value(self.kind())
        rows = [self.tensor_row() for _ in range(n_tensors)]
        return GgufHeader(fields, self.place(rows, fields.get("general.alignment", 32)))

    def scalar(self, code: str) -> Any:
        size = struct.calcsize(f"<{code}")
        if self.at + size > len(self.data):
            self.fail("its header is cut short")
        (found,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += size
        return found

    def count(self, code: str, item_size: int, what: str) -> int:
        """A number of items of at least `item_size` bytes each that must still fit into the file."""
        found: int = self.scalar(code)
        if found * item_size > len(self.data) - self.at:
            self.fail(f"it announces {found:,} {what}, more than its {len(self.data):,} bytes can hold")
        return found

    def length(self, item_size: int) -> int:
        found = self.count("Q", item_size, "items in one array")
        if found > _LONGEST_ARRAY:
            self.fail(f"it announces an array of {found:,} items")
        return found

    def name(self) -> str:
        found = self.string()
        if len(found) > _LONGEST_NAME:
            self.fail(f"it holds a name of {len(found):,} characters")
        return found

    def string(self) -> str:
        size = self.count("Q", 1, "bytes of text")
        raw = self.data[self.at : self.at + size]
        self.at += size
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("it holds a name or text that is not UTF-8")

    def kind(self) -> GGUFValueType:
        found = self.scalar("I")
        try:
            return GGUFValueType(found)
        except ValueError:
            self.fail(f"it holds a value of the unknown type {found}")

    def value(self, kind: GGUFValueType) -> Any:
        if kind is GGUFValueType.STRING:
            return self.string()
        if kind is not GGUFValueType.ARRAY:
            return self.scalar(_SCALARS[kind])
        item = self.kind()
        if item is GGUFValueType.ARRAY:
            self.fail("it holds arrays of arrays, which no model writes")
        if item is GGUFValueType.STRING:
            return [self.string() for _ in range(self.length(8))]
        code = _SCALARS[item]
        n = self.length(struct.calcsize(f"<{code}"))
        found = list(struct.unpack_from(f"<{n}{code}", self.data, self.at))
        self.at += struct.calcsize(f"<{n}{code}")
        return found

    def tensor_row(self) -> TensorInfo:
        """One row of the table, its offset still counted from the start of the weights."""
        name = self.name()
        n_dims = self.scalar("I")
        if not 1 <= n_dims <= 4:
            self.fail(f"tensor {name!r} has {n_dims} dimensions")
        shape = tuple(self.scalar("Q") for _ in range(n_dims))[::-1]
        number, offset = self.scalar("I"), self.scalar("Q")
        try:
            kind = GGMLQuantizationType(number)
        except ValueError:
            raise CheckpointError(f"{self.path}: tensor {name!r} is of the unknown type {number}") from None
        block, size = GGML_QUANT_SIZES[kind]
        if 0 in shape or shape[-1] % block:
            self.fail(f"tensor {name!r} of type {kind.name} has the impossible shape {list(shape)}")
        return TensorInfo(name, kind, shape, offset, math.prod(shape) // block * size)

    def place(self, rows: list[TensorInfo], alignment: Any) -> dict[str, TensorInfo]:
        """The rows by name with offsets from the start of the file, held against the order that the format demands."""
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            self.fail(f"its alignment is {alignment!r}")
        start = _align(self.at, alignment)
        expected, placed = 0, dict[str, TensorInfo]()
        for row in rows:
            if row.name in placed:
                self.fail(f"tensor {row.name!r} stands in it twice")
            if row.offset != expected:
                self.fail(f"tensor {row.name!r} stands at {row.offset:,}, not at {expected:,}")
            if start + row.offset + row.n_bytes > len(self.data):
                self.fail(f"its {len(self.data):,} bytes end inside or before tensor {row.name!r}")
            placed[row.name] = TensorInfo(row.name, row.type, row.shape, start + row.offset, row.n_bytes)
            expected = _align(row.offset + row.n_bytes, alignment)
        return placed


def _align(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
