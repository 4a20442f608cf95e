"""One lm-eval task put to a model: prompts, answers and scores are lm-eval's own, in the order its evaluator takes them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import Task

from mistral7b.evals.results import Item


def prepare(lm: LM, task: Task, *, limit: int | None, seed: int, chat: bool) -> None:
    """Makes the requests of the first `limit` items, their examples drawn by `seed`; with `chat` the prompt is a conversation in
    which each example is a turn."""
    task.set_fewshot_seed(seed=seed)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar for each task, in the way of our own
        task.build_all_requests(
            limit=limit, rank=0, world_size=1, apply_chat_template=chat, fewshot_as_multiturn=chat,
            chat_template=lm.apply_chat_template if chat else None, tokenizer_name=lm.tokenizer_name if chat else "",
        )  # fmt: skip


def ask(lm: LM, task: Task, progress: Callable[[int, int], None]) -> None:
    """Has every request answered, as often as the task repeats it. An LM that has a `progress` tells this one, by request."""
    if hasattr(lm, "progress"):
        lm.progress = progress
    by_type: dict[str, list[Instance]] = defaultdict(list)
    for request in task.instances:
        by_type[request.request_type] += [request] * request.repeats
    for kind, requests in by_type.items():
        for request, answer in zip(requests, getattr(lm, kind)(requests), strict=True):
            request.resps.append(answer)


def score(lm: LM, task: Task, *, limit: int | None, keep_prompts: bool) -> list[Item]:
    """The answered items in their order, each with the value of every metric, for every filter."""
    task.apply_filters()
    by_item: dict[int, list[Instance]] = defaultdict(list)
    for request in task.instances:
        by_item[request.doc_id].append(request)
    items = []
    for doc_id, doc in task.doc_iterator(limit=limit):
        requests = sorted(by_item[doc_id], key=lambda request: request.idx)
        scores: dict[str, Any] = {}
        for name in requests[0].filtered_resps:
            found = task.process_results(doc, [request.filtered_resps[name] for request in requests])
            scores |= {f"{metric},{name}": plain(value) for metric, value in found.items()}
        items.append(_item(lm, task, doc_id, doc, requests, scores, keep_prompts))
    return items


def _item(
    lm: LM, task: Task, doc_id: int, doc: Any, requests: list[Instance], scores: dict[str, Any], keep_prompts: bool
) -> Item:
    prompts = list(dict.fromkeys(str(request.args[0]) for request in requests))
    digest = hashlib.sha256("\0".join(prompts).encode(errors="surrogatepass")).hexdigest()
    written = task.OUTPUT_TYPE == "generate_until"
    return Item(
        task=task.task_name,
        doc_id=doc_id,
        prompt_sha256=digest,
        prompt=prompts if keep_prompts else None,
        cut=_is_cut(lm, requests),
        outputs=[plain(request.resps) if written else _choice(request) for request in requests],
        answers={name: plain(answer) for name, answer in requests[0].filtered_resps.items()} if written else {},
        target=plain(task.doc_to_target(doc)),
        scores=scores,
    )


def _is_cut(lm: LM, requests: list[Instance]) -> bool:
    """Whether the longest request of an item is longer than the model reads. A token has a byte at least: most texts need no
    counting."""
    request = max(requests, key=lambda each: len("".join(map(str, each.args))))
    longest = getattr(lm, "max_length", None)
    if longest is None or request.request_type == "loglikelihood_rolling":
        return False
    text = request.args[0]
    if request.request_type == "generate_until":
        longest -= request.args[1].get("max_gen_toks", lm.max_gen_toks)
    else:
        text, longest = text + request.args[1], longest + 1  # the last token is predicted, not read
    return len(text.encode(errors="surrogatepass")) >= longest and bool(len(lm.tok_encode(text)) > longest)


def _choice(request: Instance) -> dict[str, Any]:
    """What a log-likelihood was asked of, and what came."""
    answer = request.resps[0]
    logprob, greedy = answer if isinstance(answer, tuple | list) else (answer, None)
    return {"text": request.args[-1], "logprob": plain(logprob), "greedy": None if greedy is None else bool(greedy)}


def plain(value: Any) -> Any:
    """`value` in the types of JSON, a number that is not finite as None."""
    if hasattr(value, "tolist"):  # numpy's
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(held) for key, held in value.items()}
    if isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    if isinstance(value, list | tuple):
        return [plain(held) for held in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
