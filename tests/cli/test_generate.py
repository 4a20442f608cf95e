"""`generate`: the streamed text is the text, JSON is one object, and stderr says what was read and how fast it went."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mistral7b.cli.terminal import emit
from mistral7b.kernels.native_room import best_instruction_set
from mistral7b.tokens.tokenizer import Tokenizer
from tests.cli.conftest import Run
from tests.cli.made import CONTEXT, talkative
from tests.cli.subprocesses import ENVIRONMENT, command
from tests.equivalence.test_adapters import written as written_adapter

PROMPT = "Once upon a time"


def test_streamed_text_is_the_json_text(run: Run, model: Path) -> None:
    wanted = ("generate", PROMPT, "-m", model, "-n", 24, "--seed", 5)
    streamed, told = run(*wanted), run(*wanted, "--json")
    answer = json.loads(told.out)
    assert streamed.out == answer["text"] + "\n"
    assert streamed.out.strip()
    assert told.out.count("\n") == 1
    assert (streamed.status, told.status, told.err) == (0, 0, "")


def test_the_object(run: Run, model: Path) -> None:
    answer = json.loads(run("generate", PROMPT, "-m", model, "-n", 6, "--seed", 5, "--json", "--logprobs", 2).out)
    assert set(answer) == {
        "text", "token_ids", "finish_reason", "usage", "timing", "seed", "model", "notes", "logprobs",
    }  # fmt: skip
    assert answer["finish_reason"] == "length"
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    assert len(answer["token_ids"]) == 6
    assert answer["seed"] == 5
    assert set(answer["timing"]) == {"load_s", "first_token_s", "decode_s", "tokens_per_s"}
    assert all(seconds > 0 for seconds in answer["timing"].values())
    about = answer["model"]
    assert (about["variant"], about["format"], about["dtype"], about["max_model_len"]) == (None, "hf", "bfloat16", CONTEXT)
    assert about["config"]["sliding_window"] == 32
    assert any("rope_theta 10,000" in line for line in answer["notes"])
    for id, token in zip(answer["token_ids"], answer["logprobs"], strict=True):
        assert token["token_id"] == id
        assert [held["rank"] for held in token["top"]] == [1, 2]
        assert token["logprob"] <= token["top"][0]["logprob"] < 0


def test_a_shown_seed_gives_the_text_again(run: Run, model: Path) -> None:
    wanted = ("generate", PROMPT, "-m", model, "-n", 8, "--json")
    first = json.loads(run(*wanted).out)
    again = json.loads(run(*wanted, "--seed", first["seed"]).out)
    assert again["token_ids"] == first["token_ids"]
    other = json.loads(run(*wanted, "--seed", first["seed"] + 1).out)
    assert other["token_ids"] != first["token_ids"]


def test_greedy_needs_no_seed_and_is_temperature_0(run: Run, model: Path) -> None:
    greedy = json.loads(run("generate", PROMPT, "-m", model, "-n", 8, "--json", "--greedy").out)
    cold = json.loads(run("generate", PROMPT, "-m", model, "-n", 8, "--json", "-t", 0, "--seed", 1).out)
    assert greedy["token_ids"] == cold["token_ids"]
    assert greedy["seed"] is None
    assert run("generate", PROMPT, "-m", model, "-n", 8, "--top-k", 1, "-q").out == greedy["text"] + "\n"
    assert run("generate", PROMPT, "-m", model, "-n", 8, "--top-p", 1e-9, "-q").out == greedy["text"] + "\n"


def test_stop_strings_are_cut_off(run: Run, model: Path) -> None:
    whole = json.loads(run("generate", PROMPT, "-m", model, "-n", 12, "--greedy", "--json").out)["text"]
    stop = whole[4:7]
    cut = json.loads(run("generate", PROMPT, "-m", model, "-n", 12, "--greedy", "--json", "--stop", "@@@", "--stop", stop).out)
    assert (cut["text"], cut["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def test_what_was_read_and_how_fast_is_told_on_stderr(run: Run, model: Path) -> None:
    told = run("generate", PROMPT, "-m", model, "-n", 4, "--seed", 1).err.splitlines()
    assert told[0] == f"{model}: hf, bfloat16 on cpu, context {CONTEXT} tokens"
    assert told[1].startswith("  native kernels (" if best_instruction_set() else "  torch kernels")
    assert told[1].endswith("cache bfloat16")
    assert "rope_theta 10000, window 32, 539,808 parameters" in told[2]
    assert told[-1].startswith("5 prompt tokens, 4 new, first after ")
    assert told[-1].endswith(" tokens/s, finish reason: length, seed 1")
    assert run("generate", PROMPT, "-m", model, "-n", 4, "--seed", 1, "--quiet").err == ""
    assert "no speed to state" in run("generate", PROMPT, "-m", model, "-n", 1).err


def test_prompts_from_elsewhere(run: Run, model: Path, tmp_path: Path) -> None:
    wanted = ("-m", model, "-n", 8, "--greedy", "-q")
    text = run("generate", PROMPT, *wanted).out
    (tmp_path / "prompt").write_text(PROMPT + "\n")
    assert run("generate", "--prompt-file", tmp_path / "prompt", *wanted).out == text
    assert run("generate", "-", *wanted, stdin=PROMPT + "\n").out == text
    assert run("generate", "-", *wanted, stdin=PROMPT).out == text
    ids = Tokenizer.load(model / "tokenizer.model.v3").encode(PROMPT, bos=True)
    assert run("generate", "--ids", "1, " + ",".join(map(str, ids[1:])), *wanted).out == text


def test_without_a_tokenizer_ids_go_in_and_out(run: Run, tmp_path: Path) -> None:
    bare = talkative(tmp_path / "bare", tokenizer=False)
    ids = run("generate", "--ids", "1,2,3", "-m", bare, "-n", 4, "--greedy", "-q").out
    answer = json.loads(run("generate", "--ids", "1,2,3", "-m", bare, "-n", 4, "--greedy", "--json").out)
    assert ids == ",".join(map(str, answer["token_ids"])) + "\n"
    run("generate", "hello", "-m", bare, "-q").fails_with("a text prompt needs a tokenizer")


def test_on_a_terminal_the_prompt_stands_before_its_continuation(run: Run, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ("generate", PROMPT, "-m", model, "-n", 4, "--greedy", "-q")
    plain = run(*wanted).out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert run(*wanted).out == f"\x1b[2m{PROMPT}\x1b[0m{plain}"


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_note(run: Run, model: Path) -> None:
    ran = run("generate", PROMPT, "-m", model, "-n", 1, "--dtype", "float16", "-q")
    assert ran.status == 0
    assert ran.err.startswith("note: float16 has a smaller range")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "there is no prompt"),
        (("",), "the prompt is empty"),
        (("a", "b"), "extra argument"),
        (("a", "--ids", "1"), "there are 2 prompts"),
        (("--ids", "1,x"), "--ids '1,x' must be token ids"),
        (("--ids", "9999"), "9999 is not a token id of this model"),
        (("a", "--greedy", "-t", "0.5"), "--greedy and --temperature contradict each other"),
        (("a", "--greedy", "--top-k", "5"), "--greedy and --top-k contradict each other"),
        (("a", "-t", "-1"), "temperature must be"),
        (("a", "-t", "nan"), "temperature must be"),
        (("a", "--top-p", "0"), "top_p must be"),
        (("a", "-n", "0"), "max_tokens must be"),
        (("a", "-n", "x"), "Invalid value for '--max-tokens'"),
        (("a", "--stop", ""), "every stop string"),
        (("a", "--logprobs", "2"), "add --json"),
        (("a", "--json", "--logprobs", "-1"), "logprobs must be"),
        (("a", "--dtype", "int3"), "'int3' is not one of 'auto'"),
        (("a", "--device", "abacus"), "device 'abacus' cannot be used here"),
        (("a", "--max-model-len", "0"), "max_model_len must be"),
        (("a", "--variant", "v0.3"), "v0.3 has dim 4,096, this model 32"),
        (("a", "--colour"), "No such option: --colour"),
        (("--prompt-file", "nowhere.txt"), "nowhere.txt: No such file or directory"),
        (("word " * CONTEXT,), f"leaves no room for an answer within max_model_len {CONTEXT}"),
        (("word " * 20, "--max-model-len", "16"), "leaves no room"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(run: Run, model: Path, args: tuple[str, ...], said: str) -> None:
    run("generate", *args, "-m", model, "--quiet").fails_with(said)


def test_a_prompt_that_is_no_text(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("déjà".encode("latin-1"))
    run("generate", "--prompt-file", tmp_path / "latin", "-m", model).fails_with("is not UTF-8 text")
    run("generate", "\udce9", "-m", model).fails_with("the prompt is not UTF-8 text")
    run("generate", "-", "-m", model, stdin="\n").fails_with("the prompt is empty")


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"a": [math.inf, -math.inf, math.nan, 1.5], "b": {"c": math.nan}, "d": "é\n"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, None, 1.5], "b": {"c": None}, "d": "é\n"}


def test_a_process_of_its_own(model: Path) -> None:
    done = command("generate", "-", "-m", model, "-n", 4, "--seed", 1, "--json", input=PROMPT)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 4


def test_a_reader_that_was_never_there_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nowhere:
        args = [sys.executable, "-m", "mistral7b", "--version"]
        done = subprocess.run(args, stdout=nowhere, stderr=subprocess.PIPE, env=ENVIRONMENT, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_reader_that_goes_away_is_no_error(model: Path) -> None:
    args = [sys.executable, "-m", "mistral7b", "generate", PROMPT, "-m", str(model), "-n", "400", "-q"]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdout.read(8)
        writer.stdout.close()
        assert writer.stderr.read() == b""
        assert writer.wait(60) == 1


def test_an_adapter_changes_the_answer(run: Run, tmp_path: Path) -> None:
    folder = written_adapter(tmp_path / "adapter", 1)
    plain = run("generate", "Once upon a time", "-n", 20, "--greedy", "--quiet")
    adapted = run("generate", "Once upon a time", "-n", 20, "--greedy", "--lora", folder)
    assert adapted.status == 0
    assert f"adapter {folder}" in adapted.err
    assert adapted.out != plain.out
    run("generate", "Once", "--lora", tmp_path / "nowhere").fails_with("nowhere")
