"""/tokenize, /detokenize and /apply-template: what the model is given for a text or a chat, and the text of ids."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from mistral7b.errors import TokenizerError
from mistral7b.server.protocol.tokens import Conversation, DetokenizeRequest, TokenizeRequest
from mistral7b.server.state import State, house
from mistral7b.server.streams import JsonResponse
from mistral7b.tokens import chat
from mistral7b.tokens.chat import Rendered
from mistral7b.tokens.tokenizer import Tokenizer

router = APIRouter(tags=["tokens"])
House = Annotated[State, Depends(house)]


# Plain functions, which FastAPI runs beside its loop: four megabytes of text take a while to encode.
@router.post("/tokenize", response_class=JsonResponse)
def tokenize(asked: TokenizeRequest, state: House) -> JsonResponse:
    """`count` ids, `tokens`, of a prompt or a chat; with `return_token_strs` their pieces too. `notes` has a line for each
    change that the template made to the messages."""
    state.served(asked.model)
    tokenizer = tokenizer_of(state)
    if asked.conversation is not None:
        rendered = _render(tokenizer, asked.conversation)
    else:
        bos = asked.add_special_tokens is not False
        rendered = Rendered(tokenizer.encode(asked.prompt or "", bos=bos), notes=[])
    told: dict[str, Any] = _told(state, rendered)
    told["token_strs"] = [tokenizer.piece(id) for id in rendered.ids] if asked.return_token_strs else None
    return JsonResponse(told)


@router.post("/detokenize", response_class=JsonResponse)
def detokenize(asked: DetokenizeRequest, state: House) -> JsonResponse:
    """The text of `tokens` as `prompt`; control ids give none."""
    state.served(asked.model)
    return JsonResponse({"prompt": tokenizer_of(state).decode(asked.tokens)})


@router.post("/apply-template", response_class=JsonResponse)
def apply_template(asked: Conversation, state: House) -> JsonResponse:
    """The prompt that a chat becomes. `prompt` spells its control ids, for people to read; `tokens` are what the model is given:
    the same text sent back as a prompt would spell those ids, and not be them."""
    state.served(asked.model)
    tokenizer = tokenizer_of(state)
    rendered = _render(tokenizer, asked)
    return JsonResponse({"prompt": spelled(tokenizer, rendered.ids), **_told(state, rendered)})


def tokenizer_of(state: State) -> Tokenizer:
    """The model's tokenizer. Raises Loading, or TokenizerError for a model folder without one."""
    if (tokenizer := state.model.tokenizer) is None:
        raise TokenizerError("this model has no tokenizer, so it takes token ids only")
    return tokenizer


def spelled(tokenizer: Tokenizer, ids: list[int]) -> str:
    """`ids` as text in which control ids stand by name: "<s>[INST] Hello[/INST]"."""
    parts: list[str] = []
    for control, run in groupby(ids, tokenizer.is_control):
        if control:
            parts += map(tokenizer.piece, run)
        else:
            parts.append(b"".join(map(tokenizer.piece_bytes, run)).decode("utf-8", "replace"))
    return "".join(parts)


def _render(tokenizer: Tokenizer, asked: Conversation) -> Rendered:
    return chat.render(tokenizer, asked.messages, asked.tools, safe_prompt=bool(asked.safe_prompt))


def _told(state: State, rendered: Rendered) -> dict[str, Any]:
    told = {"count": len(rendered.ids), "max_model_len": state.model.max_model_len, "tokens": rendered.ids}
    return told | ({"notes": rendered.notes} if rendered.notes else {})
