"""`bench`: the model's speed beside the machine's."""

from __future__ import annotations

import json

import pytest

from mistral7b.kernels.native_room import instruction_sets
from tests.cli.conftest import Run

FIGURES = ("prefill_tok_s", "decode_tok_s", "read_gb_s", "decode_of_bandwidth")


@pytest.mark.skipif(not instruction_sets(), reason="built without a C++ compiler: there are no native kernels to measure")
def test_a_model_is_measured(run: Run) -> None:
    ran = run("bench", "-m", "tiny", "--prefill", 600, "--decode", 3, "--rounds", 1, "--threads", 1, "--json")
    assert ran.status == 0, ran.err
    told = json.loads(ran.out)
    assert all(told[figure] > 0 for figure in FIGURES)
    assert (told["threads"], told["prefill_tokens"], told["decode_tokens"]) == (1, 600, 3)
    assert told["int8_gops"] is None or told["prefill_of_int8"] > 0
    # All weights but the embeddings, of which a step reads one row.
    assert told["weight_bytes"] == 2 * (11_014_400 - 8192 * 256)


def test_what_cannot_be_measured_is_said(run: Run) -> None:
    run("bench", "-m", "no-such-folder").fails_with("no-such-folder")
    run("bench", "--layers", "99").fails_with("--layers")
