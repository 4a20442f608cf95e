"""The rolling KV cache (paper, section 2, figure 2): a pool of pages, and one ring of pages a sequence."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.kernels.cache import Pages
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
    """Memory of the keys and values of `tokens` positions over all layers, at `number_bytes` a number.

    One byte is int8, which has an fp32 scale for every token and head.
    """
    head = config.head_dim * number_bytes + (4 if number_bytes == 1 else 0)
    return int(2 * config.n_layers * tokens * config.n_kv_heads * head)


class PagePool:
    """Keys and values of all sequences: `k` and `v` `[layers, pages, P, KV heads, D]`, and who holds which page.

    With dtype int8 each token and head has a scale, in `k_scales` and `v_scales` `[layers, pages, P, KV heads]`, fp32.

    Page 0 is never lent: a table entry of 0 stands for "no page here". Several sequences may hold one page. A page may
    carry a label, by which it is found again, even after its last holder gave it back, until it is needed for something
    else; the page given back longest ago goes first, those without a label before all.
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
        scaled = dtype == torch.int8
        self.k_scales = torch.empty(shape[:-1], device=device) if scaled else None
        self.v_scales = torch.empty(shape[:-1], device=device) if scaled else None
        self.page_tokens = page_tokens
        self.n_pages = n_pages
        self._free = OrderedDict.fromkeys(range(1, n_pages + 1))
        self._holders = [0] * (n_pages + 1)
        self._label_of: dict[int, bytes] = {}
        self._page_of: dict[bytes, int] = {}

    @property
    def held(self) -> tuple[Tensor, ...]:
        """All that a page holds, each `[layers, pages, P, KV heads, ...]`: keys, values, and an int8 cache's scales of both."""
        return tuple(each for each in (self.k, self.v, self.k_scales, self.v_scales) if each is not None)

    @property
    def n_free(self) -> int:
        """Pages nobody holds."""
        return len(self._free)

    @property
    def bytes_per_page(self) -> int:
        """Memory of one page over all layers, keys and values."""
        return sum(held[:, 0].nbytes for held in self.held)

    def take(self) -> int:
        """A free page, without a label and held once; raises OutOfPages."""
        if not self._free:
            raise OutOfPages
        page, _ = self._free.popitem(last=False)
        self.unlabel(page)
        self._holders[page] = 1
        return page

    def hold(self, page: int) -> None:
        """Be one more holder of `page`."""
        self._free.pop(page, None)
        self._holders[page] += 1

    def give_back(self, page: int) -> None:
        """Stop holding a page."""
        assert 0 < page <= self.n_pages, page
        assert self._holders[page] > 0, f"nobody holds page {page}"
        self._holders[page] -= 1
        if self._holders[page] == 0:
            self._free[page] = None
            if page not in self._label_of:
                self._free.move_to_end(page, last=False)

    def label(self, page: int, label: bytes) -> None:
        """Let `find(label)` answer `page`, unless another page has that label."""
        if label not in self._page_of and page not in self._label_of:
            self._label_of[page] = label
            self._page_of[label] = page

    def unlabel(self, page: int) -> None:
        """Take away the label of a page, if it has one."""
        if page in self._label_of:
            del self._page_of[self._label_of.pop(page)]

    def find(self, label: bytes) -> int | None:
        """The page that carries `label`, held by somebody or not."""
        return self._page_of.get(label)

    def writable(self, page: int) -> int:
        """A page, held once and without a label, to write over in place of `page`, which the caller holds.

        That is `page` itself if nobody else needs what it has. Else it is given back, and what it has is copied.
        """
        if self._holders[page] == 1 and (page not in self._label_of or not self._free):
            self.unlabel(page)
            return page
        copy = self.take()
        for held in self.held:
            held[:, copy] = held[:, page]
        self.give_back(page)
        return copy

    def layer(self, layer: int) -> tuple[Pages, Pages]:
        """The pages of one layer: keys, values."""
        return self._pages(lambda held: held[layer])

    def layers(self) -> tuple[Pages, Pages]:
        """The pages of all layers, one layer's behind another's: keys, values."""
        return self._pages(lambda held: held.flatten(0, 1))

    def _pages(self, of: Callable[[Tensor], Tensor]) -> tuple[Pages, Pages]:
        if self.k_scales is None or self.v_scales is None:
            return Pages(of(self.k)), Pages(of(self.v))
        return Pages(of(self.k), of(self.k_scales)), Pages(of(self.v), of(self.v_scales))

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
    of sight goes back to the pool; `table` then holds 0. A page that others may want is copied before it is written over.
    A rejected draft needs no undoing: nothing that is still seen was overwritten by it, and the next step writes its
    positions again.
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

    def page(self, logical: int) -> int | None:
        """The physical page that has logical page `logical`, or None if it has been let go."""
        return self.table[logical % len(self.table)] if self._first <= logical < self._end else None

    def adopt(self, pages: Sequence[int], end: int) -> None:
        """Begin, fresh, with the held `pages` as the last logical pages before page `end`; positions go on behind them."""
        assert self._end == 0, "only a fresh ring adopts pages"
        self._first, self._end = end - len(pages), end
        for logical, page in enumerate(pages, self._first):
            self.pool.hold(page)
            self.table[logical % len(self.table)] = page
        if self.window is not None:
            self._oldest_seen = max(0, end * self.pool.page_tokens - self.window + 1)

    def fork(self, end: int) -> PageRing:
        """Another sequence whose first `end` positions are those of this one: full pages are shared, one begun is copied.

        All of them that later queries see must be here. Raises OutOfPages; then nothing more is held than before.
        """
        page_tokens = self.pool.page_tokens
        seen = 0 if self.window is None else max(0, end - self.window + 1)
        pages = [self.page(logical) for logical in range(seen // page_tokens, -(-end // page_tokens))]
        assert None not in pages, "what the fork would see has been let go"
        made = PageRing(self.pool, len(self.table), self.window)
        made.adopt([page for page in pages if page is not None], -(-end // page_tokens))
        made._oldest_seen = seen
        if end % page_tokens and pages:
            slot = (made._end - 1) % len(made.table)
            try:
                made.table[slot] = self.pool.writable(made.table[slot])
            except OutOfPages:
                made.release()
                raise
        return made

    def extend(self, end: int) -> None:
        """Hold a page for every position below `end`. Raises OutOfPages; what it took until then it keeps."""
        page_tokens, slots = self.pool.page_tokens, len(self.table)
        assert end - slots * page_tokens <= self._oldest_seen, "the chunk would overwrite keys that its queries see"
        while self._end * page_tokens < end:
            slot = self._end % slots
            page = self.table[slot]
            self.table[slot] = self.pool.take() if page == NULL_PAGE else self.pool.writable(page)
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
        """Give everything back, the newest page first: of what is kept for others, a beginning is worth most."""
        for logical in range(self._end - 1, self._first - 1, -1):
            self._give_back(logical % len(self.table))
        self._oldest_seen = self._first = self._end = 0

    def _give_back(self, slot: int) -> None:
        if self.table[slot] != NULL_PAGE:
            self.pool.give_back(self.table[slot])
            self.table[slot] = NULL_PAGE
