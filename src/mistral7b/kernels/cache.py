"""Pages: the keys, or the values, of one layer as a rolling cache holds them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pages:
    """`numbers` `[pages, P, G, D]`: P tokens a page, G KV heads of D channels; what nobody has written holds anything."""

    numbers: Tensor

    @property
    def page_tokens(self) -> int:
        return self.numbers.shape[1]
