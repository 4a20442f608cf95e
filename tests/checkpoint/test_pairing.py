from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.checkpoint.pairing import check, near_misses, show
from mistral7b.config import ModelConfig
from mistral7b.errors import MismatchError
from mistral7b.variants import V01, V02, V03, VARIANTS
from tests.checkpoint.made import SMALL, like_7b


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
def test_published_models_pass(variant: object) -> None:
    config = variant.config  # type: ignore[attr-defined]
    vocab = config.vocab_size
    assert check(config, embedding_rows=vocab, tokenizer_vocab=vocab, variant=variant.name) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (like_7b(rope_theta=1e6), ["v0.1 but for rope_theta 1,000,000 (published: 10,000)", "v0.2 but for sliding_window 4,096"]),
        (like_7b(sliding_window=None), ["v0.1 but for sliding_window none (published: 4,096)", "v0.2 but for rope_theta 10,000"]),
        (like_7b(vocab_size=32768), ["v0.1 but for vocab_size 32,768"]),
        (like_7b(vocab_size=32768, rope_theta=1e6), ["v0.3 but for sliding_window 4,096 (published: none)"]),
        (like_7b(norm_eps=1e-6), ["v0.1 but for norm_eps 1e-06 (published: 1e-05)"]),
        (like_7b(sliding_window=4095), ["v0.1 but for sliding_window 4,095"]),
        (like_7b(vocab_size=32002, rope_theta=1e6), ["v0.1 but for rope_theta", "v0.2 but for sliding_window"]),
    ],
)
def test_near_misses_of_a_published_model_are_refused(config: ModelConfig, words: list[str]) -> None:
    with pytest.raises(MismatchError, match="--force") as caught:
        check(config)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    (note,) = check(config, force=True)
    assert note.startswith("forced: no published Mistral 7B")


@pytest.mark.parametrize(
    "config",
    [
        like_7b(vocab_size=32002),  # a fine-tune with two tokens more
        like_7b(rope_theta=5e5, sliding_window=16384),  # somebody's long-context model
        like_7b(n_layers=31, rope_theta=1e6),  # not the 7B shape
        like_7b(hidden_dim=14335),  # one field off, but in the shape: another architecture
        SMALL,
    ],
)
def test_other_peoples_models_pass(config: ModelConfig) -> None:
    assert check(config) == []


@given(
    vocab=st.sampled_from([32000, 32768]),
    theta=st.sampled_from([1e4, 1e6]),
    window=st.sampled_from([None, 4096]),
)
def test_of_the_eight_combinations_three_are_published(vocab: int, theta: float, window: int | None) -> None:
    config = like_7b(vocab_size=vocab, rope_theta=theta, sliding_window=window)
    missed = {name.split()[0] for name in near_misses(config)}
    rows = {"v0.1": V01, "v0.2": V02, "v0.3": V03}
    apart = {name: (vocab != v.vocab_size) + (theta != v.rope_theta) + (window != v.sliding_window) for name, v in rows.items()}
    assert missed == (set() if 0 in apart.values() else {name for name, n in apart.items() if n == 1})
    assert missed or 0 in apart.values(), "every contradiction among the published values is refused"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"embedding_rows": 32768}, "the config says vocabulary 32000, the weights hold 32768 embeddings"),
        ({"tokenizer_vocab": 32768}, "the tokenizer knows 32768 ids, the model 32000"),
        ({"variant": "v0.2"}, "v0.2 has rope_theta 1,000,000, this model 10,000"),
        ({"variant": "v0.3"}, "v0.3 has vocab_size 32,768, this model 32,000"),
    ],
)
def test_contradictions_name_both_values(arguments: dict[str, int | str], words: str) -> None:
    with pytest.raises(MismatchError, match=words):
        check(V01, **arguments)  # type: ignore[arg-type]
    notes = check(V01, **arguments, force=True)  # type: ignore[arg-type]
    assert any(words in note for note in notes)


def test_an_unknown_variant_is_an_error_even_if_forced() -> None:
    with pytest.raises(MismatchError, match=r"no variant 'v0\.4'; the published ones are v0\.1, v0\.1-instruct"):
        check(V01, variant="v0.4", force=True)


def test_values_in_messages() -> None:
    assert [show(v) for v in (None, 4096, 1e6, 1e-5, 10000.5)] == ["none", "4,096", "1,000,000", "1e-05", "10000.5"]
