"""PAINS 44: what is learned of one sample in a packed row depends on no other sample of it, in value or gradient."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from mistral7b.data.instruct.packing import Packed
from mistral7b.data.pack import IGNORED, Row
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.train.batches import micro_batch
from tests.data.instruct.test_packing import made
from tests.train.made import CONFIG


def losses(model: Transformer, row: Row, embedded: list[Tensor]) -> list[Tensor]:
    """The summed loss of each sample of a row; what its tokens are embedded as goes to `embedded`."""
    micro = micro_batch([row])

    def keep(_module: object, _given: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    handle = model.tok_embeddings.register_forward_hook(keep)
    logits = model.logits(model.hidden(micro.batch))
    handle.remove()
    every = functional.cross_entropy(logits, micro.targets, ignore_index=IGNORED, reduction="none")
    return [every[begin:end].sum() for begin, end in pairwise(row.borders.tolist())]


def test_samples_of_one_row_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(CONFIG, vocab_size=128), TrainingKernels())
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.2)
    samples = made([9, 14, 3, 11, 20])
    packed, alone = Packed(samples, 1, 64, 0), Packed(samples, 1, 64, 0, packing=False)
    assert packed.rows == 1
    row = packed.row(0)
    single = {alone.members(i): alone.row(i) for i in range(alone.rows)}
    for place, (begin, end) in enumerate(pairwise(row.borders.tolist())):
        embedded: list[Tensor] = []
        loss = losses(model, row, embedded)[place]
        loss.backward()
        assert embedded[0].grad is not None
        felt = embedded[0].grad.abs().sum(1).nonzero().flatten().tolist()
        assert felt, "a sample feels its own tokens"
        assert begin <= min(felt) <= max(felt) < end
        (expected,) = losses(model, single[(packed.members(0)[place],)], [])
        torch.testing.assert_close(loss, expected)
