"""Suffix lookup equals a search by brute force, and its corpus forgets the oldest first."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mistral7b.engine.lookup import BORDER, CANDIDATES, LONG, PROMPT_TAIL, Lookup, Occurrences
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.engine.sampler import Sampled

Ids = list[int]
TEXT = st.lists(st.integers(0, 3), max_size=60)


def request(prompt: Ids, output: Ids = ()) -> Request:  # type: ignore[assignment]
    made = Request.make(prompt, SamplingParams(max_tokens=None), 10_000, [])
    grow(made, output)
    return made


def grow(one: Request, ids: Sequence[int]) -> None:
    one.output += [Sampled(id) for id in ids]


def agreeing(text: Sequence[int], end: int, suffix: Sequence[int]) -> int:
    """How many ids before `text[end]` and at it equal the end of `suffix`; no border equals anything."""
    count = 0
    while count < min(LONG, end + 1, len(suffix)) and text[end - count] == suffix[-1 - count] != BORDER:
        count += 1
    return count


def searched(text: Sequence[int], ends: Sequence[int], suffix: Sequence[int], least: int) -> tuple[int, int]:
    """The longest match of `suffix` at the CANDIDATES latest of `ends`, by looking at every place."""
    found = [(agreeing(text, end, suffix), end) for end in ends]
    return max([pair for pair in found if pair[0] >= least][-CANDIDATES:], default=(0, -1))


@given(st.lists(TEXT, min_size=1, max_size=6), st.sampled_from([1, 2, 3]))
def test_own_text_as_by_brute_force(parts: list[Ids], least: int) -> None:
    seen, ids = Occurrences(least), list[int]()
    for part in parts:
        seen.extend(part)
        ids += part
        assert seen.longest(seen.before(), ids) == searched(ids, range(len(ids) - 1), ids, least)


@given(st.lists(TEXT, min_size=1, max_size=6), st.data())
def test_texts_that_left_are_as_if_never_read(texts: list[Ids], data: st.DataObject) -> None:
    corpus = Occurrences()
    for text in texts:
        corpus.extend([*text, BORDER])
    gone = data.draw(st.integers(0, len(texts)))
    dropped = sum(len(text) + 1 for text in texts[:gone])
    corpus.drop(dropped)
    held = [id for text in texts[gone:] for id in (*text, BORDER)]
    suffix = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=30))
    reader = Occurrences()
    reader.extend(suffix)
    run = reader.last_run()
    assert run is not None
    length, place = corpus.longest(corpus.latest(run), suffix)
    expected, end = searched(held, range(len(held)), suffix, corpus.least)
    assert (length, place) == (expected, end + dropped if expected else -1)
    if length:
        most = data.draw(st.integers(1, 8))
        rest = held[end + 1 :][:most]
        assert corpus.following(place, most) == (rest[: rest.index(BORDER)] if BORDER in rest else rest)
    assert corpus.end == dropped + len(held)


def test_a_run_does_not_reach_over_a_border() -> None:
    corpus = Occurrences()
    corpus.extend([5, 6, BORDER, 7, 8])
    reader = Occurrences()
    for pair, place in (([5, 6], 1), ([7, 8], 4), ([6, 7], -1)):
        reader.extend(pair)
        run = reader.last_run()
        assert run is not None
        assert corpus.latest(run) == place


def test_ids_of_any_published_vocabulary_are_told_apart() -> None:
    """A short run must not be taken for a longer one that begins with id 0, nor ids for their sums."""
    seen = Occurrences()
    seen.extend([0, 9, BORDER, 9])
    assert seen.last_run() is None
    seen.extend([BORDER, 2**31 - 1, 0, 2**31 - 1, 0])
    assert seen.longest(seen.before(), seen.ids)[0] == 2


def test_a_longer_match_is_believed_further_and_the_latest_of_two_is_taken() -> None:
    look = Lookup()
    assert look.propose([(request([1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 1, 2]), 7)]) == [[3, 4]]
    assert look.propose([(request([1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 1, 2, 3]), 7)]) == [[4, 5, 6, 7]]
    assert look.propose([(request([1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 1, 2, 3]), 1)]) == [[4]]
    assert look.propose([(request([1, 2, 3, 9, 1, 2, 4, 9, 5, 1, 2]), 1)]) == [[4]]
    assert look.propose([(request([0, 1, 2, 3, 9, 1, 2, 4, 9, 0, 1, 2]), 1)]) == [[3]], "the longer one, though older"
    assert look.propose([(request([1, 2, 3]), 7), (request([4]), 7), (request([4, 4]), 0)]) == [[], [], []]


def test_a_text_that_repeats_goes_on_repeating() -> None:
    assert Lookup().propose([(request([7, 8, 9] * 4), 7)]) == [[7, 8, 9, 7, 8, 9, 7]]


@given(st.lists(st.integers(0, 5), min_size=3, max_size=40), st.lists(st.integers(1, 5), max_size=12))
def test_any_number_of_ids_may_come_between_two_looks(ids: Ids, sizes: list[int]) -> None:
    look, one = Lookup(), request(ids[:2])
    for size in [*sizes, len(ids)]:
        grow(one, ids[one.length : one.length + size])
        assert look.propose([(one, 7)]) == Lookup().propose([(request(ids[: one.length]), 7)])


def test_what_earlier_requests_were_given_is_proposed_to_later_ones() -> None:
    look = Lookup()
    first = request([1, 2, 3], [10, 11, 12, 13, 14])
    assert look.propose([(first, 7)]) == [[]]
    look.leave(first)
    assert look.propose([(request([1, 2, 3]), 7)]) == [[10, 11, 12, 13]]
    own = request([9, 2, 3, 20, 21, 2, 3])
    assert look.propose([(own, 7)]) == [[20, 21]], "of two equal ones the request's own"
    longer = request([9, 2, 3, 20, 21, 1, 2, 3])
    assert look.propose([(longer, 7)]) == [[10, 11, 12, 13]], "the longer one, though another's"
    look.leave(request([4, 5, 6]))
    assert look.propose([(request([4, 5]), 7)]) == [[]], "without an output there is nothing to learn"


def test_of_a_long_prompt_the_end_is_kept() -> None:
    look = Lookup()
    look.leave(request(list(range(100, 100 + 3 * PROMPT_TAIL)), [5, 6, 7]))
    assert look.propose([(request([98 + 3 * PROMPT_TAIL, 99 + 3 * PROMPT_TAIL]), 2)]) == [[5, 6]]
    assert look.propose([(request([100, 101]), 2)]) == [[]]


def test_the_corpus_is_bounded_and_the_oldest_leave() -> None:
    look = Lookup(corpus_ids=30)
    for start in range(100, 200, 10):
        look.leave(request([start, start + 1], list(range(start + 2, start + 8))))
    found = [start for start in range(100, 200, 10) if look.propose([(request([start, start + 1]), 1)]) != [[]]]
    assert found == [170, 180, 190]
    look.leave(request([1], list(range(2, 60))))
    assert look.propose([(request([2, 3]), 1)]) == [[]], "what would fill the corpus alone is not learned"


def test_no_corpus_keeps_requests_apart() -> None:
    look = Lookup(corpus_ids=0)
    look.leave(request([1, 2], [3, 4, 5]))
    assert look.propose([(request([1, 2]), 3)]) == [[]]
