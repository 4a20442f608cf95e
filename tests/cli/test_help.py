"""--help: complete, true to the verbs there are, and quick because nothing heavy is imported for it."""

from __future__ import annotations

import resource
import shlex

import pytest

from mistral7b import __version__
from mistral7b.cli.generate import EXAMPLES as GENERATE
from tests.cli.conftest import Run
from tests.cli.subprocesses import command, python

GROUPS = {"tokenizer": ("train", "encode"), "eval": ("run", "list", "positions", "passkey", "mt-bench", "arena", "safety", "bpb")}
VERBS = (
    "generate",
    "chat",
    "serve",
    "convert",
    "merge",
    "quantize",
    "verify",
    "curate",
    "pretrain",
    "finetune",
    "download",
    "release",
    "seed",
    "bench",
)
PAGES = (*VERBS, *(f"{group} {verb}" for group, verbs in GROUPS.items() for verb in verbs))
HEAVY = (
    "torch", "numpy", "mistral_common", "transformers", "huggingface_hub", "safetensors", "gguf", "pydantic", "rich", "fastapi",
    "uvicorn", "prometheus_client", "llguidance", "sentencepiece", "yaml", "lm_eval", "datasets", "matplotlib",
    "cryptography", "libtorrent", "segno",
)  # fmt: skip


def test_every_verb_is_listed_with_what_it_does(run: Run) -> None:
    shown = run("--help")
    assert (shown.status, shown.err) == (0, "")
    listed = shown.out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert tuple(line.split()[0] for line in listed) == (*VERBS, *GROUPS)
    assert all(line.endswith(".") and "..." not in line for line in listed), "cut short"
    assert run().out == shown.out


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_lists_its_verbs(run: Run, group: str) -> None:
    shown = run(group, "-h")
    assert (shown.status, shown.err) == (0, "")
    listed = shown.out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert tuple(line.split()[0] for line in listed) == GROUPS[group]
    assert f"  Examples:\n    mistral7b {group} " in shown.out
    assert run(group).out == shown.out
    if group != "eval":  # takes the names of benchmarks
        run(group, "x").fails_with("No such command 'x'", f"Try 'mistral7b {group} --help'")


@pytest.mark.parametrize("verb", PAGES)
def test_every_verb_explains_itself_with_an_example(run: Run, verb: str) -> None:
    shown = run(*verb.split(), "-h")
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.startswith(f"Usage: mistral7b {verb} [OPTIONS]")
    assert "  Examples:\n    " in shown.out
    options = [line for line in shown.out.splitlines() if line.lstrip().startswith("--")]
    assert options
    assert not [line for line in options if not line.split("  ", 3)[-1].strip()], "an option without a word about it"


@pytest.mark.parametrize("verb", PAGES)
def test_the_examples_use_options_that_exist(run: Run, verb: str) -> None:
    shown = run(*verb.split(), "--help").out
    above, examples = shown.split("Examples:\n")
    for line in examples.strip().splitlines():
        ours = line[line.index("mistral7b") :].split("|")[0]
        words = shlex.split(ours)
        named = ["mistral7b", *verb.split()]
        assert words[: len(named)] == named
        for word in words[len(named) :]:
            assert not word.startswith("--") or f"{word} " in above, word


def test_options_stand_under_headings(run: Run) -> None:
    shown = run("generate", "--help").out
    headings = [line for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Arguments:", "Prompt:", "Sampling:", "Output:", "Model:", "Options:"]
    assert GENERATE.splitlines()[-1] in shown


def test_nothing_heavy_is_imported_for_help() -> None:
    code = (
        "import sys\n"
        "from functools import cache\n"
        "from mistral7b.cli import main as room\n"
        "room.get_command = cache(room.get_command)\n"  # made once a process, as for whoever types a command
        f"for verb in {(*PAGES, *GROUPS)!r}:\n"
        "    assert room.main([*verb.split(), '--help']) == 0\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = python("-c", code)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert done.stdout.endswith("HEAVY []\n"), done.stdout[-200:] + done.stderr
    assert spent < 1, f"{spent} s of CPU"


def test_the_version(run: Run) -> None:
    assert run("--version").out == f"mistral7b {__version__}\n"
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mistral7b {__version__}\n", "")
