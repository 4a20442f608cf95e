"""A grammar's state while a text grows: which ids may come, which must, and whether the text may end."""

from __future__ import annotations

import numpy as np
from llguidance import LLMatcher

from mistral7b.errors import RequestError


class GrammarConstraint:
    """Engine constraint over one llguidance matcher, which it owns. All its answers depend on nothing but the ids advanced.

    `barred` are ids that may not be the first (a reply's byte 0x20), `empty` says that the text may end before it begins.
    Ids that must come are asked for once and then followed to their end, so one mask at a time allows exactly what `forced`
    foretold. Every method raises RequestError where the grammar turns out too complex to go on with: llguidance counts its
    steps, so none takes long.
    """

    def __init__(
        self, matcher: LLMatcher, vocab_size: int, eos_id: int, *, barred: tuple[int, ...] = (), empty: bool = False
    ) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._eos_id = eos_id
        self._barred = barred
        self._empty = empty
        self._ended = False
        self._forced: list[int] | None = None  # None: not asked for since the last of them was taken
        self._mask: np.ndarray | None = None  # where nothing is forced

    def mask(self) -> np.ndarray:
        """bool `[vocab of the tokenizer]`: True for the ids that may come next; eos is one iff the text may end here."""
        forced = self.forced()
        if not forced:
            assert self._mask is not None
            return self._mask
        mask = np.zeros(self._vocab_size, dtype=np.bool_)
        mask[forced[0]] = True
        return mask

    def forced(self) -> list[int]:
        """The ids that must come one after another, eos included; the state stays as it is."""
        if self._ended:
            return [self._eos_id]
        if self._forced is None:
            self._forced = self._foretell()
        return list(self._forced)

    def advance(self, id: int) -> None:
        """`id` was taken. ValueError, and no change, if it may not come."""
        if not (0 <= id < self._vocab_size and self.mask()[id]):
            raise ValueError(f"id {id} may not come here: the grammar does not allow it")
        if id == self._eos_id:
            self._ended = True
            return
        self._matcher.consume_token(id)
        self._check()
        self._barred, self._empty = (), False
        self._mask = None
        self._forced = (self._forced[1:] if self._forced else None) or None

    @property
    def done(self) -> bool:
        """True once eos was taken: nothing may follow."""
        return self._ended

    def _foretell(self) -> list[int]:
        forced: list[int] = [] if self._empty else self._matcher.compute_ff_tokens()
        self._check()
        if not forced:
            self._mask = self._allowed()
            (only,) = np.nonzero(self._mask)
            return [int(only[0])] if len(only) == 1 else []
        ahead = self._matcher.deep_copy()
        if ahead.consume_tokens(forced) and ahead.is_stopped():
            forced.append(self._eos_id)
        return forced

    def _allowed(self) -> np.ndarray:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        mask = np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_)
        mask[list(self._barred)] = False
        mask[self._eos_id] |= self._empty
        mask.flags.writeable = False
        if not mask.any():
            raise RequestError("structured output: the grammar has come to a place where no text and no end may follow")
        return mask

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RequestError(f"structured output: {reason(self._matcher.get_error())}")


def reason(error: str) -> str:
    """llguidance's message as one line of bounded length."""
    if "NoExtension" in error:
        return "no text fits it"
    if "coerce_one_of" in error:
        return "oneOf is taken only where no text can fit two of its schemas; use anyOf"
    return " ".join(error.replace("<non-verbose/>", "").split())[:300]
