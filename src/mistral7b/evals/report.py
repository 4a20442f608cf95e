"""The run as a table: this model's figures beside the published ones, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mistral7b.evals.benchmarks import BY_NAME
from mistral7b.evals.published import CARD, PAPER, TABLE2
from mistral7b.evals.results import Estimate, Measured, Results

MODELS = tuple(figure.model for figure in TABLE2["mmlu"])
OURS = 3  # the column of this model's figures
_PRINTED, _CARD = "†", "‡"


def cells(results: Results) -> list[list[str]]:
    """Head and rows, in the order of the paper's table: what was run, and what was not."""
    head = ["benchmark", "shots", "metric", str(results.model.get("name", "this model")), "95%", "items"]
    head += [f"{model}{_PRINTED}" for model in MODELS] + [f"card{_CARD}"]
    rows = {each.benchmark: _row(each) for each in results.measured}
    for each in results.not_run:
        usual = BY_NAME.get(each.benchmark)
        how = [str(usual.shots), usual.metric] if usual is not None else ["", ""]
        rows[each.benchmark] = [_title(each.benchmark), *how, "not run", "", "", *_published(each.benchmark)]
    order = {name: place for place, name in enumerate(BY_NAME)}
    return [head, *(rows[name] for name in sorted(rows, key=lambda name: order.get(name, len(order))))]


def notes(results: Results) -> list[str]:
    """What a reader of the table must know, a line each."""
    lines = [f"{_title(each.benchmark)} was not run: {each.why}" for each in results.not_run]
    if any(each.n < each.of for each in results.measured):
        lines.append("only the first items of each task were asked: their figures are not those of the benchmark")
    for each in results.measured:
        usual = BY_NAME.get(each.benchmark)
        if usual is not None and each.shots != usual.shots:
            lines.append(f"{usual.title} was asked with {each.shots} examples, not the paper's {usual.shots}")
        if each.cut:
            lines.append(f"{_title(each.benchmark)}: {each.cut:,} prompts were longer than the context, and lost their beginning")
        if each.members:
            mean = f"the mean of its {len(each.members)} parts is {percent(each.mean_of_members)}"
            lines.append(f"{_title(each.benchmark)} is scored over all its items; {mean}")
    lines.append("95%: Wilson's interval where an item is right or wrong, else the bootstrap's")
    lines.append(f"{_PRINTED} published, {PAPER}, table 2: not measured here")
    lines.append(f"{_CARD} published, {next(iter(CARD.values())).source}: not measured here")
    return lines


def markdown(results: Results) -> str:
    """The whole report, with what would be needed to repeat it."""
    head, *rows = cells(results)
    lines = ["# Benchmarks", "", _line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows), ""]
    lines += [f"- {line}" for line in notes(results)]
    lines += ["", "## Model and settings", ""]
    lines += [f"- {name}: {value}" for name, value in results.model.items() if name != "config"]
    lines += [f"- {name}: {', '.join(value) if name == 'benchmarks' else value}" for name, value in results.settings.items()]
    for each in results.measured:
        lines += ["", f"## {_title(each.benchmark)}", "", *_details(each)]
    return "\n".join(lines) + "\n"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _row(each: Measured) -> list[str]:
    items = f"{each.n:,}" if each.n == each.of else f"{each.n:,} of {each.of:,}"
    metric = each.metric.split(",")[0]
    return [_title(each.benchmark), str(each.shots), metric, percent(each.score.value), _between(each.score), items,
            *_published(each.benchmark)]  # fmt: skip


def _published(name: str) -> list[str]:
    printed = {figure.model: f"{figure.value:.1f}" for figure in TABLE2.get(name, ())}
    return [*(printed.get(model, "") for model in MODELS), f"{CARD[name].value:.1f}" if name in CARD else ""]


def _between(estimate: Estimate) -> str:
    return f"{percent(estimate.interval.low)} to {percent(estimate.interval.high)}" if estimate.interval is not None else ""


def _title(name: str) -> str:
    return BY_NAME[name].title if name in BY_NAME else name


def _details(each: Measured) -> list[str]:
    about = [f"{BY_NAME[each.benchmark].protocol}.", ""] if each.benchmark in BY_NAME else []
    table = [("metric", "value", "95%", "items"), ("---", "---:", "---:", "---:")]
    for name, estimate in (*each.estimates.items(), *each.members.items()):
        table.append((name, percent(estimate.value), _between(estimate), f"{estimate.n:,}"))
    return [*about, *map(_line, table), "", *(f"- {name}: {digest}" for name, digest in each.files.items())]


def _line(row: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
