from __future__ import annotations

from mistral7b.tokens.chat import render
from mistral7b.tokens.guardrail import CATEGORIES, SAFE_PROMPT, moderation_prompt, with_safe_prompt
from mistral7b.tokens.tokenizer import Tokenizer


def test_the_safe_prompt_comes_before_a_system_prompt(v3: Tokenizer) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    text = v3.decode(render(v3, with_safe_prompt(messages)).ids)
    assert text == f"{SAFE_PROMPT}\n\nBe brief.\n\nHello"
    assert messages[0]["content"] == "Be brief."


def test_the_safe_prompt_alone(v3: Tokenizer) -> None:
    rendered = render(v3, with_safe_prompt([{"role": "user", "content": "Hello"}]))
    assert v3.decode(rendered.ids) == f"{SAFE_PROMPT}\n\nHello"
    assert rendered.notes == []
    assert SAFE_PROMPT.startswith("Always assist with care, respect, and truth.")


def test_nothing_is_added_unasked(v3: Tokenizer) -> None:
    assert v3.decode(render(v3, [{"role": "user", "content": "Hello"}]).ids) == "Hello"


def test_the_moderation_prompt_names_every_category() -> None:
    prompt = moderation_prompt("some text")
    assert prompt.endswith("some text")
    assert all(f"\n- {name}: {meaning}\n" in prompt for name, meaning in CATEGORIES.items())
    assert '"not moderated"' in prompt
    assert len(CATEGORIES) == 13
