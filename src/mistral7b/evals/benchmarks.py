"""The table of benchmarks: what each is called, how the paper asks it, and which presets it belongs to.

Shots, votes and presets are those of the Mistral 7B paper (arXiv 2310.06825, section 3). Where it does not name a metric, the
metric of record is the one by which models of its time were compared in lm-eval; docs/evaluation-data.md gives the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

PRESETS = {
    "table2": "the twelve benchmarks of the paper's table 2, math and GSM8K both greedy and voted",
    "commonsense": "the eight benchmarks of commonsense reasoning",
    "reading": "reading comprehension",
    "aggregate": "the collections BBH and AGIEval",
}

MMLU = (
    "abstract_algebra", "anatomy", "astronomy", "business_ethics", "clinical_knowledge", "college_biology",
    "college_chemistry", "college_computer_science", "college_mathematics", "college_medicine", "college_physics",
    "computer_security", "conceptual_physics", "econometrics", "electrical_engineering", "elementary_mathematics",
    "formal_logic", "global_facts", "high_school_biology", "high_school_chemistry", "high_school_computer_science",
    "high_school_european_history", "high_school_geography", "high_school_government_and_politics",
    "high_school_macroeconomics", "high_school_mathematics", "high_school_microeconomics", "high_school_physics",
    "high_school_psychology", "high_school_statistics", "high_school_us_history", "high_school_world_history", "human_aging",
    "human_sexuality", "international_law", "jurisprudence", "logical_fallacies", "machine_learning", "management",
    "marketing", "medical_genetics", "miscellaneous", "moral_disputes", "moral_scenarios", "nutrition", "philosophy",
    "prehistory", "professional_accounting", "professional_law", "professional_medicine", "professional_psychology",
    "public_relations", "security_studies", "sociology", "us_foreign_policy", "virology", "world_religions",
)  # fmt: skip

BBH = (
    "boolean_expressions", "causal_judgement", "date_understanding", "disambiguation_qa", "dyck_languages",
    "formal_fallacies", "geometric_shapes", "hyperbaton", "logical_deduction_five_objects",
    "logical_deduction_seven_objects", "logical_deduction_three_objects", "movie_recommendation",
    "multistep_arithmetic_two", "navigate", "object_counting", "penguins_in_a_table", "reasoning_about_colored_objects",
    "ruin_names", "salient_translation_error_detection", "snarks", "sports_understanding", "temporal_sequences",
    "tracking_shuffled_objects_five_objects", "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects", "web_of_lies", "word_sorting",
)  # fmt: skip

AGIEVAL = (
    "aqua_rat", "gaokao_english", "logiqa_en", "lsat_ar", "lsat_lr", "lsat_rc", "sat_en", "sat_en_without_passage", "sat_math",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Benchmark:
    """`name` on the command line, `title` in a report. `category` is its group in the paper's figure 4.

    `shots` examples stand in front of each item, or as many of them as there are. `metric` is that of record, by lm-eval's name;
    its value is a fraction of 1. `protocol` says in a line how an item is asked and scored. `members` are the tasks of a
    collection, whose items count alike; `votes` the answers sampled for an item, of which the most common one counts (1: one
    greedy answer). `family` names the folder of its data. `runs_code`: scoring runs programs that the model wrote.
    """

    name: str
    title: str
    category: str
    shots: int
    metric: str
    protocol: str
    presets: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    votes: int = 1
    family: str = ""
    runs_code: bool = False

    def __post_init__(self) -> None:
        assert set(self.presets) <= set(PRESETS)
        if not self.family:
            object.__setattr__(self, "family", self.name)


_WHOLE = "log-probability of each answer written out"
_NORMED = f"{_WHOLE}, divided by its characters"
_LETTER = "log-probability of the letter of each answer"
_SHORT = "greedy text up to a new line, full stop or comma, equal to one of the accepted answers"
_CHAIN = "greedy reasoning, its last answer extracted"
_VOTE = "{} answers sampled at temperature 0.7, the most common one counts"
_CODE = "one greedy program, which must pass the item's tests"
_KNOWN, _SENSE = "Knowledge", "Reasoning"

BENCHMARKS = (
    Benchmark("mmlu", "MMLU", "MMLU", 5, "acc", _LETTER, ("table2",), MMLU),
    Benchmark("hellaswag", "HellaSwag", _SENSE, 0, "acc_norm", _NORMED, ("table2", "commonsense")),
    Benchmark("winogrande", "WinoGrande", _SENSE, 0, "acc", "log-probability of the rest of the sentence after each option",
              ("table2", "commonsense")),
    Benchmark("piqa", "PIQA", _SENSE, 0, "acc_norm", _NORMED, ("table2", "commonsense")),
    Benchmark("arc_easy", "ARC-Easy", _SENSE, 0, "acc_norm", _NORMED, ("table2", "commonsense"), family="arc"),
    Benchmark("arc_challenge", "ARC-Challenge", _SENSE, 0, "acc_norm", _NORMED, ("table2", "commonsense"), family="arc"),
    Benchmark("nq_open", "NaturalQuestions", _KNOWN, 5, "exact_match", _SHORT, ("table2",)),
    Benchmark("triviaqa", "TriviaQA", _KNOWN, 5, "exact_match", _SHORT, ("table2",)),
    Benchmark("humaneval", "HumanEval", "Code", 0, "pass@1", _CODE, ("table2",), runs_code=True),
    Benchmark("mbpp", "MBPP", "Code", 3, "pass@1", f"{_CODE}; the hand-verified items", ("table2",), runs_code=True),
    Benchmark("math", "MATH", "Math", 4, "exact_match", _CHAIN, ("table2",)),
    Benchmark("math_maj4", "MATH maj@4", "Math", 4, "exact_match", _VOTE.format(4), ("table2",), votes=4, family="math"),
    Benchmark("gsm8k", "GSM8K", "Math", 8, "exact_match", _CHAIN, ("table2",)),
    Benchmark("gsm8k_maj8", "GSM8K maj@8", "Math", 8, "exact_match", _VOTE.format(8), ("table2",), votes=8, family="gsm8k"),
    Benchmark("siqa", "SIQA", _SENSE, 0, "acc", _WHOLE, ("commonsense",)),
    Benchmark("openbookqa", "OpenBookQA", _SENSE, 0, "acc_norm", _NORMED, ("commonsense",)),
    Benchmark("commonsense_qa", "CommonsenseQA", _SENSE, 0, "acc", _LETTER, ("commonsense",)),
    Benchmark("boolq", "BoolQ", "Comprehension", 0, "acc", "log-probability of no and of yes", ("reading",)),
    Benchmark("quac", "QuAC", "Comprehension", 0, "f1", "greedy answer within its dialogue, word F1 by the original scorer",
              ("reading",)),
    Benchmark("bbh", "BBH", "BBH", 3, "exact_match", f"{_CHAIN} after the authors' three examples", ("aggregate",), BBH),
    Benchmark("agieval", "AGIEval", "AGIEval", 5, "acc", f"English multiple choice; {_WHOLE}; the 3 to 5 examples there are",
              ("aggregate",), AGIEVAL),
)  # fmt: skip

BY_NAME = {benchmark.name: benchmark for benchmark in BENCHMARKS}
