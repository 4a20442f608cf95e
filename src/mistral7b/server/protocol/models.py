"""/v1/models: what is told of a model, to clients of OpenAI, Mistral and vLLM alike."""

from __future__ import annotations

from typing import Any


def model_card(name: str, *, root: str, created: int, max_model_len: int, chat: bool, tools: bool) -> dict[str, Any]:
    """One entry of the list. `max_model_len` is vLLM's word for Mistral's `max_context_length`, in tokens."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "mistral7b",
        "root": root,
        "max_model_len": max_model_len,
        "type": "base",
        "max_context_length": max_model_len,
        "capabilities": {"completion_chat": chat, "function_calling": tools, "completion_fim": False, "vision": False},
    }
