"""This project's models as an lm-eval LM: `lm_eval.simple_evaluate(model=EngineLM.create_from_arg_string("model=tiny"))`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Any, Self

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)
from tqdm import tqdm

from mistral7b.api import LLM
from mistral7b.errors import RequestError, TokenizerError
from mistral7b.evals.answers import Answers, key_of
from mistral7b.evals.chats import seed_of
from mistral7b.evals.fingerprint import fingerprint
from mistral7b.evals.scorer import Scorer
from mistral7b.evals.wording import Wording
from mistral7b.evals.writing import asked, write

_TOGETHER = 1024  # requests whose ids are held, and computed, together
_MOST_WRITTEN = 256  # tokens of an answer if a task does not say, as in lm-eval's hf backend

Progress = Callable[[int, int], None]
Computed = Generator[tuple[int, Any]]


class EngineLM(TemplateLM):  # type: ignore[misc]
    """Answers lm-eval's requests with an `LLM`, as its hf backend does with transformers, but each shared prefix once.

    With `answers`, what was answered before is not computed again. Sampled texts draw from (`seed`, item, repeat), so that the
    k samples of an item differ and a second run gives them again. `adapter` is one of the model's, by name. `progress` is told
    (requests done, in all) of each call; without one there is a bar, unless lm-eval says not to. Raises TokenizerError for a
    model without a tokenizer.
    """

    def __init__(
        self,
        llm: LLM,
        *,
        answers: Answers | None = None,
        seed: int = 0,
        adapter: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if llm.tokenizer is None:
            raise TokenizerError("an evaluation needs a tokenizer, and this model folder has none; add its tokenizer.model")
        self.llm, self.answers, self.seed, self.adapter, self.progress = llm, answers, seed, adapter, progress
        self.words, self.scorer = Wording(llm.tokenizer), Scorer(llm, adapter=adapter)

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> Self:
        """From "model=tiny,dtype=float32": arguments of `LLM`, and `seed`, `adapter` of this class. See `create_from_arg_obj`."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None) -> Self:
        """From arguments as a dictionary; of lm-eval's own only `device` counts, since batches are the engine's to make."""
        device = (additional_config or {}).get("device")
        given = {**({"device": device} if device else {}), **arg_dict}
        own = {name: given.pop(name) for name in ("seed", "adapter") if name in given}
        try:
            llm = LLM(**given)
        except TypeError as error:
            raise RequestError(f"model arguments are those of mistral7b.LLM: {error}") from None
        return cls(llm, **own)

    @cached_property
    def digest(self) -> str:
        """The model's fingerprint, made when it is first asked for."""
        return fingerprint(self.llm, self.adapter)

    @property
    def eot_token_id(self) -> int:
        return self.words.tokenizer.eos_id

    @property
    def prefix_token_id(self) -> int:
        return self.words.tokenizer.bos_id

    @property
    def max_length(self) -> int:
        """The longest prompt and answer together, in tokens."""
        return self.llm.max_model_len

    @property
    def max_gen_toks(self) -> int:
        """The longest answer where a task does not say, in tokens."""
        return _MOST_WRITTEN

    @property
    def tokenizer_name(self) -> str:
        """Names template and tokenizer in lm-eval's caches of requests."""
        return f"mistral-{self.words.tokenizer.version}-{self.words.tokenizer.vocab_size}"

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """What lm-eval logs of the template; chats go through `tokens.chat`, not through Jinja."""
        return f"mistral-common {self.words.tokenizer.version}" if chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """See `Wording.chat`; without `add_generation_prompt` the last message begins the answer."""
        return self.words.chat(chat_history, continues=not add_generation_prompt)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:  # noqa: ARG002
        """Ids of a text, after exactly one BOS unless `add_special_tokens` is false."""
        return self.words.ids(string, bos=add_special_tokens is not False)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self.words.pair(context, continuation)

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any  # noqa: ARG002
    ) -> list[tuple[float, bool]]:  # fmt: skip
        scores = self.scorer.score([(context, continuation) for _, context, continuation in requests])
        return [(score.logprob, score.greedy) for score in scores]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, whether it is the greedy one) of each continuation after its context."""

        def compute(some: list[Instance], _: list[int]) -> Computed:
            for place, score in self.scorer.stream([self.words.pair(*one.args) for one in some]):
                yield place, [score.logprob, score.greedy]

        return [(logprob, greedy) for logprob, greedy in self._answer("loglikelihood", requests, compute, disable_tqdm)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each text after one BOS, read in pieces of `max_length` that do not overlap.

        lm-eval's hf backend counts a second BOS as part of the text, unless told `add_bos_token=False`.
        """

        def compute(some: list[Instance], _: list[int]) -> Computed:
            windows: list[Any] = []
            owners: list[int] = []
            for place, one in enumerate(some):
                ids = self.words.ids(one.args[0].removeprefix("<s>"), bos=False)
                rolling = get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1)
                windows += [make_disjoint_window(window) for window in rolling]
                owners += [place] * (len(windows) - len(owners))
            sums = dict.fromkeys(range(len(some)), 0.0)
            for place, score in zip(owners, self.scorer.score(windows), strict=True):
                sums[place] += score.logprob
            yield from sums.items()

        found: list[float] = self._answer("loglikelihood_rolling", requests, compute, disable_tqdm)
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The text written after each context, up to what its arguments tell it to stop at (see `writing.asked`)."""
        eos = self.words.tokenizer.piece(self.eot_token_id)

        def compute(some: list[Instance], repeats: list[int]) -> Computed:
            asks = []
            for one, repeat in zip(some, repeats, strict=True):
                context, settings = one.args
                seed = seed_of(self.seed, one.doc_id, repeat)
                params = asked(settings, eos=eos, default_most=self.max_gen_toks, seed=seed)
                asks.append((self.words.ids(context), params))
            yield from write(self.llm, asks, adapter=self.adapter)

        found: list[str] = self._answer("generate_until", requests, compute, disable_tqdm)
        return found

    def _answer(
        self, kind: str, requests: list[Instance], compute: Callable[[list[Instance], list[int]], Computed], quiet: bool
    ) -> list[Any]:
        """The answers to `requests`, from the journal or computed; `compute` gives (place, answer) as they come."""
        answers, repeats = self.answers, _repeats(requests)
        keys = (
            [self._key(kind, one, repeat) for one, repeat in zip(requests, repeats, strict=True)] if answers is not None else []
        )
        found = [answers.get(key) for key in keys] if answers is not None else [None] * len(requests)
        missing = [place for place, answer in enumerate(found) if answer is None]
        with self._progress(kind, len(requests), quiet) as progress:
            for start in range(0, len(missing), _TOGETHER):
                places = missing[start : start + _TOGETHER]
                with closing(compute([requests[place] for place in places], [repeats[place] for place in places])) as computed:
                    for done, (which, answer) in enumerate(computed, len(requests) - len(missing) + start + 1):
                        place = places[which]
                        found[place] = answer
                        if answers is not None:
                            answers.put(keys[place], answer)
                        self.cache_hook.add_partial(kind, requests[place].args, answer)
                        progress(done, len(requests))
        if answers is not None:
            answers.sync()
        return found

    def _key(self, kind: str, one: Instance, repeat: int) -> str:
        return key_of(self.digest, kind, list(one.args), one.doc_id if kind == "generate_until" else None, repeat, self.seed)

    @contextmanager
    def _progress(self, kind: str, total: int, quiet: bool) -> Iterator[Progress]:
        if self.progress is not None:
            yield self.progress
            return

        def show(done: int, _: int) -> None:
            bar.update(done - bar.n)

        with tqdm(total=total, desc=kind, disable=quiet) as bar:
            yield show


def _repeats(requests: Sequence[Instance]) -> list[int]:
    """For each request how many of the same item stood before it: lm-eval hands k repeats over as the same object k times."""
    seen: Counter[int] = Counter()
    repeats = []
    for one in requests:
        repeats.append(seen[id(one)])
        seen[id(one)] += 1
    return repeats
