"""The columns that others published are where the report looks for them."""

from __future__ import annotations

from mistral7b.evals.benchmarks import BY_NAME
from mistral7b.evals.published import CARD, TABLE2, TABLE4


def test_table_2_is_whole() -> None:
    of_preset = {name for name, each in BY_NAME.items() if "table2" in each.presets}
    assert set(TABLE2) == of_preset - {"math", "gsm8k"}, "the paper's figures of these are of voted answers"
    assert {tuple(each.model for each in row) for row in TABLE2.values()} == {
        ("Mistral 7B", "Llama 2 7B", "Llama 2 13B", "Code Llama 7B")
    }
    mean = sum(row[0].value for row in TABLE2.values()) / len(TABLE2)
    assert round(mean, 3) == 56.433
    assert [each.value for each in TABLE2["gsm8k_maj8"]] == [52.2, 16.0, 34.3, 20.8]


def test_the_card_and_the_table_of_system_prompts() -> None:
    assert set(CARD) <= set(BY_NAME)
    assert CARD["gsm8k"].value == 39.35
    assert (TABLE4["none"].value, TABLE4["none"].spread) == (6.84, 0.07)
    assert "table 2" in TABLE2["mmlu"][0].source
