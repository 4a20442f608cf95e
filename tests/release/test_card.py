from __future__ import annotations

from typing import Any

from mistral7b.release.card import fetch_page, model_card
from mistral7b.release.facts import stated_licence
from mistral7b.release.torrent import Torrent
from tests.release.test_keys import TEXT

MANIFEST: dict[str, Any] = {
    "name": "story", "licence": "Apache-2.0", "created": "2023-09-27T00:00:00Z", "base_model": None, "variant": None,
    "config": {"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "head_dim": 128, "hidden_dim": 14336,
               "vocab_size": 32000, "norm_eps": 1e-5, "rope_theta": 10_000.0, "sliding_window": 4096},
    "weights": {"parameters": 7_241_732_096, "tensors": {"bfloat16": 291}},
    "tokenizer": {"file": "tokenizer.model", "sha256": "0" * 64, "vocabulary": 32000, "generation": "v1"},
    "training": None,
    "files": {"a": {"sha256": "0" * 64, "size": 1000}, "b": {"sha256": "0" * 64, "size": 234}},
}  # fmt: skip


def test_the_card_says_what_is_known_and_no_more() -> None:
    card = model_card(MANIFEST)
    for line in ("# story", "| layers | 32 |", "| vocabulary | 32,000 |", "| sliding window, in tokens | 4,096 |",
                 "| RoPE theta | 10000 |", "| RMSNorm epsilon | 1e-05 |", "| parameters | 7,241,732,096 |",
                 "| tokenizer | tokenizer.model, 32,000 ids, generation v1 |"):  # fmt: skip
        assert line in card.splitlines()
    assert "## Training" not in card
    assert "fine-tuned" not in card
    bare = model_card(MANIFEST | {"tokenizer": None, "base_model": "v0.1", "training": {"steps": 7}})
    assert "| tokenizer |" not in bare
    assert "fine-tuned from v0.1. Licence" in bare
    assert '{\n  "steps": 7\n}' in bare


def test_the_licence_can_be_read_back(tmp_path: Any) -> None:
    for licence in ("Apache-2.0", "my own: see LICENSE"):
        (tmp_path / "README.md").write_text(model_card(MANIFEST | {"licence": licence}))
        assert stated_licence(tmp_path) == licence


def test_words_of_others_are_not_taken_for_markup() -> None:
    card = model_card(MANIFEST | {"base_model": "<b>|x", "training": {"note": "```\n# Not a heading"}})
    assert "fine-tuned from \\<b\\>\\|x" in card
    assert card.count("```") == 4, "two blocks"


def test_the_page_says_how_to_fetch_and_whom_to_ask() -> None:
    torrent = Torrent(data=b"", magnet="magnet:?xt=x", v1="1" * 40, v2="2" * 64, pieces=1, piece_size=1 << 14)
    page = fetch_page(MANIFEST, torrent, TEXT)
    assert f"mistral7b download 'magnet:?xt=x' \\\n  --signed-by {TEXT}\n" in page
    assert f"mistral7b verify story --signed-by {TEXT}\n" in page
    assert "| files | 2, 1,234 bytes |" in page
    assert "21fe 31df a154 a261 626b f854 046f d227" in page
    assert f"| info hash, v1 | {'1' * 40} |" in page
    assert f"| info hash, v2 | {'2' * 64} |" in page
