"""The load generator: its work, its arithmetic, its arrivals, and what it makes of servers good and bad."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import subprocess
import sys
import time
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.stand_in import StandIn, serving

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve.py"
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(SCRIPT.parent)  # the script finds its modules beside itself
    import serve
    import serve_options
    from serve_client import CHAT, Form, Result, Target, ask
    from serve_load import Load, new_client
    from serve_report import Block, percentile, ratios, summary
    from serve_work import Item, Scale, Work, read_prompts

BASE = ["--prompt-tokens", "10", "20", "--max-tokens", "2", "5", "--requests", "6"]


# ── work ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 99), st.integers(1, 50), st.integers(0, 50), st.integers(0, 20), st.floats(0.5, 3))
def test_work_is_a_function_of_its_seed_and_keeps_its_ranges(seed: int, low: int, more: int, prefix: int, each: float) -> None:
    work = Work(
        seed=seed, prompt_tokens=(low, low + more), max_tokens=(low, low + more), shared_prefix=prefix, scale=Scale(each, 1)
    )
    items = list(islice(work.items(), 12))
    assert items == list(islice(work.items(), 12))
    head = round(prefix / each)
    for item in items:
        assert low <= item.max_tokens <= low + more
        tokens = 1 + each * (len(item.prompt.split()) - head)
        assert low - each / 2 - 1e-6 <= tokens <= max(low + more + each / 2 + 1e-6, 1 + each)
        assert item.prompt.split()[:head] == items[0].prompt.split()[:head]


def test_long_prompts_share_nothing_but_the_prefix() -> None:
    items = list(islice(Work(prompt_tokens=(40, 40), shared_prefix=8).items(), 50))
    assert len({item.prompt for item in items}) == 50
    assert len({tuple(item.prompt.split()[:16]) for item in items}) == 50
    assert len({tuple(item.prompt.split()[:8]) for item in items}) == 1


def test_prompts_from_a_file_are_taken_in_turn(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "one"}\n\n{"prompt": "two", "max_tokens": 7}\n')
    items = list(islice(Work(prompts=read_prompts(file), max_tokens=(3, 3)).items(), 3))
    assert items == [Item("one", 3), Item("two", 7), Item("one", 3)]


@pytest.mark.parametrize(
    "line",
    ["", "[]", '{"prompt": ""}', '{"prompt": 1}', "{", '{"prompt": "a", "max_tokens": 0}', '{"prompt": "a", "max_tokens": "9"}'],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(line)
    with pytest.raises(SystemExit, match="2"):
        serve_options.parse("", ["--url", "http://127.0.0.1:1", "--prompts", str(file)])
    assert str(file) in capsys.readouterr().err.splitlines()[-1]


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(0, 100))
def test_percentile(values: list[float], percent: int) -> None:
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), abs=1e-6)


def test_a_result_by_hand() -> None:
    """Due at 10, text at 12, 13 and 15, over at 16; by usage 7 tokens, so 6 after the first in 3 s."""
    result = Result(10.0, 16.0, "200", "", [12.0, 13.0, 15.0], 20, 7)
    assert (result.first_token, result.per_token, result.gaps, result.latency) == (2.0, 0.5, [1.0, 2.0], 6.0)
    result.output_tokens = None
    assert (result.tokens, result.per_token) == (3, 1.5)
    empty = Result(10.0, 16.0, "200")
    assert (empty.first_token, empty.per_token, empty.gaps, empty.tokens) == (None, None, [], 0)


def test_a_summary_by_hand() -> None:
    """Two blocks of 10 s: 2 requests of 5 s and 10 s, then one of 10 s and a refusal after 1 s."""
    first = Block([Result(0, 5, "200", "", [1, 5], 30, 3), Result(0, 10, "200", "", [2, 10], 50, 5)])
    second = Block([Result(0, 10, "200", "", [3, 9], None, None), Result(0, 1, "429", "full")])
    found = summary([first, second])
    assert (found["ok"], found["failed"], found["failures"]) == (3, {"429": 1}, ["429: full"])
    assert found["tokens_counted_from"] == {"usage": 2, "chunks": 1}
    assert found["per_second"]["requests"] == {"median": pytest.approx(0.15), "least": 0.1, "most": 0.2}
    assert found["per_second"]["output tokens"] == {"median": pytest.approx(0.5), "least": 0.2, "most": 0.8}
    assert found["per_second"]["prompt tokens"] is None, "one server answer did not count its prompt"
    assert found["seconds"]["time to first token"]["p50"] == 2
    assert found["seconds"]["end to end"]["mean"] == pytest.approx(25 / 3)
    assert found["in_flight"]["most"] == pytest.approx(2)
    assert found["in_flight"]["mean"] == pytest.approx((15 + 11) / 20)
    over = ratios([first], [Block([Result(0, 20, "200", "", [4, 20], 8, 5)])])
    assert over["requests"] == {"median": 4, "least": 4, "most": 4}
    assert over["time to first token, p50"]["median"] == pytest.approx(1.5 / 4)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 50)), min_size=1, max_size=20), st.integers(1, 60))
def test_requests_in_flight_add_up_to_their_time(spans: list[tuple[float, float]], points: int) -> None:
    block = Block([Result(due, due + length, "200") for due, length in spans])
    area = sum(count for _, count in block.in_flight(points)) * block.seconds / points
    assert area == pytest.approx(sum(length for _, length in spans))


# ── arrivals ──────────────────────────────────────────────────────────────────────────────────────────────────────────
class Slow:
    """Every request takes `seconds`; `most` is how many were ever in flight."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.most = seconds, 0, 0

    async def ask(self, item: Item, due: float) -> Result:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(self.seconds * (1 + item.max_tokens % 3))
        self.now -= 1
        return Result(due, time.perf_counter(), item.prompt)


ITEMS = [Item(str(place), place) for place in range(24)]


def test_poisson_arrivals_wait_for_nobody() -> None:
    arrived, everyone = [], asyncio.Event()

    async def ask(item: Item, due: float) -> Result:
        """Answered when the last has arrived: if anybody waited for an answer, nobody would get one."""
        arrived.append(item)
        if len(arrived) == len(ITEMS):
            everyone.set()
        await asyncio.wait_for(everyone.wait(), 30)
        return Result(due, time.perf_counter(), item.prompt)

    results = asyncio.run(Load(rate=200, seed=4).run(ask, ITEMS))
    assert arrived == ITEMS
    assert [result.status for result in results] == [item.prompt for item in ITEMS]
    chance = random.Random("arrivals 4")
    gaps = [chance.expovariate(200) for _ in ITEMS[1:]]
    assert [later.due - earlier.due for earlier, later in pairwise(results)] == pytest.approx(gaps)
    many = [random.Random(f"arrivals {seed}").expovariate(1) for seed in range(500)]
    assert statistics.fmean(many) == pytest.approx(1, abs=0.15)
    assert statistics.stdev(many) == pytest.approx(1, abs=0.25), "an exponential's spread is its mean"


@pytest.mark.parametrize("concurrency", [1, 5, 99])
def test_a_closed_loop_keeps_so_many_in_flight(concurrency: int) -> None:
    server = Slow(0.001)
    results = asyncio.run(Load(concurrency=concurrency).run(server.ask, ITEMS))
    assert [result.status for result in results] == [item.prompt for item in ITEMS]
    assert server.most == min(concurrency, len(ITEMS))


# ── one request ───────────────────────────────────────────────────────────────────────────────────────────────────────
def asked(server: StandIn, form: Form, key: str | None = None) -> Result:
    async def once() -> Result:
        async with new_client() as client:
            target = Target("it", f"{server.url}/v1/", "first", key)
            return await ask(client, target, form, Item("two words", 4), time.perf_counter())

    return asyncio.run(once())


@pytest.mark.parametrize("endpoint", ["completions", CHAT])
def test_a_good_answer(endpoint: str) -> None:
    with serving(StandIn(pause=0.03)) as server:
        result = asked(server, Form(endpoint), "secret")
    assert (result.status, result.prompt_tokens, result.output_tokens, len(result.stamps)) == ("200", 7, 4, 4)
    assert result.first_token is not None
    assert 0.03 <= result.first_token < result.latency, "the chunk that only names the role is no token"
    assert result.per_token == pytest.approx(sum(result.gaps) / 3)
    ((path, headers, body),) = server.seen
    assert path == f"/v1/{endpoint}"
    assert headers["Authorization"] == "Bearer secret"
    text = {"messages": [{"role": "user", "content": "two words"}]} if endpoint == CHAT else {"prompt": "two words"}
    plain = {"model": "first", "max_tokens": 4, "temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}}
    assert body == plain | text


def test_a_server_without_usage_has_its_chunks_counted() -> None:
    with serving(StandIn(usage=False)) as server:
        result = asked(server, Form(usage=False, ignore_eos=True))
    assert (result.status, result.prompt_tokens, result.output_tokens, result.tokens) == ("200", None, None, 4)
    ((_, headers, body),) = server.seen
    assert body["ignore_eos"] is True
    assert "stream_options" not in body
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("wrong", "status", "detail"),
    [
        ("429", "429", '{"error": {"message": "the queue\\nis full"}}'),
        ("error", "error in stream", '{"message": "out of\\npages"}'),
        ("garbage", "broken stream", "not a chunk: [1, 2"),
        ("no end", "broken stream", "the stream ended without [DONE]"),
    ],
)
def test_a_bad_answer_is_a_failure_and_says_why(wrong: str, status: str, detail: str) -> None:
    with serving(StandIn(wrong=wrong)) as server:
        result = asked(server, Form())
    assert (result.status, result.detail, result.ok) == (status, detail, False)


def test_no_answer_in_time_and_nobody_there() -> None:
    with serving(StandIn(pause=0.2)) as server:
        late = asked(server, Form(timeout_s=0.3))
    assert (late.status, late.detail) == ("timeout", "no end within 0.3 s")
    assert 0.3 <= late.latency < 10
    gone = asked(server, Form())
    assert gone.status == "connection"
    assert gone.detail.startswith("ConnectError")


# ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_run_against_a_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    with serving(StandIn(pause=0.002)) as fast, serving(StandIn(pause=0.04, usage=False)) as slow:
        options = ["--url", fast.url, "--api-key", "secret", "--against", f"peer={slow.url}/v1", "--repeats", "3", *BASE]
        assert serve.main([*options, "--concurrency", "3", "--json", str(file)]) == 0
    report: dict[str, Any] = json.loads(file.read_text())
    assert not list(tmp_path.glob("*.part"))
    said = capsys.readouterr()
    assert "secret" not in file.read_text() + said.out + said.err
    assert all("Authorization" not in headers for _, headers, _ in slow.seen), "a key goes to its own server only"
    ours, peer = (report["servers"][name] for name in ("ours", "peer"))
    assert (ours["ok"], peer["ok"], ours["failed"]) == (18, 18, {})
    assert (ours["tokens_counted_from"], peer["tokens_counted_from"]) == ({"usage": 18}, {"chunks": 18})
    assert ours["output_tokens"] == peer["output_tokens"], "the same work"
    assert peer["prompt_tokens"] is None
    assert 10 * 18 <= ours["prompt_tokens"] <= 21 * 18, "as long as asked, after two prompts that measured the words"
    assert report["settings"]["scale"] == {"tokens_per_word": 2.0, "overhead": 3.0}
    assert 1 < ours["in_flight"]["mean"] <= ours["in_flight"]["most"] <= 3 + 1e-6
    ratio = report["ratios"]["peer"]
    assert ratio["output tokens"]["median"] > 1.2
    assert ratio["time per output token, p50"]["median"] < 0.8
    assert ratio["prompt tokens"] is None
    assert "ours / peer" in said.out
    assert "tokens: unknown in" in said.out
    assert "ours: 18 ok; failed: none" in said.out
    # Behind two prompts of measuring (ours only) and two of warming up, both get the same three blocks.
    prompts = [sorted(body["prompt"] for *_, body in server.seen[skip:]) for server, skip in ((fast, 4), (slow, 2))]
    assert prompts[0] == prompts[1]
    assert len(set(prompts[0])) == 18


def test_a_server_that_refuses_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(StandIn(wrong="429")) as server:
        assert serve.main(["--url", server.url, *BASE]) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: ours at {server.url} answers nothing: 429")
        assert serve.main(["--url", server.url, "--warmup", "0", "--rate", "500", "--json", "-", *BASE]) == 1
    found = json.loads(capsys.readouterr().out)["servers"]["ours"]
    assert (found["ok"], found["failed"]) == (0, {"429": 6})
    assert found["seconds"]["time to first token"] is None


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(StandIn()) as server:
        pass
    assert serve.main(["--url", server.url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ours at http://127.0.0.1")
    assert "--model" in line


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--rate", "2", "--concurrency", "4"], "--concurrency is for --rate inf"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--rate", "nan"], "nan is not a number"),
        (["--requests", "0"], "0 is not a number of at least 1"),
        (["--max-tokens", "9", "3"], "the lower end comes first"),
        (["--against", "http://127.0.0.1:2"], "is not NAME=VALUE"),
        (["--against", "ours=http://127.0.0.1:2"], "the same name"),
        (["--against", "peer=127.0.0.1:2"], "is no URL"),
        (["--against-api-key", "peer=x"], "which no --against does"),
        (["--prompts", "/nowhere.jsonl"], "No such file"),
    ],
)
def test_options_that_make_no_sense(options: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        serve_options.parse("", ["--url", "http://127.0.0.1:1", *options])
    assert why in capsys.readouterr().err.splitlines()[-1]


def test_a_rate_is_infinite_unless_asked() -> None:
    assert math.isinf(serve_options.parse("", ["--url", "http://127.0.0.1:1"]).load.rate)


def test_it_runs_as_a_script() -> None:
    told = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--shared-prefix" in told.stdout


def test_a_chart(tmp_path: Path) -> None:
    with serving(StandIn()) as server:
        assert serve.main(["--url", server.url, "--chart", str(tmp_path / "chart.png"), *BASE]) == 0
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
