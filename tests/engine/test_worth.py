"""When drafts pay: the cost of a step is learned, the best share is taken, and hopeless drafts cost next to nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.engine.drafts import Drafts
from mistral7b.engine.params import SamplingParams
from mistral7b.engine.request import Request
from mistral7b.engine.worth import Account, StepCost, Worth

Cost = Callable[[int, int], float]


def tiny(sequences: int, rows: int) -> float:
    """`tiny` on one thread, measured."""
    return 0.010 + 0.0057 * sequences + 0.00021 * rows


def tiled(sequences: int, rows: int) -> float:
    """A network whose time is its weights', read once for each tile of 16 rows."""
    return 0.001 * sequences + 0.1 * -(-rows // 16)


def free(sequences: int, rows: int) -> float:
    """A device that is never full."""
    return 0.02


COSTS = pytest.mark.parametrize("cost", [tiny, tiled, free])


def taught(cost: Cost, seed: int = 0, steps: int = 100) -> Worth:
    chance, worth = random.Random(seed), Worth()
    for _ in range(steps):
        sequences = chance.choice([1, 4, 16])
        rows = sequences + chance.randrange(7 * sequences)
        worth.measured(sequences, rows, cost(sequences, rows))
    return worth


@COSTS
def test_what_steps_cost_is_learned(cost: Cost) -> None:
    learned = taught(cost).cost
    for sequences, rows in ((1, 1), (1, 8), (4, 4), (4, 24), (16, 16), (16, 64), (16, 128)):
        assert learned.seconds(sequences, np.array([rows])) == pytest.approx(cost(sequences, rows), rel=0.1)


def test_hiccups_and_prompts_do_not_disturb_what_was_learned() -> None:
    learned, chance = StepCost(), random.Random(1)
    for step in range(300):
        rows = 1 + chance.randrange(8)
        learned.learn(1, rows, tiny(1, rows) + (2.0 if step % 50 == 49 else 0.0))
        learned.learn(1, 512, 3.0)
    assert learned.seconds(1, np.arange(1, 9)) == pytest.approx([tiny(1, rows) for rows in range(1, 9)], rel=0.06)


def test_more_rows_never_take_less() -> None:
    learned = StepCost()
    for rows, seconds in ((1, 0.03), (8, 0.02), (4, 0.025)) * 20:
        learned.learn(1, rows, seconds)
    assert (np.diff(learned.seconds(1, np.arange(1, 40))) >= 0).all()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 20), st.floats(0, 1)), min_size=1, max_size=4),
    st.sampled_from([tiny, tiled, free]),
    st.sampled_from([0.0, 0.003, 0.05]),
)
def test_no_other_share_gives_more_ids_a_second(offers: list[tuple[int, float, float]], cost: Cost, price: float) -> None:
    worth = taught(cost, steps=30)
    accounts = []
    for place, (_, tried, share) in enumerate(offers):
        accounts.append(Account(30, right=tried * share, tried=tried, balance=0.0))
        worth._accounts[place] = accounts[-1]
    lengths = [length for length, _, _ in offers]
    sequences = len(offers)

    def speed(counts: tuple[int, ...]) -> float:
        seconds = worth.cost.seconds(sequences, np.arange(sequences, sequences + sum(counts) + 1))[-1]
        gained = sum(a.chance**n for a, count in zip(accounts, counts, strict=True) for n in range(1, count + 1))
        return float((sequences + gained) / (seconds + price * max(counts)))

    chosen = worth.share(list(enumerate(lengths)), sequences, sequences, price)
    assert all(0 <= count <= length for count, length in zip(chosen, lengths, strict=True))
    best = max(speed(counts) for counts in product(*(range(length + 1) for length in lengths)))
    assert speed(tuple(chosen)) >= best * (1 - 1e-9)


def play(
    cost: Cost,
    sequences: int,
    offered: Callable[[int, int], int],
    right: Callable[[int, int], int],
    steps: int,
    id_seconds: float = 0.0,
) -> float:
    """Ids a second with drafts, in parts of what plain decoding gives: `offered` and `right` are of (step, sequence)."""
    worth, ids, seconds = Worth(), 0, 0.0
    for step in range(steps):
        counts = [offered(step, one) for one in range(sequences)]
        if id_seconds:
            counts = worth.share(list(enumerate(counts)), sequences, sequences, id_seconds)
            seconds += max(counts) * id_seconds
        counts = worth.share(list(enumerate(counts)), sequences, sequences)
        for one, count in enumerate(counts):
            accepted = min(count, right(step, one))
            ids += 1 + accepted
            if count:
                worth.observe(one, count, accepted)
        rows = sequences + sum(counts)
        seconds += cost(sequences, rows)
        worth.measured(sequences, rows, cost(sequences, rows))
    return ids / seconds * cost(sequences, sequences) / sequences


@COSTS
@pytest.mark.parametrize("sequences", [1, 4, 16])
def test_hopeless_drafts_cost_next_to_nothing(cost: Cost, sequences: int) -> None:
    assert play(cost, sequences, lambda step, one: 7, lambda step, one: 0, 200) > 0.96
    dice = random.Random(3)
    assert play(cost, sequences, lambda step, one: dice.randrange(8), lambda step, one: dice.random() < 0.03, 200) > 0.96


@COSTS
@pytest.mark.parametrize("sequences", [1, 16])
@pytest.mark.parametrize("id_seconds", [0.002, 0.02])
def test_a_draft_model_that_is_never_right_costs_next_to_nothing(cost: Cost, sequences: int, id_seconds: float) -> None:
    assert play(cost, sequences, lambda step, one: 7, lambda step, one: 0, 300, id_seconds) > 0.96


@COSTS
def test_good_drafts_are_taken_whole(cost: Cost) -> None:
    assert play(cost, 1, lambda step, one: 7, lambda step, one: 7, 100) > 6
    assert play(tiny, 16, lambda step, one: 7, lambda step, one: 7, 100) > 5


@COSTS
def test_what_was_hopeless_is_found_out_to_be_good(cost: Cost) -> None:
    speed = play(cost, 1, lambda step, one: 7, lambda step, one: 7 * (step >= 300), 600)
    assert speed > 3.5, "half of the steps give eight ids each"


def test_where_a_tile_is_full_only_a_crowd_of_good_drafts_opens_another() -> None:
    worth = taught(tiled)
    for one in range(16):
        worth._accounts[one] = Account(100, right=30.0, tried=40.0, balance=0.0)
    assert sum(worth.share([(0, 7)], 16, 16)) == 0, "one request's seven would double the step of sixteen"
    assert sum(worth.share([(one, 1) for one in range(15)], 16, 17)) == 15, "these fit beside the seventeenth"


def test_nothing_is_drafted_before_a_step_is_measured_nor_without_credit() -> None:
    worth = Worth()
    assert worth.share([("a", 7)], 1, 1) == [0]
    worth.measured(1, 1, 0.016)
    assert worth.share([("a", 7), ("b", 0)], 2, 2)[0] > 0
    worth._accounts["a"].balance = -0.001
    assert worth.share([("a", 7)], 1, 1) == [0]
    worth.measured(1, 1, 0.016)
    assert worth.share([("a", 7)], 1, 1) != [0], "the allowance of one step has paid"


def test_a_request_that_left_is_forgotten() -> None:
    worth = taught(tiny)
    worth.observe("a", 7, 0)
    worth.forget("a")
    worth.forget("never seen")
    assert worth._accounts == {}


def test_a_drafter_that_costs_too_much_is_not_asked() -> None:
    worth = taught(tiny)
    worth._accounts["a"] = Account(100, right=20.0, tried=25.0, balance=0.0)
    assert worth.share([("a", 7)], 1, 1)[0] >= 4
    assert worth.share([("a", 7)], 1, 1, 0.1) == [0]
    assert 1 <= worth.share([("a", 7)], 1, 1, 0.004)[0] < 7


class Says:
    """A drafter that always says the same, and notes what it is told."""

    def __init__(self, *ids: int, id_seconds: float = 0.0) -> None:
        self.ids = list(ids)
        self.id_seconds = id_seconds
        self.asked: list[int] = []
        self.observed: list[tuple[int, int]] = []
        self.left = 0

    def propose(self, wanted: Sequence[tuple[Request, int]]) -> list[list[int]]:
        self.asked += [most for _, most in wanted]
        return [self.ids[:most] for _, most in wanted]

    def observe(self, _: Request, drafted: int, accepted: int) -> None:
        self.observed.append((drafted, accepted))

    def leave(self, _: Request) -> None:
        self.left += 1


def one_request() -> Request:
    return Request.make([1], SamplingParams(), 100, [2])


def test_the_first_drafter_with_a_guess_is_taken_and_told() -> None:
    silent, speaks, late = Says(), Says(5, 6, 7), Says(8)
    drafts, one = Drafts([silent, speaks, late], taught(free)), one_request()
    assert drafts.propose([(one, 2), (one_request(), 0)]) == [[5, 6], []]
    assert (silent.asked, speaks.asked, late.asked) == ([2], [2], [])
    drafts.observe(one, 2, 1)
    assert (silent.observed, speaks.observed, late.observed) == ([], [(2, 1)], [])
    drafts.observe(one_request(), 1, 1)
    drafts.leave(one)
    assert (silent.left, speaks.left, late.left) == (1, 1, 1)
    assert drafts.worth._accounts == {}


def test_a_later_drafter_that_has_been_right_more_often_is_heard_too() -> None:
    first, second = Says(5, 5, 5), Says(6, 6)
    drafts, one = Drafts([first, second], taught(free)), one_request()
    for _ in range(5):
        if drafts.propose([(one, 3)])[0][:1] == [5]:
            drafts.observe(one, 3, 0)
        else:
            drafts.observe(one, 2, 2)
    assert first.observed == [(3, 0)]
    assert second.observed == [(2, 2)] * 4
    second.ids = []
    assert drafts.propose([(one, 3)])[0] == [5, 5, 5], "better than nothing, where rows are free"


def test_a_guess_is_cut_to_the_length_that_pays() -> None:
    drafts = Drafts([Says(5, 6, 7, 8, 9, 10, 11)], taught(tiny))
    one, cut = one_request(), []
    for _ in range(6):
        cut.append(len(drafts.propose([(one, 7)])[0]))
        drafts.observe(one, cut[-1], 0)
    assert cut[0] >= 5
    assert cut == sorted(cut, reverse=True)
    assert cut[-1] <= 2


def test_before_a_step_is_measured_nothing_is_drafted() -> None:
    drafts = Drafts([Says(5)])
    assert drafts.propose([(one_request(), 7)]) == [[]]
    drafts.measured(1, 1, 0.01)
    assert drafts.propose([(one_request(), 7)]) == [[5]]


def test_what_costs_is_asked_for_no_more_than_pays() -> None:
    worth = taught(tiny)
    fair, dear = Says(5, 5, 5, 5, 5, 5, 5, id_seconds=0.004), Says(6, id_seconds=0.1)
    drafts, one = Drafts([dear, fair], worth), one_request()
    proposal = drafts.propose([(one, 7)])[0]
    assert dear.asked == []
    assert len(fair.asked) == 1
    assert 1 <= len(proposal) <= fair.asked[0] < 7
