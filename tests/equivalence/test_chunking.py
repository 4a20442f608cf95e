"""However a sequence is cut, and whoever rides beside it: the oracle's logits, and the bits it gets alone, token by token."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random
from unittest.mock import patch

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mistral7b.kernels import tiles
from mistral7b.model.transformer import Transformer
from tests.equivalence import oracle
from tests.equivalence.crowd import Crowd, alone
from tests.equivalence.networks import ROOMS, network, random_ids, room, small, weights

# The longest absolute error allowed against the float64 oracle, whose logits reach about 10 in these networks.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.5}
INT8_CACHE = 0.5  # that much more with an int8 cache
LENGTH = 44
DOCUMENTS = [random_ids(LENGTH, seed=seed) for seed in range(3)]

WINDOWS = st.sampled_from([1, 2, 3, 5, 8, 12, None])
PAGES = st.sampled_from([1, 2, 3, 4, 8, 16])
DTYPES = st.sampled_from([torch.float32, torch.bfloat16])


@cache
def _model(window: int | None, dtype: torch.dtype, kernels: str = "torch") -> Transformer:
    return network(small(sliding_window=window), dtype=dtype, kernels=room(kernels))


@cache
def _oracle(window: int | None, dtype: torch.dtype, document: int) -> Tensor:
    model = _model(window, dtype)
    return oracle.logits(weights(model), model.config, DOCUMENTS[document])


@cache
def _alone(
    window: int | None,
    dtype: torch.dtype,
    page_tokens: int,
    document: int,
    block: int = tiles.BLOCK_TOKENS,
    kernels: str = "torch",
    cached: torch.dtype | None = None,
) -> Tensor:
    with patch.object(tiles, "BLOCK_TOKENS", block):
        return alone(_model(window, dtype, kernels), DOCUMENTS[document], page_tokens=page_tokens, cached=cached)


def _drive(crowd: Crowd, chunk: int, random: Random) -> None:
    """Feed everybody in random pieces, in random order, some waiting; who is done leaves its dirty pages to the rest."""
    while crowd.members:
        riders = [member for member in crowd.members if random.random() < 0.7] or crowd.members[:1]
        random.shuffle(riders)
        crowd.step([(member, random.randint(1, min(chunk, member.left))) for member in riders])
        for member in [member for member in crowd.members if not member.left]:
            crowd.leave(member)


@settings(max_examples=50)
@given(
    kernels=st.sampled_from(ROOMS),
    int8=st.booleans(),
    window=WINDOWS,
    page_tokens=PAGES,
    dtype=DTYPES,
    chunk=st.sampled_from([1, 2, 3, 7, 8, 13, 20, LENGTH]),
    block=st.sampled_from([4, 16, tiles.BLOCK_TOKENS]),
    lengths=st.lists(st.integers(1, LENGTH), min_size=1, max_size=5),
    random=st.randoms(use_true_random=False),
)
@example(
    kernels=ROOMS[-1],
    int8=False,
    window=None,
    page_tokens=1,
    dtype=torch.float32,
    chunk=13,
    block=4,
    lengths=[41, 4, 1],
    random=Random(3),
)
@example(
    kernels=ROOMS[-1],
    int8=False,
    window=5,
    page_tokens=3,
    dtype=torch.float32,
    chunk=20,
    block=4,
    lengths=[44, 44, 7],
    random=Random(0),
)
@example(
    kernels=ROOMS[-1],
    int8=False,
    window=1,
    page_tokens=16,
    dtype=torch.bfloat16,
    chunk=1,
    block=256,
    lengths=[44, 30],
    random=Random(1),
)
@example(
    kernels=ROOMS[-1],
    int8=False,
    window=None,
    page_tokens=3,
    dtype=torch.float32,
    chunk=13,
    block=16,
    lengths=[40, 44, 1, 2],
    random=Random(2),
)
def test_any_chunks_any_company_any_order(
    kernels: str,
    int8: bool,
    window: int | None,
    page_tokens: int,
    dtype: torch.dtype,
    chunk: int,
    block: int,
    lengths: list[int],
    random: Random,
) -> None:
    """`block` moves the borders at which the torch room splits attention: the sums differ, the promise does not."""
    cached = torch.int8 if int8 else dtype
    with patch.object(tiles, "BLOCK_TOKENS", block):
        crowd = Crowd(
            _model(window, dtype, kernels), chunk=chunk, page_tokens=page_tokens, max_len=LENGTH, n_pages=44 * len(lengths),
            cached=cached,
        )  # fmt: skip
        members = [crowd.join(DOCUMENTS[i % 3][:length]) for i, length in enumerate(lengths)]
        _drive(crowd, chunk, random)
    assert crowd.pool.n_free == crowd.pool.n_pages
    for i, (member, length) in enumerate(zip(members, lengths, strict=True)):
        close = (member.logits - _oracle(window, dtype, i % 3)[:length]).abs().max()
        assert close < TOLERANCE[dtype] + INT8_CACHE * int8
        assert torch.equal(member.logits, _alone(window, dtype, page_tokens, i % 3, block, kernels, cached)[:length])


@pytest.mark.parametrize("kernels", ROOMS)
@pytest.mark.parametrize(("window", "page_tokens"), [(300, 64), (300, 48), (None, 64)])
def test_past_real_block_borders(window: int | None, page_tokens: int, kernels: str) -> None:
    """900 tokens: several attention blocks of 256 and a forward of more than 16 query tiles, beside a one-token sequence."""
    model = network(small(sliding_window=window, n_layers=1), std=0.3, kernels=room(kernels))
    ids, other = random_ids(900), random_ids(8, seed=1)
    crowd = Crowd(model, chunk=400, page_tokens=page_tokens, max_len=900)
    member, neighbour = crowd.join(ids), crowd.join(other)
    for piece in (1, 299, 400, 3, 1, 190, 5, 1):
        crowd.step([(neighbour, 1), (member, piece)])
    assert member.left == neighbour.left == 0
    assert (member.logits - oracle.logits(weights(model), model.config, ids)).abs().max() < 1e-4
    assert torch.equal(member.logits, alone(model, ids, page_tokens=page_tokens))
    assert torch.equal(neighbour.logits, alone(model, other, page_tokens=page_tokens))


@pytest.mark.parametrize("kernels", ROOMS)
@pytest.mark.parametrize("window", [5, None])
def test_a_batch_of_many_decoding_sequences(window: int | None, kernels: str) -> None:
    """More sequences than tiles are attended at once, and more rows than one tile of the linear layers."""
    model = _model(window, torch.float32, kernels)
    crowd = Crowd(model, chunk=9, page_tokens=4, max_len=20)
    members = [crowd.join(random_ids(20, seed=seed)) for seed in range(40)]
    crowd.step([(member, 1 + index % 9) for index, member in enumerate(members)])
    while riders := [member for member in members if member.left]:
        crowd.step([(member, 1) for member in riders])
    for member in members:
        assert torch.equal(member.logits, alone(model, member.ids, page_tokens=4))


DIRT: dict[str, Callable[[Tensor], Tensor]] = {
    "others' keys": torch.randn_like,
    "huge": lambda pages: torch.full_like(pages, 1e30),
    "not a number": lambda pages: torch.full_like(pages, torch.nan),
    "infinite": lambda pages: torch.full_like(pages, torch.inf),
}


@pytest.mark.parametrize("kernels", ROOMS)
@pytest.mark.parametrize("cached", [torch.float32, torch.int8])
@pytest.mark.parametrize("dirt", DIRT)
@pytest.mark.parametrize(("window", "page_tokens", "chunk"), [(5, 4, 1), (5, 4, 11), (3, 16, 6), (None, 8, 7)])
def test_what_a_page_held_before_does_not_matter(
    dirt: str, window: int | None, page_tokens: int, chunk: int, cached: torch.dtype, kernels: str
) -> None:
    """A sequence that overflowed leaves infinities behind; whoever gets its pages next must not meet them."""
    model = _model(window, torch.float32, kernels)
    crowd = Crowd(model, chunk=chunk, page_tokens=page_tokens, max_len=LENGTH, cached=cached)
    for pages in crowd.pool.held:
        if pages.dtype == torch.int8:
            pages[:, 1:] = -128
        else:
            pages[:, 1:] = DIRT[dirt](pages[:, 1:])
    member = crowd.join(DOCUMENTS[0])
    while member.left:
        crowd.step([(member, min(chunk, member.left))])
    assert torch.equal(member.logits, _alone(window, torch.float32, page_tokens, 0, kernels=kernels, cached=cached))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_same_bits_at_every_number_of_threads(threads: int) -> None:
    """Wide enough that the matrix products are split over threads: within one setting, alone and in a crowd agree."""
    model = network(small(dim=256, n_layers=1, head_dim=64, hidden_dim=600, vocab_size=1000, sliding_window=6), std=0.05)
    documents = [random_ids(length, vocab=1000, seed=length) for length in (12, 40)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        crowd = Crowd(model, chunk=35, page_tokens=4, max_len=40)
        member, neighbour = (crowd.join(ids) for ids in documents)
        for pieces in ([(neighbour, 35), (member, 3)], [(member, 8)], [(neighbour, 5), (member, 1)]):
            crowd.step(pieces)
        assert torch.equal(member.logits, alone(model, member.ids, page_tokens=4))
    finally:
        torch.set_num_threads(before)
