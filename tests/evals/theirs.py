"""lm-eval's hf backend over the same weights: the embedded model as a folder that transformers reads."""

from __future__ import annotations

import shutil
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.tokenizer_json import write_tokenizer_json

TINY = Path(str(files("mistral7b.models.tiny") / "tokenizer.model.v3")).parent


def folder(out: Path) -> Path:
    """The embedded model, with tokenizer.json beside it."""
    for name in ("config.json", "model.safetensors"):
        shutil.copy(TINY / name, out / name)
    write_tokenizer_json(TINY / "tokenizer.model.v3", out)
    return out


def backend(model: Path, **options: Any) -> Any:
    """lm-eval's HFLM of `model`, in fp32 on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries say of one another while they are imported
        from lm_eval.models.huggingface import HFLM

        return HFLM(pretrained=str(model), dtype="float32", device="cpu", batch_size=4, **options)
