"""Small signed releases, as a folder that a server or a swarm would have."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mistral7b.checkpoint.manifest import MANIFEST, hash_files
from mistral7b.config import ModelConfig
from mistral7b.release.inspect import SIGNATURE
from mistral7b.release.keys import public_text
from mistral7b.release.sign import sign
from tests.checkpoint import made
from tests.cli.made import TALKATIVE

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
SIGNER, STRANGER = public_text(KEY), public_text(OTHER)


def release(folder: Path, *, seed: int = 0, config: ModelConfig = TALKATIVE) -> Path:
    """A model that answers, with manifest and signature. The tokenizer is the same for every `seed`."""
    folder.mkdir(parents=True)
    made.hf(folder, made.weights(config, seed=seed), config)
    shutil.copyfile(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"), folder / "tokenizer.model.v3")
    (folder / "README.md").write_text(f"# Release {seed}\n")
    return signed(folder)


def signed(folder: Path, key: Ed25519PrivateKey = KEY) -> Path:
    """Writes manifest and signature over what `folder` holds now."""
    for name in (MANIFEST, SIGNATURE):
        (folder / name).unlink(missing_ok=True)
    found = hash_files(sorted(folder.iterdir()))
    text = (json.dumps({"files": {name: held.to_json() for name, held in found.items()}}) + "\n").encode()
    (folder / MANIFEST).write_bytes(text)
    (folder / SIGNATURE).write_bytes(sign(text, key))
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
