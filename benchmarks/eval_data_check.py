"""What a folder of benchmark data holds: every file that the tasks read is read, every prompt is made.

    python benchmarks/eval_data_check.py ../shared/data/eval

For each benchmark: its tasks, the items that are asked, the examples in front of each, the length of the longest prompt, and
its files; or what is missing or broken. Checked besides: no prompt shows the item that it asks among its examples.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mistral7b.errors import DataError
from mistral7b.evals.benchmarks import BENCHMARKS
from mistral7b.evals.tasks import Built, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"{'benchmark':<16}{'tasks':>6}{'items':>8}{'shots':>7}{'longest prompt':>16}{'files':>7}")
    for benchmark in BENCHMARKS:
        try:
            built = build([benchmark.name], folder)
        except DataError as error:
            print(f"{benchmark.name:<16}{error}")
            continue
        items = sum(len(each.task.task_docs) for each in built)
        shots = sorted({each.task.config.num_fewshot for each in built})
        longest = max(longest_prompt(each) for each in built)
        files = {name for each in built for name in each.files}
        shown = "-".join(str(each) for each in dict.fromkeys((shots[0], shots[-1])))
        print(f"{benchmark.name:<16}{len(built):>6}{items:>8,}{shown:>7}{longest:>16,}{len(files):>7}", flush=True)


def longest_prompt(built: Built) -> int:
    """In characters. Raises AssertionError where an item is among its own examples."""
    task: Any = built.task
    shots, longest = task.config.num_fewshot, 0
    for doc in task.task_docs:
        found = task.fewshot_context(doc, num_fewshot=shots)
        prompts = found if isinstance(found, list) else [found]
        longest = max(longest, *map(len, prompts), 0)
        item = task.doc_to_text(doc)
        assert isinstance(item, int) or prompts[0].count(str(item)) == 1, f"{task.task_name} shows what it asks: {item}"
    return longest


if __name__ == "__main__":
    main()
