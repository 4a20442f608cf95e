"""The recipe of a curation: what is read, which steps it goes through, how it is mixed. The fields are the keys of the file.

A step that is not named does not run. Every step may be held to kinds and languages (`Scope`); a rule that is null is off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["prose", "code", "science", "web"]
_NAME = re.compile(r"[A-Za-z0-9][\w\-]*")


@dataclass(frozen=True)
class Source:
    """Where documents come from. A path may be a file, a folder or a pattern such as `texts/*.jsonl.gz`."""

    reader: Literal["jsonl", "parquet", "text", "warc", "latex", "code"]
    kind: Kind
    paths: list[Path]
    licence: str  # of what is read; source code states its own, and this is for files that do not
    epochs: float = 1.0
    text_key: str = "text"  # jsonl and parquet
    language: str | None = None  # taken for granted instead of recognised
    keep: list[str] = field(default_factory=lambda: ["title", "author", "url"])  # other keys to carry along
    extensions: list[str] | None = None  # text, latex and code: only these, such as .txt
    exclude: list[str] = field(default_factory=lambda: [".git", "node_modules", "__pycache__"])  # folders to leave out

    def __post_init__(self) -> None:
        _positive("epochs", self.epochs)
        if not self.paths:
            raise ValueError("paths names nothing; give at least one file or folder")


@dataclass(frozen=True)
class Scope:
    """Which documents a step looks at: all, unless kinds, languages or sources are named."""

    kinds: list[Kind] | None = None
    languages: list[str] | None = None
    sources: list[str] | None = None


@dataclass(frozen=True)
class Normalise(Scope):
    """One form for one text: NFC, \\n, no control characters, no blanks at line ends, at most two blank lines in a row."""

    unicode: Literal["NFC", "NFKC"] = "NFC"
    blank_lines: int = 2


@dataclass(frozen=True)
class Language(Scope):
    """The language of every text that has none stated. Code is left alone: its language is the programming language."""

    kinds: list[Kind] | None = field(default_factory=lambda: list[Kind](("prose", "science", "web")))
    keep: list[str] | None = None  # drop all others; null only labels
    threshold: float = 0.5  # of the recogniser's probability, below which a language that must be kept is not believed
    among: list[str] | None = None  # the languages to choose from; null is all that py3langid knows
    characters: int = 2000  # of the middle of a text that are looked at


@dataclass(frozen=True)
class Gopher:
    """Table A1 of Rae et al. 2021, arXiv 2112.11446."""

    min_doc_words: int | None = 50
    max_doc_words: int | None = 100_000
    min_avg_word_length: float | None = 3
    max_avg_word_length: float | None = 10
    max_symbol_word_ratio: float | None = 0.1
    max_bullet_lines_ratio: float | None = 0.9
    max_ellipsis_lines_ratio: float | None = 0.3
    max_non_alpha_words_ratio: float | None = 0.8
    min_stop_words: int | None = 2
    stop_words: list[str] = field(default_factory=lambda: ["the", "be", "to", "of", "and", "that", "have", "with"])


@dataclass(frozen=True)
class Repetition:
    """The same table's shares of repeated lines, paragraphs and n-grams."""

    dup_line_frac: float | None = 0.3
    dup_para_frac: float | None = 0.3
    dup_line_char_frac: float | None = 0.2
    dup_para_char_frac: float | None = 0.2
    top_n_grams: tuple[tuple[int, float], ...] = ((2, 0.20), (3, 0.18), (4, 0.16))
    dup_n_grams: tuple[tuple[int, float], ...] = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))


@dataclass(frozen=True)
class C4:
    """Raffel et al. 2020, section 2.2. It drops lines too, and joins what is left by single line ends."""

    remove_citations: bool = True
    filter_no_terminal_punct: bool = True
    min_num_sentences: int = 5  # -1 is off, here and below
    min_words_per_line: int = 3
    max_word_length: int = 1000
    filter_lorem_ipsum: bool = True
    filter_javascript: bool = True
    filter_curly_bracket: bool = True
    filter_policy: bool = True


@dataclass(frozen=True)
class FineWeb:
    """Penedo et al. 2024, arXiv 2406.17557, section 3.6."""

    line_punct_thr: float = 0.12
    line_punct_exclude_zero: bool = False
    stop_chars: tuple[str, ...] | None = None  # that a line may end with; null is the full stops of all scripts, without quotes
    short_line_thr: float = 0.67
    short_line_length: int = 30
    char_duplicates_ratio: float = 0.01
    new_line_ratio: float = 0.3


@dataclass(frozen=True)
class Quality(Scope):
    """One set of rules for prose, by datatrove's filters; a recipe names as many sets as it has kinds and languages."""

    kinds: list[Kind] | None = field(default_factory=lambda: list[Kind](("prose", "web")))
    gopher: Gopher | None = None
    repetition: Repetition | None = None
    c4: C4 | None = None
    fineweb: FineWeb | None = None


@dataclass(frozen=True)
class Code(Scope):
    """Rules for source code; lengths and shares as StarCoder's (Li et al. 2023, arXiv 2305.06161)."""

    kinds: list[Kind] | None = field(default_factory=lambda: list[Kind](("code",)))
    min_characters: int | None = 50
    max_characters: int | None = 1_000_000
    max_line_length: int | None = 1000
    max_mean_line_length: float | None = 100
    min_alphanumeric: float | None = 0.25  # share of all characters
    min_symbols: float | None = 0.01  # share of ()[]{}<>=;_#\/*+|& : less is prose
    min_entropy: float | None = 3.0  # bits a character; a table of zeros has less
    max_entropy: float | None = 5.8  # base64 has 6
    generated: bool = True  # drop what says in its first lines that a program wrote it
    licences: list[str] | None = None  # SPDX names allowed; null allows any


@dataclass(frozen=True)
class Classifier:
    """A logistic regression over hashed words and letters, trained from JSONL lines {"text", "label": 0 or 1}."""

    train: Path
    test: Path  # labelled too, not trained on: precision and recall are of this file
    threshold: float = 0.5
    window: int = 200  # words a document is judged by at a time; the worst window counts
    buckets: int = 65_536
    passes: int = 20
    seed: int = 1


@dataclass(frozen=True)
class Toxicity(Scope):
    """Words from lists, then, if there is one, the classifier."""

    words: dict[str, Path] | None = None  # by language; null takes the package's own (en, fr)
    max_per_thousand: float | None = 1.0  # listed words in a thousand; null is off
    min_hits: int = 1  # and at least so many
    classifier: Classifier | None = None


@dataclass(frozen=True)
class PersonalData(Scope):
    """Addresses and numbers of persons, as placeholders or not at all."""

    find: list[Literal["email", "phone", "ip", "iban", "card"]] = field(
        default_factory=lambda: ["email", "phone", "ip", "iban", "card"]
    )
    action: Literal["replace", "drop"] = "replace"


@dataclass(frozen=True)
class ExactDedup(Scope):
    """Texts with the same words in the same order, whatever their case, blanks and punctuation. The first one stays."""


@dataclass(frozen=True)
class MinHash(Scope):
    """Near duplicates by datatrove's MinHash: n-grams of words, `buckets` x `hashes` (defaults are FineWeb's). The first stays.

    Two documents with a share s of n-grams in common meet with probability 1 - (1 - s^hashes)^buckets. Those that met are
    duplicates if the share that all their hashes estimate is at least `similarity` (null believes every meeting).
    """

    n_grams: int = 5
    buckets: int = 14
    hashes: int = 8
    similarity: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Decontaminate(Scope):
    """Texts that hold what a model will be asked: `n` words in a row of a prompt (GPT-3's 13), or a shorter prompt whole."""

    prompts: list[Path] = field(default_factory=list)  # folders or files: .jsonl .json .csv .txt, also .gz .bz2 .zst
    keys: list[str] | None = None  # JSON keys (and columns) that hold prompts, at any depth; null is every string
    exclude: list[str] = field(default_factory=lambda: ["README*", "SOURCE*", "LICENSE*"])
    n: int = 13
    shortest: int = 8  # words; shorter prompts are counted, and not looked for
    action: Literal["drop", "cut"] = "drop"  # cut takes out the lines a match stands in
    min_left: int = 200  # characters that must be left after a cut

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.n:
            raise ValueError("shortest must be between 1 and n")
        if not self.prompts:
            raise ValueError("prompts names nothing; give a folder of prompts")


@dataclass(frozen=True)
class SplitLong(Scope):
    """Documents of more characters are cut at a paragraph, a line or a blank, into parts of about equal length."""

    characters: int = 50_000


@dataclass(frozen=True)
class Steps:
    """In the order they run."""

    normalise: Normalise | None = None
    language: Language | None = None
    quality: dict[str, Quality] = field(default_factory=dict)
    code: Code | None = None
    toxicity: Toxicity | None = None
    personal_data: PersonalData | None = None
    exact_dedup: ExactDedup | None = None
    minhash: MinHash | None = None
    decontaminate: Decontaminate | None = None
    split_long: SplitLong | None = None


@dataclass(frozen=True)
class Mix:
    """Weights instead of hand-set epochs: shares of the tokens seen, by `kind` or `kind/language` of a source."""

    weights: dict[str, float]
    tokens: float | None = None  # seen in training in all; null keeps the sum that the sources' epochs give

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            _positive(f"weights.{name}", weight)


@dataclass(frozen=True)
class Slurm:
    """What sbatch is told."""

    partition: str
    time: str
    cpus_per_task: int = 1
    mem_per_cpu_gb: int = 4
    qos: str = "normal"
    workers: int = -1  # tasks at a time; -1 is no limit
    env_command: str | None = None
    sbatch_args: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ray:
    """What ray is told."""

    workers: int = -1
    cpus_per_task: int = 1
    mem_per_cpu_gb: float = 4


@dataclass(frozen=True)
class CurateRecipe:
    """A whole recipe. `shard_megabytes` of input make one unit of work, and one output file: the unit of resuming."""

    sources: dict[str, Source]
    steps: Steps = field(default_factory=Steps)
    held_out: float = 0.01
    mix: Mix | None = None
    on_bad_line: Literal["refuse", "skip"] = "refuse"
    tokenizer: Path | None = None  # count tokens with it; without, four bytes are taken for a token
    shard_megabytes: float = 64.0
    samples: int = 3  # in the report, for each step and reason
    executor: Literal["local", "slurm", "ray"] = "local"
    slurm: Slurm | None = None
    ray: Ray | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources names nothing; give at least one")
        for name in self.sources:
            if not _NAME.fullmatch(name):
                raise ValueError(f"sources.{name} will be a folder's name; use letters, digits, - and _")
        if not 0 <= self.held_out < 1:
            raise ValueError("held_out must be a share from 0 to below 1")
        _positive("shard_megabytes", self.shard_megabytes)
        if self.executor == "slurm" and self.slurm is None:
            raise ValueError("executor slurm needs a block slurm with partition and time")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be more than 0, not {value:g}")
