"""The chart of cpu_inference.py: prompts and batches as grouped bars, decoding over depth as lines; a colour a system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, told apart by most eyes; the first is for the system that is set beside the others.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_GREY = "#555555"


def draw(record: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise ValueError("--chart needs matplotlib: pip install matplotlib") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    others = [system for system in record["systems"] if system not in (found["first"], "machine")]
    systems = [found["first"], *others]
    colours = dict(zip(systems, _COLOURS * len(systems), strict=False))
    groups = {kind: _of_kind(found, kind) for kind in ("prefill", "decode", "batch")}
    style = {
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY, "axes.axisbelow": True,
        "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#E5E5E5", "axes.titlelocation": "left",
        "axes.titleweight": "bold", "axes.titlesize": 11, "xtick.color": _GREY, "ytick.color": _GREY, "font.size": 9.5,
    }  # fmt: skip
    with plt.rc_context(style):
        widths = [1 + len(groups["prefill"]), 1 + len(groups["decode"]), 1 + len(groups["batch"])]
        figure, axes = plt.subplots(1, 3, figsize=(13, 4.6), layout="constrained", width_ratios=widths)
        _bars(axes[0], found, groups["prefill"], colours, "Prompt", "tokens of the prompt")
        _lines(axes[1], found, groups["decode"], colours)
        _bars(axes[2], found, groups["batch"], colours, "Many at once", "sequences")
        axes[0].set_ylabel("tokens a second")
        handles = [plt.Line2D([], [], color=colour, lw=6, label=system) for system, colour in colours.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        settings = record["settings"]
        shape = f"{settings['variant']} shape, {settings['layers']} layers, batch 1 unless said, {settings['threads']} threads"
        figure.suptitle(f"{shape} · {settings['processor']}", x=0.01, ha="left", color=_GREY, fontsize=10)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _of_kind(found: Mapping[str, Any], kind: str) -> list[int]:
    sizes = [name.split("-")[1] for name in found["figures"] if name.startswith(f"{kind}-")]
    return sorted(map(int, sizes))


def _cell(found: Mapping[str, Any], name: str, system: str) -> Mapping[str, Any] | None:
    cell = found["figures"][name].get(system)
    return cell if cell and "median" in cell else None


def _bars(axes: Any, found: Mapping[str, Any], sizes: Sequence[int], colours: Mapping[str, str], title: str, below: str) -> None:
    """A group a size, a bar a system with its spread; a cross where it was not run."""
    width = 0.82 / len(colours)
    kind = "prefill" if title == "Prompt" else "batch"
    for index, (system, colour) in enumerate(colours.items()):
        for group, size in enumerate(sizes):
            place = group + (index - (len(colours) - 1) / 2) * width
            cell = _cell(found, f"{kind}-{size}", system)
            if cell is None:
                axes.text(place, 0, "×", ha="center", va="bottom", color=colour)
                continue
            reach = [[cell["median"] - cell["least"]], [cell["most"] - cell["median"]]]
            axes.bar(place, cell["median"], width * 0.92, color=colour)
            if cell["rounds"] > 1:
                axes.errorbar(place, cell["median"], reach, color=_GREY, lw=0.8, capsize=1.5)
            label = f"{cell['median']:.0f}" if cell["median"] >= 10 else f"{cell['median']:.1f}"
            axes.annotate(label, (place, cell["most"]), (0, 2), textcoords="offset points", ha="center", fontsize=7.5)
    axes.set(title=title, xlabel=below)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.tick_params(axis="x", length=0)


def _lines(axes: Any, found: Mapping[str, Any], depths: Sequence[int], colours: Mapping[str, str]) -> None:
    for system, colour in colours.items():
        cells = {depth: cell for depth in depths if (cell := _cell(found, f"decode-{depth}", system))}
        if not cells:
            continue
        places, medians = list(cells), [cell["median"] for cell in cells.values()]
        axes.plot(places, medians, color=colour, marker="o", lw=2, ms=5)
        least, most = ([cell[name] for cell in cells.values()] for name in ("least", "most"))
        axes.fill_between(places, least, most, color=colour, alpha=0.15, lw=0)
        axes.annotate(
            f"{medians[-1]:.1f}", (places[-1], medians[-1]), (6, 0), textcoords="offset points", va="center", fontsize=7.5
        )
    axes.set(title="Decoding by depth", xlabel="tokens before", ylim=(0, None))
    axes.set_xticks(depths, [f"{depth:,}" for depth in depths])
    axes.margins(x=0.12)
