"""The six published models as one table (FACTS part one): config, tokenizer generation, contexts, hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mistral7b.config import ModelConfig

TokenizerVersion = Literal["v1", "v2", "v3"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One published model.

    `trained_context` is the length it was trained at, in tokens, `max_positions` what its HF config allows.
    `sha256` maps file names to the official hashes known to us; a file that is absent here has no known hash.
    """

    name: str
    hub_id: str | None
    config: ModelConfig
    tokenizer: TokenizerVersion
    trained_context: int
    max_positions: int
    instruct: bool
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def theoretical_context(self) -> int | None:
        """Tokens that information can cross through all layers: n_layers x W (paper, section 2)."""
        window = self.config.sliding_window
        return None if window is None else self.config.n_layers * window


def _config(vocab_size: int, theta: float, window: int | None) -> ModelConfig:
    return ModelConfig(
        dim=4096, n_layers=32, head_dim=128, hidden_dim=14336, n_heads=32, n_kv_heads=8, norm_eps=1e-5,
        vocab_size=vocab_size, rope_theta=theta, sliding_window=window,
    )  # fmt: skip


TOKENIZER_SHA256 = {
    "v1": "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055",
    "v3": "37f00374dea48658ee8f5d0f21895b9bc55cb0103939607c8185bfd1c6ca1f89",
}
_V1_FILES = {"tokenizer.model": TOKENIZER_SHA256["v1"]}
_V3_FILES = {"tokenizer.model": TOKENIZER_SHA256["v3"], "tokenizer.model.v3": TOKENIZER_SHA256["v3"]}

V01 = _config(32000, 10_000.0, 4096)
V02 = _config(32000, 1_000_000.0, None)
V03 = _config(32768, 1_000_000.0, None)

VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(
            name="v0.1", hub_id="mistralai/Mistral-7B-v0.1", config=V01, tokenizer="v1",
            trained_context=8192, max_positions=32768, instruct=False, sha256=_V1_FILES,
        ),
        Variant(
            name="v0.1-instruct", hub_id="mistralai/Mistral-7B-Instruct-v0.1", config=V01, tokenizer="v1",
            trained_context=8192, max_positions=32768, instruct=True, sha256=_V1_FILES,
        ),
        Variant(
            name="v0.2", hub_id=None, config=V02, tokenizer="v1",
            trained_context=32768, max_positions=32768, instruct=False, sha256=_V1_FILES,
        ),
        Variant(
            name="v0.2-instruct", hub_id="mistralai/Mistral-7B-Instruct-v0.2", config=V02, tokenizer="v1",
            trained_context=32768, max_positions=32768, instruct=True, sha256=_V1_FILES,
        ),
        Variant(
            name="v0.3", hub_id="mistralai/Mistral-7B-v0.3", config=V03, tokenizer="v3",
            trained_context=32768, max_positions=32768, instruct=False, sha256=_V3_FILES,
        ),
        Variant(
            name="v0.3-instruct", hub_id="mistralai/Mistral-7B-Instruct-v0.3", config=V03, tokenizer="v3",
            trained_context=32768, max_positions=32768, instruct=True,
            sha256=_V3_FILES | {
                "model-00001-of-00003.safetensors": "ce6fb6f6f4d0183f4813cbf4ece24109da629a08d4210da46f77e1d8b0bd5c19",
                "model-00002-of-00003.safetensors": "8c0e72f148366b6a3709e002a98706a33d31aec8515090c856c95b2044f92ae0",
                "model-00003-of-00003.safetensors": "905dd405363e43d95779c1c1155a2dbfd36155914ae95dbd934e12e490cfb4ca",
            },
        ),
    )
}  # fmt: skip


def matching(config: ModelConfig) -> list[Variant]:
    """The published models with exactly this architecture: base and instruct share theirs."""
    return [variant for variant in VARIANTS.values() if variant.config == config]
