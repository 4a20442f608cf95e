"""The report of cpu_inference.py for a reader, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

_UNITS = {"read": "read, GB/s", "int8": "int8, GOP/s", "bf16": "bf16, GFLOP/s", "fp32": "fp32, GFLOP/s"}
_ABSENT = "not run"


def show(record: Mapping[str, Any], found: Mapping[str, Any], console: Console) -> None:
    """The machine, then absolute figures, ratios, and each system beside itself and the machine's ceilings."""
    settings = record["settings"]
    shape = f"{settings['variant']} shape, {settings['layers']} layers, {settings['threads']} threads"
    systems = [system for system in record["systems"] if system != "machine"]
    figures = [name for name in found["figures"] if name not in _UNITS]
    machine = {_UNITS[name]: found["figures"][name] for name in _UNITS if name in found["figures"]}
    first, peers = found["first"], [system for system in systems if system != found["first"]]
    tables = [
        _table(f"The machine: {settings['processor']}", ["machine"], machine),
        _table(f"Tokens a second, {shape}", systems, {name: found["figures"][name] for name in figures}),
        _table(f"{first} over each peer", peers, found["ratios"], 2),
        _table("Within one system", systems, _by_name(found["derived"], systems), 2),
    ]
    for table in tables:
        if table.row_count and len(table.columns) > 1:
            console.print(table)
    console.print("median (least, most) over rounds; a ratio is taken within each round, then its median", style="dim")
    for name, row in found["figures"].items():
        for system, cell in row.items():
            if cell and "skipped" in cell:
                console.print(f"{system}, {name}: {cell['skipped']}", style="dim", markup=False)


def _by_name(derived: Mapping[str, Mapping[str, Any]], systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    names = dict.fromkeys(name for each in derived.values() for name in each)
    return {name: {system: derived.get(system, {}).get(name) for system in systems} for name in names}


def _table(title: str, columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]], places: int = 1) -> Table:
    table = Table("", title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(words(row.get(column), places) for column in columns))
    return table


def words(cell: Mapping[str, Any] | None, places: int = 1) -> str:
    """ "20.0 (18.0, 22.0)"; a lone round without its spread; "not run" where there is none."""
    if not cell or "skipped" in cell:
        return _ABSENT
    if cell["rounds"] == 1:
        return f"{cell['median']:.{places}f}"
    return f"{cell['median']:.{places}f} ({cell['least']:.{places}f}, {cell['most']:.{places}f})"
