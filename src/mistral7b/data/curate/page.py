"""The report as one page: no script, no network, every text of a document escaped."""

from __future__ import annotations

from html import escape
from typing import Any

_STYLE = """
:root { --ink: #1c1c1a; --soft: #6b6a66; --line: #dddbd4; --paper: #fff; --kept: #2f7d5b; --gone: #c65b3c; --wash: #f6f5f1 }
@media (prefers-color-scheme: dark) { :root { --ink: #ecebe6; --soft: #a3a29c; --line: #3b3a37; --paper: #191918; --kept: #58b088;
  --gone: #e07f5f; --wash: #232321 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; margin: 0 } h2 { font-size: 1.15rem; margin: 2.6rem 0 .8rem } h3 { font-size: 1rem; margin: 0 0 .4rem }
p { margin: .3rem 0; color: var(--soft) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: middle }
th { font-weight: 600; color: var(--soft); font-size: .85rem } th:first-child, td:first-child, .left { text-align: left }
.wide { overflow-x: auto }
.cards { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.4rem 0 } .card { background: var(--wash); border-radius: .6rem;
  padding: .8rem 1.1rem; flex: 1 1 10rem } .card b { display: block; font-size: 1.4rem } .card span { color: var(--soft) }
svg { display: block; width: 100%; height: auto } svg text { fill: var(--ink); font: 13px system-ui, sans-serif }
svg .soft { fill: var(--soft) } svg .kept { fill: var(--kept) } svg .gone { fill: var(--gone) } svg .base { fill: var(--line) }
details { border: 1px solid var(--line); border-radius: .6rem; margin: .6rem 0; padding: .5rem .9rem }
summary { cursor: pointer; font-weight: 600 } summary span { color: var(--soft); font-weight: 400 }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1.2rem; margin: .8rem 0 } .pair > div { min-width: 0 }
.sample { border-left: 3px solid var(--kept); background: var(--wash); padding: .5rem .8rem; margin: .5rem 0;
  border-radius: 0 .4rem .4rem 0 }
.dropped .sample { border-color: var(--gone) } .sample small { color: var(--soft); overflow-wrap: anywhere }
.sample pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .3rem 0 0; max-height: 16rem; overflow: auto;
  font: 13px/1.45 ui-monospace, monospace }
@media (max-width: 46rem) { .pair { grid-template-columns: 1fr } }
"""
_WIDTH, _ROW, _NAMES = 960, 26, 190  # of a chart, in pixels; the names' column
_BARS = _WIDTH - _NAMES - 240


def page(report: dict[str, Any]) -> str:
    """report.json as HTML."""
    total = report["total"]
    came = report["steps"][0]["in"]
    parts = [
        "<h1>Curation</h1>",
        f"<p>{_n(came['documents'])} documents came in, {_n(_both(total, 'documents'))} went out; "
        f"tokens are {escape(report['tokens'])}.</p>",
        _cards(came, total),
        "<h2>Through the steps</h2>", _funnel(report["steps"]), _steps(report["steps"]),
        "<h2>Why documents were dropped</h2>", _reasons(report["steps"]),
        "<h2>Sources</h2>", _sources(report),
        *_prepared(report["prepared"]),
        *_contamination(report["contamination"]),
        "<h2>Kept and dropped, side by side</h2>", *(_samples(step) for step in report["steps"]),
    ]  # fmt: skip
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Curation report</title><style>{_STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _cards(came: dict[str, int], total: dict[str, Any]) -> str:
    held = (
        (_size(came["bytes"]), "of text read"),
        (_size(_both(total, "bytes")), f"kept, {_share(_both(total, 'bytes'), came['bytes'])}"),
        (_n(total["train"]["tokens"]), "tokens to train on, once"),
        (_n(total["held-out"]["documents"]), f"documents held out, {_size(total['held-out']['bytes'])}"),
    )
    return (
        '<div class="cards">' + "".join(f'<div class="card"><b>{a}</b><span>{escape(b)}</span></div>' for a, b in held) + "</div>"
    )


def _funnel(steps: list[dict[str, Any]]) -> str:
    """Bytes after each step, and what it took away, as bars."""
    most = max(1, steps[0]["in"]["bytes"])
    rows = []
    for i, step in enumerate(steps):
        y, left, gone = i * _ROW, step["out"]["bytes"], step["in"]["bytes"] - step["out"]["bytes"]
        kept, lost = _BARS * left / most, _BARS * gone / most
        said = f"{_size(left)}" + (
            f"  −{_size(gone)}, {_n(step['in']['documents'] - step['out']['documents'])} documents" if gone > 0 else ""
        )
        rows.append(
            f'<text x="0" y="{y + 17}">{escape(step["step"])}</text>'
            f'<rect class="base" x="{_NAMES}" y="{y + 4}" width="{_BARS}" height="{_ROW - 8}" rx="3"/>'
            f'<rect class="kept" x="{_NAMES}" y="{y + 4}" width="{kept:.1f}" height="{_ROW - 8}" rx="3"/>'
            f'<rect class="gone" x="{_NAMES + kept:.1f}" y="{y + 4}" width="{max(0.0, lost):.1f}" height="{_ROW - 8}"/>'
            f'<text class="soft" x="{_NAMES + _BARS + 10}" y="{y + 17}">{escape(said)}</text>'
        )
    return _svg(rows, len(steps), "Bytes kept and dropped by each step")


def _reasons(steps: list[dict[str, Any]]) -> str:
    held = [(step["step"], reason, tally) for step in steps for reason, tally in step["dropped"].items()]
    if not held:
        return "<p>None was.</p>"
    held.sort(key=lambda one: -one[2]["documents"])
    most = held[0][2]["documents"]
    rows = []
    for i, (step, reason, tally) in enumerate(held[:40]):
        y, width = i * _ROW, max(1.0, 0.8 * _BARS * tally["documents"] / most)
        name, said = f"{step}: {reason}", f"{_n(tally['documents'])}, {_size(tally['bytes'])}"
        rows.append(
            f'<text x="0" y="{y + 17}">{escape(name if len(name) < 46 else name[:45] + "…")}</text>'
            f'<rect class="gone" x="{_NAMES + 130}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 8}" rx="3"/>'
            f'<text class="soft" x="{_NAMES + 140 + width:.1f}" y="{y + 17}">{said}</text>'
        )
    return _svg(rows, min(40, len(held)), "Documents dropped by reason")


def _svg(rows: list[str], n: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {n * _ROW + 4}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(rows)}</svg>"
    )


def _steps(steps: list[dict[str, Any]]) -> str:
    rows = [
        [escape(step["step"])]
        + [_n(step[side][key]) for side in ("in", "out") for key in ("documents", "bytes", "tokens")]
        + [_n(step["changed"]), _share(step["out"]["bytes"], step["in"]["bytes"])]
        for step in steps
    ]
    head = ["step", "documents in", "bytes in", "tokens in", "documents out", "bytes out", "tokens out", "changed", "bytes kept"]
    return _table(head, rows)


def _sources(report: dict[str, Any]) -> str:
    rows = []
    first = report["steps"][0]["sources"]
    for name, held in report["sources"].items():
        came, train, kept = first.get(name, {}).get("in", {"documents": 0, "bytes": 0}), held["train"], held["held-out"]
        seen = held["epochs"] * train["tokens"]
        rows.append([
            escape(name), escape(held["kind"]), escape(held["licence"]), escape(", ".join(list(held["languages"])[:5])),
            _n(came["documents"]), _n(train["documents"]), _size(train["bytes"]), _n(kept["documents"]), f"{held['epochs']:g}",
            _n(round(seen)),
        ])  # fmt: skip
    head = ["source", "kind", "licence", "languages", "documents in", "train", "train bytes", "held out", "epochs", "tokens seen"]
    return _table(head, rows)


def _prepared(held: dict[str, Any]) -> list[str]:
    parts = []
    if "classifier" in held:
        one = held["classifier"]
        parts += [
            "<h2>Classifier of toxic text</h2>",
            f"<p>On {_n(one['texts'])} labelled texts it was not trained on, {_n(one['positive'])} of them toxic: "
            f"precision {one['precision']:.3f}, recall {one['recall']:.3f}.</p>",
        ]
    return parts


def _contamination(held: dict[str, Any]) -> list[str]:
    if not held["matches"]:
        return []
    rows = [
        [escape(one["document"]), f"{escape(one['prompt'])}:{one['line']}", escape(one["words"][:160])] for one in held["shown"]
    ]
    table = (
        _table(["document", "prompt", "words in common"], rows)
        .replace("<td>", '<td class="left">')
        .replace("<th>", '<th class="left">')
    )
    return ["<h2>Matches with prompts</h2>", f"<p>{_n(held['matches'])} passages; all of them in contamination.jsonl.</p>", table]


def _samples(step: dict[str, Any]) -> str:
    kept = "".join(_sample(one, "") for one in step["samples"]["kept"]) or "<p>None.</p>"
    gone = "".join(_sample(one, reason) for reason, held in step["samples"]["dropped"].items() for one in held) or "<p>None.</p>"
    n_gone = sum(tally["documents"] for tally in step["dropped"].values())
    is_open = " open" if n_gone else ""
    return (
        f"<details{is_open}><summary>{escape(step['step'])} "
        f"<span>{_n(step['out']['documents'])} kept, {_n(n_gone)} dropped</span></summary>"
        f'<div class="pair"><div><h3>Kept</h3>{kept}</div><div class="dropped"><h3>Dropped</h3>{gone}</div></div></details>'
    )


def _sample(one: dict[str, str], reason: str) -> str:
    why = f"<b>{escape(reason)}</b>{': ' + escape(one['detail']) if one.get('detail') else ''}<br>" if reason else ""
    return f'<div class="sample">{why}<small>{escape(one["id"])}</small><pre>{escape(one["text"])}</pre></div>'


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _both(total: dict[str, Any], key: str) -> int:
    return int(total["train"][key] + total["held-out"][key])


def _n(number: int) -> str:
    return f"{number:,}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _size(n_bytes: int) -> str:
    amount = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:,.0f} {unit}" if unit == "B" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError
