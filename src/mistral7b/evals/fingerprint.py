"""Which model gave an answer: one sha256 over its files and over how it was computed."""

from __future__ import annotations

import hashlib
import json

from mistral7b.api import LLM
from mistral7b.checkpoint.manifest import hash_files
from mistral7b.checkpoint.verify_files import files_of
from mistral7b.checkpoint.write import raw_bytes
from mistral7b.model.lora import LoraLinear


def fingerprint(llm: LLM, adapter: str | None = None) -> str:
    """sha256 over the sha256 of every file of the model, its types, its context, the kernels, and the adapter's numbers.

    The files are read once, a few seconds a 10 GB. Raises CheckpointError for a file that cannot be read.
    """
    hashes = {name: file.sha256 for name, file in hash_files(files_of(llm.checkpoint.path)).items()}
    how = (
        str(llm.model.dtype), str(llm.engine.pool.k.dtype), llm.max_model_len, type(llm.model.kernels).__name__,
        llm.model.device.type, None if adapter is None else _adapter(llm, llm.adapters[adapter]),
    )  # fmt: skip
    return hashlib.sha256(json.dumps([hashes, how], sort_keys=True).encode()).hexdigest()


def _adapter(llm: LLM, number: int) -> str:
    digest = hashlib.sha256()
    for name, module in llm.model.named_modules():
        if isinstance(module, LoraLinear) and number in module.scales:
            digest.update(f"{name} {module.scales[number]}".encode())
            for weight in (module.lora_A[str(number)], module.lora_B[str(number)]):
                digest.update(raw_bytes(weight))
    return digest.hexdigest()
