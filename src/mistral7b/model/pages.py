"""The rolling KV cache (paper, section 2, figure 2): a pool of pages, and one ring of pages a sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.model.batch import TokenBatch

NULL_PAGE = 0
DEFAULT_PAGE_TOKENS = 64


class OutOfPages(Exception):
    """The pool is empty; the caller waits, or frees another sequence."""


def ring_slots(window: int | None, chunk: int, page_tokens: int, max_len: int) -> int:
    """R, the slots of a page table: enough that no key is overwritten while a query of the same chunk may see it.

    The first of `chunk` queries sees W - 1 keys before it, so W + chunk - 1 positions live at once. `chunk` counts
    drafted tokens too. Without a window, or for sequences shorter than that span, `max_len` bounds it.
    """
    span = max_len if window is None else min(max_len, window + chunk - 1)
    return -(-span // page_tokens)


def cache_bytes(config: ModelConfig, tokens: int, number_bytes: float) -> int:
    """Memory of the keys and values of `tokens` positions over all layers, at `number_bytes` a number."""
    return int(2 * config.n_layers * tokens * config.n_kv_heads * config.head_dim * number_bytes)


class PagePool:
    """Keys and values of all sequences: `k` and `v` `[layers, pages, P, KV heads, D]`, and the list of free pages.

    Page 0 is never lent: a table entry of 0 stands for "no page here".
    """

    def __init__(
        self,
        config: ModelConfig,
        n_pages: int,
        *,
        page_tokens: int = DEFAULT_PAGE_TOKENS,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (config.n_layers, n_pages + 1, page_tokens, config.n_kv_heads, config.head_dim)
        # Empty, not zeros: memory that is never written is never taken, and attention masks what was left there.
        self.k = torch.empty(shape, dtype=dtype, device=device)
        self.v = torch.empty(shape, dtype=dtype, device=device)
        self.page_tokens = page_tokens
        self.n_pages = n_pages
        self._free = list(range(n_pages, 0, -1))

    @property
    def n_free(self) -> int:
        """Pages nobody holds."""
        return len(self._free)

    @property
    def bytes_per_page(self) -> int:
        """Memory of one page over all layers, keys and values."""
        return 2 * self.k[:, 0].numel() * self.k.element_size()

    def take(self) -> int:
        """A free page; raises OutOfPages."""
        if not self._free:
            raise OutOfPages
        return self._free.pop()

    def give_back(self, page: int) -> None:
        """Return a page taken before."""
        assert 0 < page <= self.n_pages, page
        self._free.append(page)

    def write(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Store k and v `[T, KV heads, D]` of one layer at flat `slots` `[T]` (page x P + offset)."""
        self.k[layer].flatten(0, 1)[slots] = k.to(self.k.dtype)
        self.v[layer].flatten(0, 1)[slots] = v.to(self.v.dtype)

    def slots(self, batch: TokenBatch) -> Tensor:
        """Flat slot of each token of the batch, `[T]`."""
        assert batch.tables is not None, "this batch carries no page tables"
        sequence = torch.repeat_interleave(batch.borders.diff())
        logical = batch.positions // self.page_tokens
        pages = batch.tables[sequence, logical % batch.tables.shape[1]]
        assert bool((pages != NULL_PAGE).all()), "a token has no page: extend its ring first"
        return pages * self.page_tokens + batch.positions % self.page_tokens


class PageRing:
    """One sequence's page table: logical page j (positions jP up to (j+1)P) stands in slot `j mod R`.

    Position i is written over position i - RP, which no query of its chunk sees any more. So with P dividing W and
    one-token steps, R = W / P and position i lies at i mod W, as in the paper. A page all of whose positions are out
    of sight goes back to the pool; `table` then holds 0. A rejected draft needs no undoing: nothing that is still seen
    was overwritten by it, and the next step writes its positions again.
    """

    def __init__(self, pool: PagePool, slots: int, window: int | None) -> None:
        self.pool = pool
        self.window = window
        self.table = [NULL_PAGE] * slots
        self._oldest_seen = 0  # oldest position that a later query can see
        self._first = 0  # oldest logical page in the ring
        self._end = 0  # one past the newest

    @property
    def n_held(self) -> int:
        """Pages this sequence holds now."""
        return sum(page != NULL_PAGE for page in self.table)

    def extend(self, end: int) -> None:
        """Hold a page for every position below `end`. Raises OutOfPages; what it took until then it keeps."""
        page_tokens, slots = self.pool.page_tokens, len(self.table)
        assert end - slots * page_tokens <= self._oldest_seen, "the chunk would overwrite keys that its queries see"
        while self._end * page_tokens < end:
            slot = self._end % slots
            if self.table[slot] == NULL_PAGE:
                self.table[slot] = self.pool.take()
            self._end += 1
            self._first = max(self._first, self._end - slots)

    def retire(self, next_position: int) -> None:
        """Give back the pages that no query at `next_position`, the next committed one, or later can see."""
        if self.window is None:
            return
        self._oldest_seen = max(self._oldest_seen, next_position - self.window + 1)
        while self._first < min(self._end, self._oldest_seen // self.pool.page_tokens):
            self._give_back(self._first % len(self.table))
            self._first += 1

    def release(self) -> None:
        """Give everything back."""
        for slot in range(len(self.table)):
            self._give_back(slot)
        self._oldest_seen = self._first = self._end = 0

    def _give_back(self, slot: int) -> None:
        if self.table[slot] != NULL_PAGE:
            self.pool.give_back(self.table[slot])
            self.table[slot] = NULL_PAGE
