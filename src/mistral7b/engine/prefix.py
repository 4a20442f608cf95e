"""The prefix cache: full pages found again by the ids that led to them, as far as the window still needs them.

A page's key is a hash of all ids up to its end, so equal keys mean equal keys and values, bit for bit. A ring that has wrapped
no longer has its first pages; what it has overwritten is not labelled any more, so it cannot be found.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

from mistral7b.engine.request import Request
from mistral7b.model.pages import PagePool


def find_prefix(pool: PagePool, request: Request, window: int | None) -> tuple[list[int], int]:
    """(pages, n): the request's first n pages of ids are in the cache, as far as later ids can see them, in `pages`.

    Only the last `ceil((W - 1) / P)` pages of a prefix are seen by what follows it. At least one id is left to compute,
    since the cache holds no logits.
    """
    page_tokens = pool.page_tokens
    most = (request.length - 1) // page_tokens
    seen = most if window is None else -(-(window - 1) // page_tokens)
    found = [pool.find(key) for key in _keys(request, most, page_tokens)]
    best = run = 0
    for n, page in enumerate(found, 1):
        run = 0 if page is None else run + 1
        if run >= min(n, seen):
            best = n
    return [page for page in found[max(0, best - seen) : best] if page is not None], best


def label_pages(pool: PagePool, request: Request) -> None:
    """Let other requests find the pages that `request` has filled since it was last asked."""
    assert request.ring is not None
    full = request.computed // pool.page_tokens
    if full == request.labelled:
        return
    keys = _keys(request, full, pool.page_tokens)
    for logical in range(request.labelled, full):
        page = request.ring.page(logical)
        if page is not None:
            pool.label(page, keys[logical])
    request.labelled = full


def _keys(request: Request, n: int, page_tokens: int) -> list[bytes]:
    """The keys of the first `n` pages; each is made once."""
    keys = request.page_keys
    for logical in range(len(keys), n):
        before = keys[-1] if keys else blake2b(request.salt, digest_size=16).digest()
        ids = array("q", request.ids(logical * page_tokens, (logical + 1) * page_tokens))
        keys.append(blake2b(before + ids.tobytes(), digest_size=16).digest())
    return keys[:n]
