"""A shuffle that needs no memory: a keyed pseudo-random permutation of `range(size)`, one index at a time."""

from __future__ import annotations

import hashlib

_MASK = (1 << 64) - 1
_ROUNDS = 8  # even, so that the halves end with the widths they began with


class Permutation:
    """A bijection of `range(size)` drawn by `key`, in O(1) memory.

    An alternating Feistel network over the fewest bits that hold `size` (Luby and Rackoff, 1988), walked on while its
    answer lies outside the range (Black and Rogaway, 2002): less than two steps on average. The same key and size give
    the same order on every machine.
    """

    def __init__(self, size: int, key: str) -> None:
        assert size >= 0, "a range has no negative size"
        self.size = size
        bits = max(size - 1, 0).bit_length()
        self._low = bits // 2  # bits of the right half; the left half has the rest
        self._masks = ((1 << (bits - self._low)) - 1, (1 << self._low) - 1)
        digest = hashlib.blake2b(f"{key}\0{size}".encode(), digest_size=64).digest()
        self._keys = tuple(int.from_bytes(digest[i : i + 8], "little") for i in range(0, 8 * _ROUNDS, 8))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        """What stands at `index`; IndexError outside `range(size)`."""
        if not 0 <= index < self.size:
            raise IndexError(f"{index} is outside a permutation of {self.size}")
        index = self._scrambled(index)
        while index >= self.size:
            index = self._scrambled(index)
        return index

    def _scrambled(self, index: int) -> int:
        """A bijection of all numbers of that many bits."""
        left, right = index >> self._low, index & self._masks[1]
        for turn, key in enumerate(self._keys):
            left, right = right, left ^ (_mixed(right + key) & self._masks[turn % 2])
        return left << self._low | right


def _mixed(x: int) -> int:
    """64 bits in, 64 bits out, every one depending on every other (the finaliser of SplitMix64, Steele and others, 2014)."""
    x &= _MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
    return x ^ x >> 31
