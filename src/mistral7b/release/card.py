"""Two pages in Markdown: the model card that travels with the weights, and the page that tells how to fetch them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mistral7b.release.keys import fingerprint
from mistral7b.release.torrent import Torrent

_ROWS = {
    "dim": "width",
    "n_layers": "layers",
    "n_heads": "query heads",
    "n_kv_heads": "key and value heads",
    "head_dim": "width of a head",
    "hidden_dim": "width of the feed-forward layer",
    "vocab_size": "vocabulary",
    "sliding_window": "sliding window, in tokens",
    "rope_theta": "RoPE theta",
    "norm_eps": "RMSNorm epsilon",
}

NO_LICENCE = "none stated"

_FILES = """## Files

manifest.json lists every file with its size and sha256, and manifest.json.sig signs that list. In the folder they stand in:

```sh
mistral7b verify . --signed-by KEY
```

KEY is the publisher's public key. Take it from a place you trust: whoever changes the files can sign them anew.
"""


def model_card(manifest: Mapping[str, Any]) -> str:
    """The card of a model that has none: what the files say and the training recorded, and nothing more.

    The manifest's own list of files is not used: the card becomes one of them.
    """
    name, tokenizer, weights = manifest["name"], manifest["tokenizer"], manifest["weights"]
    config = manifest["config"]
    tensors = ", ".join(f"{n} in {kind}" for kind, n in weights["tensors"].items())
    licence = manifest["licence"]
    stated = "" if licence is None else f"license: {json.dumps(licence, ensure_ascii=False)}\n"
    parts = [f"---\n{stated}library_name: mistral7b\n---\n# {name}\n"]
    parts.append(
        f"A model of Mistral 7B's architecture with {weights['parameters']:,} parameters ({tensors})"
        + (f", fine-tuned from {_plain(manifest['base_model'])}" if manifest["base_model"] else "")
        + f". Licence: {_plain(licence or NO_LICENCE)}.\n"
    )
    rows = [
        ("parameters", f"{weights['parameters']:,}"),
        *((label, _cell(config[key])) for key, label in _ROWS.items() if key in config),
    ]
    if tokenizer is not None:
        rows.append(("tokenizer", f"{tokenizer['file']}, {tokenizer['vocabulary']:,} ids, generation {tokenizer['generation']}"))
    parts.append("## Network\n\n" + _table(rows))
    if manifest["training"]:
        told = json.dumps(manifest["training"], indent=2, sort_keys=True, ensure_ascii=False).replace("```", "'''")
        parts.append(f"## Training\n\nAs recorded by the run that made it.\n\n```json\n{told}\n```\n")
    parts.append(_FILES)
    return "\n".join(parts)


def fetch_page(manifest: Mapping[str, Any], torrent: Torrent, key: str) -> str:
    """How to get the release and know that it is whole; for a web page, so it stands beside the folder and not in it (the link
    names the hash of every file in there)."""
    name = manifest["name"]
    total = sum(file["size"] for file in manifest["files"].values())
    rows = [
        ("licence", _plain(manifest["licence"] or NO_LICENCE)),
        ("files", f"{len(manifest['files'])}, {total:,} bytes"),
        ("created", manifest["created"]),
        ("info hash, v1", torrent.v1),
        ("info hash, v2", torrent.v2),
        ("public key", f"`{key}`"),
        ("its fingerprint", fingerprint(key)),
    ]
    return f"""# {name}

```sh
mistral7b download '{torrent.magnet}' \\
  --signed-by {key}
```

{_table(rows)}
Any BitTorrent client takes the magnet link, or {name}.torrent. Then this says whether every byte is the publisher's:

```sh
mistral7b verify {name} --signed-by {key}
```

{name}.pub holds the key too. Compare it with a copy from another place: whoever changes this page can change the key.
"""


def _table(rows: list[tuple[str, str]]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {label} | {value} |\n" for label, value in rows)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _plain(text: str) -> str:
    """Text that is not taken for Markdown, HTML or the end of a table's cell."""
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>#|" else char for char in text)
