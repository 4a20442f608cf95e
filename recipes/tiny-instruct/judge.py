"""How well a model answers the held-out tasks, at temperature 0 and with nothing forced.

    python recipes/tiny-instruct/judge.py --model runs/tiny-instruct/model
    python recipes/tiny-instruct/judge.py --model tiny --show 10

Requests: the share that ended by themselves within 200 tokens in the asked form, and the share that was also right (the one
answer there is; the asked values; a story with what it was to be about). Tools: the share of replies that are exactly the
expected call, name and all arguments.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mistral7b import LLM, SamplingParams
from mistral7b.outputs import CompletionOutput
from mistral7b.tokens.calls import json_object

HELD_OUT = Path(__file__).parent / "held_out"
PARAMS = SamplingParams(temperature=0, max_tokens=200)
Line = dict[str, Any]
Told = tuple[Line, CompletionOutput, dict[str, bool]]  # a task, the reply, what is true of it


def is_story(text: str, _: Line) -> bool:
    """At least thirty words in three sentences, the last one whole."""
    return len(text.split()) >= 30 and len(re.findall(r"[.!?]", text)) >= 3 and re.search(r'[.!?]["\']?$', text) is not None


def is_number(text: str, _: Line) -> bool:
    return re.fullmatch(r"-?\d+\.?", text) is not None


def is_word(text: str, _: Line) -> bool:
    """One word, or letters with hyphens between them."""
    return re.fullmatch(r"[A-Za-z-]+[.!]?", text) is not None


def is_words(text: str, _: Line) -> bool:
    """One line of at most thirty words or numbers."""
    return 0 < len(text.split()) <= 30 and "\n" not in text


def is_sentence(text: str, _: Line) -> bool:
    """One line of one or two sentences, begun and ended as such."""
    return re.fullmatch(r"[A-Z0-9][^\n]*[.!?]", text) is not None and len(re.findall(r"[.!?](?= |$)", text)) <= 2


def is_json(text: str, line: Line) -> bool:
    """Nothing but an object with the asked keys."""
    found = json_object(text)
    return found is not None and found.keys() == set(line["keys"])


FORMS: dict[str, Callable[[str, Line], bool]] = {
    "story": is_story, "number": is_number, "word": is_word, "words": is_words, "sentence": is_sentence, "json": is_json,
}  # fmt: skip


def is_right(text: str, line: Line) -> bool:
    """True if the text says what was asked for, capitals and the full stop apart."""
    if line["form"] == "story":
        return all(word.lower() in text.lower() for word in line.get("mentions", ()))
    if line["form"] == "json":
        return json_object(text) == json_object(line["answer"])
    return plain(text) == plain(line["answer"])


def plain(text: str) -> str:
    return text.lower().rstrip(".!")


def judge_text(reply: CompletionOutput, line: Line) -> dict[str, bool]:
    text = reply.text.strip()
    ended = reply.finish_reason == "stop"
    formed = ended and not reply.tool_calls and FORMS[line["form"]](text, line)
    return {"ended": ended, "form": formed, "right": formed and is_right(text, line)}


def judge_calls(reply: CompletionOutput, line: Line) -> dict[str, bool]:
    made = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in reply.tool_calls]
    named = [call["name"] for call in made] == [call["name"] for call in line["calls"]]
    return {"ended": reply.finish_reason != "length", "name": named, "right": made == line["calls"]}


def judge(llm: LLM, lines: Sequence[Line]) -> list[Told]:
    """Each task with the model's reply and what is true of it."""
    plain_lines = [line for line in lines if "tools" not in line]
    outputs = llm.chat([line["messages"] for line in plain_lines], PARAMS) if plain_lines else []
    told = [(line, output.outputs[0]) for line, output in zip(plain_lines, outputs, strict=True)]
    told += [(line, llm.chat(line["messages"], PARAMS, tools=line["tools"])[0].outputs[0]) for line in lines if "tools" in line]
    return [(line, reply, (judge_calls if line["form"] == "calls" else judge_text)(reply, line)) for line, reply in told]


def shares(verdicts: Sequence[dict[str, bool]]) -> dict[str, float]:
    """How many there are, and the share of each verdict."""
    return {"count": len(verdicts)} | {name: sum(one[name] for one in verdicts) / len(verdicts) for name in verdicts[0]}


def report(told: Sequence[Told]) -> dict[str, dict[str, float]]:
    """The shares of all requests, of all tool tasks, and of each kind; tool tasks also by how many tools were offered."""
    groups: dict[str, list[dict[str, bool]]] = {}
    for line, _, verdict in told:
        calls = line["form"] == "calls"
        part = f"tools, {len(line['tools'])} offered" if calls else f"requests, {line['kind']}"
        for name in ("tools" if calls else "requests", part):
            groups.setdefault(name, []).append(verdict)
    return {name: shares(groups[name]) for name in sorted(groups)}


def shown(line: Line, reply: CompletionOutput, verdict: dict[str, bool]) -> str:
    """A dialogue as it was, unedited."""
    said = [f"tool: {tool['function']['name']}" for tool in line.get("tools", ())]
    said += [f"{message['role']}: {message['content']}" for message in line["messages"]]
    calls = [f"{call.name}({call.arguments})" for call in reply.tool_calls]
    said.append(f"-> {' '.join([reply.text, *calls]).strip()}")
    said.append(f"   [{reply.finish_reason}; {', '.join(name if held else f'not {name}' for name, held in verdict.items())}]")
    return "\n".join(said)


def spread(told: Sequence[Told], count: int) -> list[str]:
    """So many dialogues, evenly spread."""
    return [shown(*told[place * len(told) // count]) for place in range(count)]


def held_out() -> list[Line]:
    """The requests, then the tool tasks."""
    return [line for name in ("requests", "tools") for line in read_lines(HELD_OUT / f"{name}.jsonl")]


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--json", action="store_true", help="print the shares as JSON")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N dialogues, evenly spread, unedited")
    args = parser.parse_args()
    told = judge(LLM(args.model), held_out())
    rows = report(told)
    if args.json:
        dialogues = spread(told, args.show)
        print(json.dumps({"model": args.model, "shares": rows} | ({"dialogues": dialogues} if dialogues else {}), indent=2))
        return
    for name, row in rows.items():
        print(f"{name:20} {row['count']:4}  " + "  ".join(f"{key} {share:.0%}" for key, share in row.items() if key != "count"))
    for dialogue in spread(told, args.show):
        print("\n" + dialogue)


if __name__ == "__main__":
    main()
