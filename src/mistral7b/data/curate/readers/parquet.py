"""Parquet: one row a text, its text in a column."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from mistral7b.data.curate.readers.jsonl import from_object
from mistral7b.data.curate.readers.raw import Found
from mistral7b.data.curate.recipe import Source
from mistral7b.errors import DataError


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:
    """Rows `part`, `part + parts`, ... of the file, counted from 1."""
    try:
        with parquet.ParquetFile(path) as file:
            known = set(file.schema_arrow.names)
            if source.text_key not in known:
                raise DataError(f"{path}: no column {source.text_key!r}; set text_key to one of {', '.join(sorted(known))}")
            columns = [source.text_key, *(key for key in source.keep if key in known and key != source.text_key)]
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    if (number - 1) % parts == part:
                        yield from_object(row, f"{name}:{number}", source, number)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({str(error).splitlines()[0]})") from None
