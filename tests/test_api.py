"""LLM as a user meets it: text in and out, streaming = plain, stops, logprobs, chat, honest errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mistral7b import LLM, SamplingParams, load
from mistral7b.config import ModelConfig
from mistral7b.errors import ChatError, MemoryFitError, MismatchError, NumericError, RequestError, TokenizerError
from mistral7b.kernels.native_room import NativeKernels
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.outputs import Delta
from tests.checkpoint.made import hf, weights
from tests.equivalence.networks import ROOMS

CONFIG = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=48, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=8192, rope_theta=10_000.0, sliding_window=16,
)  # fmt: skip
GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
WARM = SamplingParams(temperature=1.0, seed=11, max_tokens=40, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = hf(tmp_path_factory.mktemp("model"), weights(CONFIG, seed=5), CONFIG)
    tokenizer = Path(str(files("mistral7b.models.tiny"))) / "tokenizer.model.v3"
    shutil.copy(tokenizer, made)
    (made / "mistral7b.json").write_text(json.dumps({"trained_context": 64}))
    return made


@pytest.fixture(scope="module")
def llm(folder: Path) -> LLM:
    return LLM(folder, dtype="float32")


def test_one_prompt_or_many_text_or_ids(llm: LLM) -> None:
    assert llm.tokenizer is not None
    prompts = ["Once upon a time", "The cat", "A"]
    several = llm.generate(prompts, GREEDY)
    assert [output.prompt for output in several] == prompts
    for prompt, output in zip(prompts, several, strict=True):
        ids = llm.tokenizer.encode(prompt, bos=True)
        assert output.prompt_token_ids == ids
        for same in (llm.generate(prompt, GREEDY)[0], llm.generate(ids, GREEDY)[0], llm.generate([ids], GREEDY)[0]):
            assert same.outputs[0].token_ids == output.outputs[0].token_ids
            assert same.outputs[0].text == output.outputs[0].text
        whole = llm.tokenizer.decode([*ids, *output.outputs[0].token_ids])
        assert whole == prompt + output.outputs[0].text


def test_each_prompt_may_have_its_own_params(llm: LLM) -> None:
    mixed = [SamplingParams(max_tokens=3, seed=1), SamplingParams(max_tokens=5, seed=1)]
    assert [len(o.outputs[0].token_ids) for o in llm.generate(["a", "b"], mixed)] == [3, 5]
    with pytest.raises(RequestError, match="2 prompts but 1"):
        llm.generate(["a", "b"], mixed[:1])


def test_streaming_equals_plain(llm: LLM) -> None:
    plain = llm.generate("Once", WARM)[0]
    deltas = list(llm.stream("Once", WARM))
    assert "".join(delta.text for delta in deltas) == plain.outputs[0].text
    assert [delta.finished for delta in deltas] == [False] * 39 + [True]
    assert deltas[-1].output.outputs[0].token_ids == plain.outputs[0].token_ids


def test_a_stream_left_early_gives_its_pages_back(llm: LLM) -> None:
    stream = llm.stream("Once", WARM)
    next(stream)
    assert llm.engine.pool.n_free < llm.engine.pool.n_pages
    stream.close()
    assert llm.engine.pool.n_free == llm.engine.pool.n_pages
    assert llm.engine.idle


def test_two_streams_and_a_call_between_them_do_not_disturb_each_other(llm: LLM) -> None:
    prompts = ["Once", "The cat"]
    stop = llm.generate(prompts[1], WARM)[0].outputs[0].text[20:24]
    params = [WARM, SamplingParams(temperature=1.0, seed=11, max_tokens=40, ignore_eos=True, stop=stop)]
    alone = [llm.generate(prompt, one)[0].outputs[0] for prompt, one in zip(prompts, params, strict=True)]
    streams = [llm.stream(prompt, one) for prompt, one in zip(prompts, params, strict=True)]
    taken: list[list[Delta]] = [[next(stream)] for stream in streams]
    assert llm.generate("Third", WARM)[0].outputs[0].finish_reason == "length"  # 40 steps, in which both go on
    for deltas, stream in zip(taken, streams, strict=True):
        deltas.extend(stream)
    for deltas, expected in zip(taken, alone, strict=True):
        assert "".join(delta.text for delta in deltas) == expected.text
        assert deltas[-1].output.outputs[0] == expected
    assert llm.engine.idle


def test_every_substring_works_as_a_stop(llm: LLM) -> None:
    text = llm.generate("Once", WARM)[0].outputs[0].text
    for start in range(0, len(text) - 6, 5):
        stop = text[start : start + 6]
        params = SamplingParams(temperature=1.0, seed=11, max_tokens=40, ignore_eos=True, stop=["never seen", stop])
        found = llm.generate("Once", params)[0].outputs[0]
        assert found.text == text[: text.index(stop)]
        assert (found.finish_reason, found.stop_reason) == ("stop", stop)
        assert "".join(delta.text for delta in llm.stream("Once", params)) == found.text


def test_text_held_back_for_a_stop_that_never_comes_is_not_lost(llm: LLM) -> None:
    text = llm.generate("Once", WARM)[0].outputs[0].text
    params = SamplingParams(temperature=1.0, seed=11, max_tokens=40, ignore_eos=True, stop=text[-3:] + "!?!")
    assert llm.generate("Once", params)[0].outputs[0].text == text


def test_a_stop_id_ends_without_text(llm: LLM) -> None:
    free = llm.generate("Once", GREEDY)[0].outputs[0]
    stop = free.token_ids[5]
    found = llm.generate("Once", SamplingParams(temperature=0, max_tokens=24, stop_token_ids=[stop]))[0].outputs[0]
    assert found.token_ids == free.token_ids[: free.token_ids.index(stop) + 1]
    assert found.stop_reason == stop
    assert free.text.startswith(found.text)


def test_logprobs_are_those_of_logits(llm: LLM) -> None:
    params = SamplingParams(temperature=0.7, seed=2, max_tokens=20, ignore_eos=True, logprobs=3)
    output = llm.generate("Once upon", params)[0]
    found = output.outputs[0]
    ids = [*output.prompt_token_ids, *found.token_ids]
    expected = llm.logits(ids).log_softmax(-1)
    assert found.logprobs is not None
    for place, entries in enumerate(found.logprobs, len(output.prompt_token_ids) - 1):
        assert 3 <= len(entries) <= 4
        assert ids[place + 1] in entries
        for id, entry in entries.items():
            assert entry.logprob == float(expected[place, id])  # the same bits, prefilled or decoded
    assert found.cumulative_logprob == pytest.approx(
        sum(e[i].logprob for e, i in zip(found.logprobs, found.token_ids, strict=True))
    )


def test_logits_have_a_row_an_id_and_any_chunk_the_same_bits(folder: Path, llm: LLM) -> None:
    ids = [1, *range(2000, 2100)]
    whole = llm.logits(ids)
    assert whole.shape == (101, 8192)
    assert whole.dtype == torch.float32
    assert torch.equal(whole, LLM(folder, dtype="float32", chunk=7).logits(ids))


def test_chat_adds_nothing_unless_asked(llm: LLM) -> None:
    assert llm.tokenizer is not None
    turns = [{"role": "user", "content": "Hello"}]
    plain = llm.chat(turns, GREEDY)[0]
    assert plain.prompt_token_ids == [1, 3, *llm.tokenizer.encode("Hello"), 4]
    safe = llm.chat(turns, GREEDY, safe_prompt=True)[0]
    assert "respect" in llm.tokenizer.decode(safe.prompt_token_ids)
    both = llm.chat([turns, turns], GREEDY)
    assert [output.outputs[0].text for output in both] == [plain.outputs[0].text] * 2
    assert "".join(delta.text for delta in llm.stream_chat(turns, GREEDY)) == plain.outputs[0].text


def test_every_conversation_may_have_parameters_of_its_own(llm: LLM) -> None:
    turns = [[{"role": "user", "content": text}] for text in ("Hello", "Bye")]
    params = [SamplingParams(temperature=0, max_tokens=3), SamplingParams(temperature=0.9, seed=4, max_tokens=6)]
    texts = [output.outputs[0].text for output in llm.chat(turns, params)]
    assert texts == [llm.chat(turn, one)[0].outputs[0].text for turn, one in zip(turns, params, strict=True)]
    with pytest.raises(RequestError, match="2 conversations but 1 SamplingParams; give one for all or one for each"):
        llm.chat(turns, params[:1])


def test_what_normalisation_changed_is_said(llm: LLM) -> None:
    turns = [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}]
    assert any("joined" in note for note in llm.chat(turns, GREEDY)[0].notes)


def test_a_prompt_past_the_trained_context_is_answered_with_a_warning(llm: LLM) -> None:
    (note,) = llm.generate([5] * 65, GREEDY)[0].notes
    assert "65 tokens" in note
    assert "trained at 64" in note
    assert "configured for 512" in note
    assert not llm.generate([5] * 64, GREEDY)[0].notes


@pytest.mark.parametrize(
    "prompts",
    ["", [], [[]], [""], [1, 8192], [1, -1], [[1], [2, 10**9]], [5] * 512, [True], None, {"a": 1}, b"abc", [1.5], [[1], ["a"]]],
)
def test_bad_prompts_are_refused_before_anything_runs(llm: LLM, prompts: object) -> None:
    with pytest.raises(RequestError) as caught:
        llm.generate(prompts, GREEDY)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert llm.engine.idle


@pytest.mark.parametrize("wrap", [np.array, torch.tensor, lambda ids: [np.array(ids)], lambda ids: (tuple(ids),)])
def test_ids_may_come_in_any_kind_of_array(llm: LLM, wrap: Callable[[list[int]], Any]) -> None:
    expected = llm.generate([1, 2000], GREEDY)[0].outputs[0].token_ids
    assert llm.generate(wrap([1, 2000]), GREEDY)[0].outputs[0].token_ids == expected
    assert llm.logits(np.array([1, 2000])).shape == (2, 8192)  # type: ignore[arg-type]


def test_params_of_another_kind_are_refused(llm: LLM) -> None:
    with pytest.raises(RequestError, match="must be SamplingParams"):
        llm.generate("Once", {"temperature": 0})  # type: ignore[arg-type]
    with pytest.raises(ChatError, match="list of messages"):
        llm.chat({"role": "user", "content": "Hi"})  # type: ignore[arg-type]
    with pytest.raises(ChatError):
        llm.stream_chat([])


def test_the_end_of_text_is_the_configs_with_a_tokenizer_or_without(folder: Path, tmp_path: Path, llm: LLM) -> None:
    third = llm.generate([1, 2000], GREEDY)[0].outputs[0].token_ids[2]
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "tokenizer.model.v3").unlink()
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"eos_token_id": [2, third]}))
    found = LLM(other, dtype="float32").generate([1, 2000], SamplingParams(temperature=0, max_tokens=24))[0].outputs[0]
    assert found.token_ids[-1] == third
    assert found.finish_reason == "stop"


def test_ids_that_a_fine_tune_added_have_no_text(tmp_path: Path) -> None:
    config = replace(CONFIG, vocab_size=8194)
    made = weights(config, seed=5)
    made["output.weight"][8192:] = made["output.weight"][:8192].abs().amax() * 20  # now and then the likeliest
    wide = hf(tmp_path, made, config)
    shutil.copy(Path(str(files("mistral7b.models.tiny"))) / "tokenizer.model.v3", wide)
    model = LLM(wide, dtype="float32")
    assert any("2 ids that the tokenizer does not know" in note for note in model.checkpoint.notes)
    output = model.generate([1, 8193, 2000], SamplingParams(temperature=1, seed=1, max_tokens=30, logprobs=2))[0].outputs[0]
    assert {8192, 8193} & set(output.token_ids)
    model.chat([{"role": "user", "content": "Hi"}], GREEDY)


def test_logits_that_are_not_finite_are_an_error_and_not_an_answer(folder: Path) -> None:
    model = LLM(folder, dtype="float32")
    model.model.output.weight[77, 0] = float("nan")
    with pytest.raises(NumericError, match="not finite in float32"):
        model.generate(["Once", "upon"], GREEDY)
    assert model.engine.idle
    assert model.engine.pool.n_free == model.engine.pool.n_pages


def test_the_cache_takes_no_more_than_the_weights_leave(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral7b.loading.available_bytes", lambda _device: 4_000_000)
    model = LLM(folder, dtype="float32", max_num_seqs=10**6)
    pool = model.engine.pool
    assert pool.n_pages * pool.bytes_per_page <= 4_000_000 - model.model.config.n_params * 4 or pool.n_pages == model.engine.slots


def test_a_folder_without_a_tokenizer_works_on_ids(folder: Path, tmp_path: Path, llm: LLM) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "tokenizer.model.v3").unlink()
    silent = LLM(bare, dtype="float32")
    output = silent.generate([1, 2000], GREEDY)[0].outputs[0]
    assert output.text == ""
    assert output.token_ids == llm.generate([1, 2000], GREEDY)[0].outputs[0].token_ids
    for use in (lambda: silent.generate("text"), lambda: silent.chat([{"role": "user", "content": "Hi"}])):
        with pytest.raises(TokenizerError, match="needs a tokenizer"):
            use()
    with pytest.raises(RequestError, match="stop strings need a tokenizer"):
        silent.generate([1], SamplingParams(stop="x"))


def test_parts_that_contradict_each_other_are_refused(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "tokenizer.model.v3").unlink()
    published = Path(__import__("mistral_common").__file__).parent / "data" / "mistral_instruct_tokenizer_240323.model.v3"
    shutil.copy(published, other / "tokenizer.model.v3")
    with pytest.raises(MismatchError, match="32768"):
        load(other)
    assert any("forced" in note for note in load(other, force=True).checkpoint.notes)
    with pytest.raises(MismatchError, match=r"v0\.1"):
        load(folder, variant="v0.1")


def test_what_does_not_fit_is_said_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mistral7b.checkpoint.fit.available_bytes", lambda _device: 1_000_000)
    monkeypatch.setattr("mistral7b.loading.load_weights", lambda *_args, **_kwargs: pytest.fail("weights were read"))
    with pytest.raises(MemoryFitError, match=r"needs .* available"):
        LLM(folder)


@pytest.mark.parametrize(
    ("asked", "got"),
    [("bfloat16", torch.bfloat16), ("float32", torch.float32), ("auto", torch.bfloat16), (torch.float32, torch.float32)],
)
def test_dtypes(folder: Path, asked: str | torch.dtype, got: torch.dtype) -> None:
    model = LLM(folder, dtype=asked)
    assert model.model.dtype == model.engine.pool.k.dtype == got
    assert len(model.generate("Once", GREEDY)[0].outputs[0].token_ids) == 24


@pytest.mark.parametrize("kernels", ROOMS)
def test_an_int8_cache(folder: Path, kernels: str) -> None:
    """Half the pages' memory; nearly the logits of a wide cache, and the same bits in any chunks."""
    wide, narrow = (LLM(folder, dtype="float32", kernels=kernels, kv_dtype=kv, chunk=64) for kv in ("auto", "int8"))  # type: ignore[arg-type]
    assert narrow.engine.pool.k.dtype == torch.int8
    assert narrow.engine.pool.bytes_per_page < 0.4 * wide.engine.pool.bytes_per_page, "8 fp32 to 8 int8 and a scale"
    ids = wide.tokenizer.encode("Once upon a time there was a girl who", bos=True)  # type: ignore[union-attr]
    logits = narrow.logits(ids)
    assert 0 < (logits - wide.logits(ids)).abs().max() < 0.5
    assert torch.equal(logits, LLM(folder, dtype="float32", kernels=kernels, kv_dtype="int8", chunk=3).logits(ids))  # type: ignore[arg-type]
    assert len(narrow.generate("Once", GREEDY)[0].outputs[0].token_ids) == 24


def test_kernels_by_name(folder: Path) -> None:
    assert isinstance(LLM(folder, kernels="auto").model.kernels, NativeKernels) == ("native" in ROOMS)
    assert type(LLM(folder, kernels="torch").model.kernels) is TorchKernels
    with pytest.warns(UserWarning, match="float16"):
        assert type(LLM(folder, dtype="float16").model.kernels) is TorchKernels
    with pytest.raises(RequestError, match="native kernels compute"):
        LLM(folder, dtype="float16", kernels="native")


def test_float16_works_with_a_warning(folder: Path) -> None:
    with pytest.warns(UserWarning, match="float16"):
        model = LLM(folder, dtype="float16")
    assert torch.isfinite(model.logits([1, 2000, 3000])).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dtype", "int3"),
        ("dtype", torch.int8),
        ("kernels", "cuda"),
        ("kv_dtype", "int4"),
        ("device", "nowhere"),
        ("device", "meta"),
        ("device", None),
        ("max_model_len", 0),
        ("max_model_len", 10**6),
        ("chunk", 0),
    ],
)
def test_bad_settings_are_named(folder: Path, name: str, value: object) -> None:
    with pytest.raises(RequestError, match=name) as caught:
        LLM(folder, **{name: value})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
