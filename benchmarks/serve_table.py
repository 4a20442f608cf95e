"""The report of a load test for a reader: a few lines a server, one table a comparison; and a chart if asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve_report import DELAYS, PERCENTILES, SPEEDS, Spread

_COLUMNS = ("mean", *(f"p{percent}" for percent in PERCENTILES))


def text(report: Mapping[str, Any]) -> str:
    """The whole report: each server, then our figures over each peer's."""
    parts = [_server(name, found) for name, found in report["servers"].items()]
    parts += [_comparison(report["first"], peer, found) for peer, found in report["ratios"].items()]
    return "\n\n".join(parts)


def _server(name: str, found: Mapping[str, Any]) -> str:
    failed = ", ".join(f"{count} x {status}" for status, count in found["failed"].items()) or "none"
    counted = " and ".join(f"{source} ({count})" for source, count in found["tokens_counted_from"].items()) or "nothing"
    lines = [f"{name}: {found['ok']} ok; failed: {failed}"]
    lines += [f"  {f'{speed}/s':<22} {_spread(found['per_second'][speed])}" for speed in SPEEDS]
    lines.append(f"  {'milliseconds':<22}" + "".join(f"{column:>10}" for column in _COLUMNS))
    for delay in DELAYS:
        each = found["seconds"][delay]
        numbers = "".join(f"{1000 * each[column]:>10.1f}" for column in _COLUMNS) if each else f"{'none':>10}"
        lines.append(f"  {delay:<22}{numbers}")
    lines.append(f"  in flight: mean {found['in_flight']['mean']:.1f}, most {found['in_flight']['most']:.1f}")
    prompts = "unknown" if found["prompt_tokens"] is None else found["prompt_tokens"]
    lines.append(f"  tokens: {prompts} in, {found['output_tokens']} out, counted from {counted}")
    lines += [f"  failure: {failure}" for failure in found["failures"]]
    return "\n".join(lines)


def _comparison(ours: str, peer: str, found: Mapping[str, Spread | None]) -> str:
    lines = [f"{ours} / {peer}, median (least, most) over repeats; more is better for speeds, less for delays"]
    lines += [f"  {f'{name}/s' if name in SPEEDS else name:<28} {_spread(each, 3)}" for name, each in found.items()]
    return "\n".join(lines)


def _spread(each: Spread | None, places: int = 2) -> str:
    if each is None:
        return "not known"
    return "{median:.{p}f} ({least:.{p}f}, {most:.{p}f})".format(p=places, **each)


def chart(report: Mapping[str, Any], path: Path) -> None:
    """Requests in flight over time, and each delay's percentiles, a colour a server. Raises ValueError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise ValueError("--chart needs matplotlib: pip install matplotlib") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    bars = [(delay, column) for delay in DELAYS for column in _COLUMNS[1:]]
    width = 0.8 / len(report["servers"])
    for index, (name, found) in enumerate(report["servers"].items()):
        for block in found["in_flight"]["over_time"]:
            left.plot(*zip(*block, strict=True), color=f"C{index}")
        heights = [1000 * (found["seconds"][delay] or {}).get(column, 0.0) for delay, column in bars]
        right.bar([place + index * width for place in range(len(bars))], heights, width, color=f"C{index}", label=name)
    left.set(xlabel="seconds", ylabel="requests in flight", ylim=(0, None))
    right.set(ylabel="milliseconds", yscale="log")
    right.set_xticks(range(len(bars)), [f"{delay} {column}" for delay, column in bars], rotation=60, ha="right", fontsize=7)
    right.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
