"""The exception tree: one class per kind of user error, each with one line that says what to do."""

from __future__ import annotations


class Mistral7BError(Exception):
    """Base of every error a user can cause; `str(error)` is one line fit for a terminal or a 4xx body."""


class ConfigError(Mistral7BError):
    """A params.json, config.json or GGUF header that is missing, malformed or of another architecture."""


class MismatchError(Mistral7BError):
    """Config, tokenizer, weights or the named variant contradict each other; `--force` overrides."""


class CheckpointError(Mistral7BError):
    """Weights that are missing, truncated, of a wrong shape, unsafe to read or not finite."""


class TokenizerError(Mistral7BError):
    """A tokenizer file that is missing, ambiguous or unreadable."""


class ChatError(Mistral7BError):
    """Messages or tools that no template can render."""


class RequestError(Mistral7BError):
    """A prompt or a sampling parameter the engine cannot serve."""


class StoreError(Mistral7BError):
    """A model name that resolves to nothing, or a download that failed."""


class NumericError(Mistral7BError):
    """Logits that are not finite: weights or a dtype that the model cannot be computed with."""


class MemoryFitError(Mistral7BError):
    """The model and its cache do not fit in the memory of the device."""


class RecipeError(Mistral7BError):
    """A recipe with a key or a value that is wrong; the line names file and key."""


class DataError(Mistral7BError):
    """Documents or token shards that are missing, damaged, or not those they are taken for."""


class RanksError(Mistral7BError):
    """The processes of one run do not find one another, or have lost one; the line names it where that is known."""


class ReleaseError(Mistral7BError):
    """A release that cannot be made, or one that is changed, unsigned, or signed by another."""
