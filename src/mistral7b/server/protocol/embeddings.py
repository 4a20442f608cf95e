"""/v1/embeddings: what may be asked, and the shape of the answer."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mistral7b.server.errors import BadField
from mistral7b.server.protocol.common import Id, Listed, Strict, Text

Ids = Annotated[Listed[Id], Field(min_length=1)]
Format = Literal["float", "base64"]


class EmbeddingsRequest(Strict):
    """`input`: a text, texts, the ids of one, or the ids of several."""

    input: Text | Ids | Annotated[Listed[Text], Field(min_length=1)] | Annotated[Listed[Ids], Field(min_length=1)]
    model: str | None = None
    encoding_format: Format | None = None
    dimensions: int | None = None
    user: str | None = Field(None, max_length=256)

    def inputs(self, *, dim: int, most: int) -> list[str | list[int]]:
        """One or several, each a text or ids. Raises BadField for more than `most`, or for `dimensions` that are not `dim`."""
        if self.dimensions not in (None, dim):
            message = f"dimensions: this model's embeddings have {dim:,} and are not cut; leave it out"
            raise BadField("dimensions", message, code="invalid_value")
        several: list[Any] = [self.input] if _is_one(self.input) else list(self.input)
        if len(several) > most:
            raise BadField("input", f"{len(several):,} inputs are more than the {most} this server takes", code="invalid_value")
        return several


def embeddings_response(model: str, vectors: Sequence[NDArray[np.float32]], format: Format, n_tokens: int) -> dict[str, Any]:
    """OpenAI's answer, with the id that Mistral's has: one object a vector, in order; base64 is of little-endian float32."""
    data = [{"object": "embedding", "index": index, "embedding": _spell(v, format)} for index, v in enumerate(vectors)]
    usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
    return {"id": f"embd-{secrets.token_hex(16)}", "object": "list", "data": data, "model": model, "usage": usage}


def _spell(vector: NDArray[np.float32], format: Format) -> str | list[float]:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if format == "base64" else vector.tolist()


def _is_one(given: Any) -> bool:
    return isinstance(given, str) or isinstance(given[0], int)
