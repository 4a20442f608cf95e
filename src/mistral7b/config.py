"""ModelConfig: the nine numbers and one window that define a Mistral 7B network, as params.json writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mistral7b.errors import ConfigError

# v0.1 was published without the key; every later file states it (FACTS: v0.1 params.json has no rope_theta).
_WINDOWED_THETA = 10_000.0

_MOST = 2**31 - 1  # more layers, rows or tokens than any file holds, and all that 32-bit kernels count to

# HF keys that cannot change what the network computes: names, training, the shape of transformers' answers, marks of tools.
_HF_INERT = {
    "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "architectures",
    "attention_dropout", "auto_map", "bos_token_id", "chunk_size_feed_forward", "decoder_start_token_id", "dtype",
    "eos_token_id", "finetuning_task", "gradient_checkpointing", "id2label", "initializer_range", "is_decoder", "label2id",
    "max_position_embeddings", "model_type", "neftune_noise_alpha", "output_attentions", "output_hidden_states",
    "pad_token_id", "prefix", "problem_type", "return_dict", "sep_token_id", "task_specific_params", "tf_legacy_loss",
    "tokenizer_class", "torch_dtype", "torchscript", "transformers_version", "unsloth_fixed", "unsloth_version",
    "use_bfloat16", "use_cache",
}  # fmt: skip
# Nor can these: how text is drawn from it, as transformers 4 wrote into config.json.
_HF_INERT |= {
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
    "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams",
    "num_return_sequences", "output_scores", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate",
    "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
}  # fmt: skip
# Keys that would change it, with the only values under which they do not.
_HF_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu",),
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "tie_word_embeddings": (False,),
    "rope_scaling": (None,),
    "pretraining_tp": (1,),
    "partial_rotary_factor": (1, None),
    "pruned_heads": ({}, None),
    "is_encoder_decoder": (False, None),
    "tie_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "cross_attention_hidden_size": (None,),
}
_HF_HANDLED = {"rope_theta", "rope_parameters", "sliding_window", "layer_types", "quantization_config"}
_HF_NAMES = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "head_dim": "head_dim",
    "intermediate_size": "hidden_dim",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "rms_norm_eps": "norm_eps",
    "vocab_size": "vocab_size",
}
_INTEGERS = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Architecture of one model; mirrors params.json, with no defaults. Integers are below 2**31, floats kept as float.

    `sliding_window` is W, the number of keys a query sees, itself included (paper, section 2); None means no window.
    Raises ConfigError for numbers that make no network.
    """

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    vocab_size: int
    rope_theta: float
    sliding_window: int | None

    def __post_init__(self) -> None:
        for name in _INTEGERS:
            _integer(name, getattr(self, name))
        for name in ("norm_eps", "rope_theta"):
            object.__setattr__(self, name, _positive_float(name, getattr(self, name)))
        if self.sliding_window is not None:
            _integer("sliding_window", self.sliding_window)
        if self.n_heads % self.n_kv_heads:
            raise ConfigError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        if self.head_dim % 2:
            raise ConfigError(f"head_dim must be even for rotary embeddings, not {self.head_dim}")

    @property
    def n_params(self) -> int:
        """Number of weights: 7,241,732,096 for v0.1 and v0.2, 7,248,023,552 for v0.3 (FACTS 3.1)."""
        attention = 2 * self.dim * self.head_dim * (self.n_heads + self.n_kv_heads)
        layer = attention + 3 * self.dim * self.hidden_dim + 2 * self.dim
        return self.n_layers * layer + 2 * self.vocab_size * self.dim + self.dim

    def to_params(self) -> dict[str, Any]:
        """The object params.json holds; a missing window is left out, as v0.2 and v0.3 publish it."""
        params = asdict(self)
        if self.sliding_window is None:
            del params["sliding_window"]
        return params

    def to_hf(self, *, max_position_embeddings: int, dtype: str, eos_ids: Sequence[int] = (2,)) -> dict[str, Any]:
        """The object config.json holds, readable by transformers 4 and 5 (theta stands in both places)."""
        return {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            **{hf: getattr(self, ours) for hf, ours in _HF_NAMES.items()},
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "max_position_embeddings": max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "sliding_window": self.sliding_window,
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": eos_ids[0] if len(eos_ids) == 1 else list(eos_ids),
            "torch_dtype": dtype,
            "use_cache": True,
        }

    def describe(self) -> str:
        """One line for a terminal: everything that was read, theta and window included."""
        window = "none" if self.sliding_window is None else f"{self.sliding_window:,}"
        return (
            f"{self.n_layers} layers, dim {self.dim:,}, {self.n_heads} heads over {self.n_kv_heads} KV heads of "
            f"{self.head_dim}, hidden {self.hidden_dim:,}, vocabulary {self.vocab_size:,}, "
            f"rope_theta {self.rope_theta:g}, window {window}, {self.n_params:,} parameters"
        )


def said(value: object) -> str:
    """A value from a file as it may stand in a message: one line of at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of over 4,300 digits; lists in lists in lists
        return "a value too large to print"
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_object(text: str, what: str) -> dict[str, Any]:
    """`text` as one JSON object; raises ConfigError naming `what` otherwise."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{what} must hold one JSON object, not a {type(found).__name__}")
    return found


def from_params(params: Mapping[str, Any]) -> ModelConfig:
    """ModelConfig of a params.json object. Strict: an unknown or missing key raises ConfigError.

    `rope_theta` may be absent only beside a window, and then means 10,000 (v0.1 as published).
    """
    known = dict(params)
    window = known.pop("sliding_window", None)
    if window is None:
        window = known.pop("_sliding_window", None)
    window = _one_window(window, "params.json")
    if known.get("rope_theta") is None:
        if window is None:
            raise ConfigError("params.json has neither rope_theta nor sliding_window; add the theta the model was trained with")
        known["rope_theta"] = _WINDOWED_THETA
    fields = set(_INTEGERS) | {"norm_eps", "rope_theta"}
    if unknown := sorted(known.keys() - fields):
        raise ConfigError(f"params.json has an unknown key {said(unknown[0])}: this is not a Mistral 7B, or the file has a typo")
    if missing := sorted(fields - known.keys()):
        raise ConfigError(f"params.json lacks {', '.join(missing)}")
    return ModelConfig(sliding_window=window, **known)


def from_hf(config: Mapping[str, Any]) -> ModelConfig:
    """ModelConfig of an HF config.json object.

    Keys that cannot change the network pass; any other unknown key, or a known one with a value that would change the
    network, raises ConfigError. Theta is read from `rope_theta` and from `rope_parameters` (transformers 5).
    """
    if config.get("model_type") != "mistral":
        raise ConfigError(f"config.json is of model_type {said(config.get('model_type'))}, not 'mistral'")
    _refuse_strange(config)
    theta = _hf_theta(config)
    window = _one_window(config.get("sliding_window"), "config.json")
    fields = {ours: config[hf] for hf, ours in _HF_NAMES.items() if config.get(hf) is not None}
    if "head_dim" not in fields and {"dim", "n_heads"} <= fields.keys():
        fields["head_dim"] = _integer("hidden_size", fields["dim"]) // _integer("num_attention_heads", fields["n_heads"])
    if missing := sorted(hf for hf, ours in _HF_NAMES.items() if ours not in fields):
        raise ConfigError(f"config.json lacks {', '.join(missing)}")
    if theta is None:
        if window is None:
            raise ConfigError("config.json has neither rope_theta nor sliding_window; add the theta the model was trained with")
        theta = _WINDOWED_THETA
    found = ModelConfig(rope_theta=theta, sliding_window=window, **fields)
    _check_layer_types(config.get("layer_types"), found)
    return found


def _refuse_strange(config: Mapping[str, Any]) -> None:
    if config.get("quantization_config") is not None:
        raise ConfigError(
            "config.json has a quantization_config: quantised weights (AWQ, GPTQ, bitsandbytes, ...) cannot be read; "
            "use the original model or a GGUF of it"
        )
    for key, value in config.items():
        if key in _HF_NEUTRAL:
            if value not in _HF_NEUTRAL[key]:
                raise ConfigError(f"config.json sets {key} to {said(value)}, which Mistral 7B does not have")
        elif key not in _HF_INERT and key not in _HF_NAMES and key not in _HF_HANDLED:
            raise ConfigError(f"config.json has an unknown key {said(key)} that could change the network; remove it if it cannot")


def _hf_theta(config: Mapping[str, Any]) -> float | None:
    nested = config.get("rope_parameters")
    if nested is None:
        nested = {}
    if not isinstance(nested, dict):
        raise ConfigError(f"config.json: rope_parameters must be an object, not {said(nested)}")
    for key in ("rope_type", "type"):
        if nested.get(key) not in ("default", None):
            raise ConfigError(f"config.json asks for rope_type {said(nested[key])}; Mistral 7B uses plain RoPE")
    if nested.get("partial_rotary_factor") not in _HF_NEUTRAL["partial_rotary_factor"]:
        factor = said(nested["partial_rotary_factor"])
        raise ConfigError(f"config.json sets partial_rotary_factor to {factor}, which Mistral 7B does not have")
    if extra := sorted(nested.keys() - {"rope_type", "type", "rope_theta", "partial_rotary_factor"}):
        raise ConfigError(f"config.json has an unknown key {said(extra[0])} in rope_parameters")
    stated = (config.get("rope_theta"), nested.get("rope_theta"))
    thetas = [_positive_float("rope_theta", theta) for theta in stated if theta is not None]
    if len(set(thetas)) > 1:
        raise ConfigError(
            f"config.json states two thetas, {thetas[0]:g} and {thetas[1]:g}; keep the one the model was trained with"
        )
    return thetas[0] if thetas else None


def _one_window(window: Any, file: str) -> int | None:
    """A window that is the same in every layer: null, an integer, or a list of equal ones."""
    if isinstance(window, list):
        if not window or any(w != window[0] for w in window):
            raise ConfigError(f"{file} gives layers different windows, which none of the published models has")
        window = window[0]
    return None if window is None else _integer(f"{file}: sliding_window", window)


def _check_layer_types(types: Any, config: ModelConfig) -> None:
    if types is None:
        return
    if not isinstance(types, list) or len(types) != config.n_layers:
        raise ConfigError(f"config.json: layer_types must list one type for each of the {config.n_layers:,} layers")
    expected = "full_attention" if config.sliding_window is None else "sliding_attention"
    if any(kind != expected for kind in types):
        raise ConfigError(f"config.json: layer_types and sliding_window disagree; every layer should be {expected!r}")


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise ConfigError(f"{name} must be a positive integer below 2**31, not {said(value)}")
    return value


def _positive_float(name: str, value: Any) -> float:
    if not isinstance(value, bool) and isinstance(value, int | float) and value > 0:
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if number < math.inf:
            return number
    raise ConfigError(f"{name} must be a positive number, not {said(value)}")
