"""`eval positions` and `eval passkey`: tables for people, objects for scripts, pictures where asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mistral7b.cli.eval_passkey import LINES as PASSKEY
from mistral7b.cli.eval_passkey import passkey
from mistral7b.cli.eval_positions import LINES as POSITIONS
from mistral7b.cli.eval_positions import positions
from mistral7b.cli.help import CONTEXT_SETTINGS, Verb, examples, group
from mistral7b.errors import RequestError

TEXT = "Once upon a time there was a girl. She had a cat, and the cat had a ball. " * 6


def run(*arguments: str | Path | int) -> str:
    app = group("Measure.")
    for verb, lines in ((positions, POSITIONS), (passkey, PASSKEY)):
        app.command(cls=Verb, epilog=examples(*lines), context_settings=CONTEXT_SETTINGS)(verb)
    ran = CliRunner().invoke(app, [str(each) for each in arguments])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0
    return ran.stdout


def test_positions(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(f"{json.dumps({'text': TEXT})}\n" * 3)
    told = json.loads(run("positions", path, "--tokens", 97, "--bucket", 32, "--figure", tmp_path / "p.png", "--json"))
    assert [(each["begin"], each["end"], each["tokens"]) for each in told["buckets"]] == [
        (1, 33, 96), (33, 65, 96), (65, 97, 96),
    ]  # fmt: skip
    assert all(0 < each["nll"] < 6 and each["error"] == pytest.approx(0, abs=1e-6) for each in told["buckets"])
    assert (told["window"], told["trained_context"], told["pieces"], told["joined"]) == (512, 2048, 6, False)
    assert told["file_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    joined = json.loads(run("positions", path, "--tokens", 300, "--bucket", 32, "--join", "--limit", 1, "--json"))
    assert (joined["pieces"], joined["buckets"][-1]["end"]) == (1, 289)
    shown = run("positions", path, "--tokens", 97, "--bucket", 32)
    assert shown.splitlines()[0].split("  ")[0] == "positions"
    assert "33 to 64" in shown


def test_passkey(tmp_path: Path) -> None:
    asked = ("passkey", "--hide", "name", "--depths", 2, "--trials", 2, "--dtype", "float32", "--lengths")
    told = json.loads(run(*asked, "80,100", "--figure", tmp_path / "p.png", "--json"))
    assert [(cell["length"], cell["depth"]) for cell in told["cells"]] == [(80, 0), (80, 1), (100, 0), (100, 1)]
    assert all(cell["trials"] == 2 and 1 <= cell["rank"] <= 2 for cell in told["cells"])
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    shown = run(*asked, 80)
    assert "nats gained" in shown
    assert len(shown.splitlines()) == 3
    with pytest.raises(RequestError, match="--lengths must be numbers of tokens"):
        run("passkey", "--lengths", "100,x")


@pytest.mark.parametrize("verb", ["positions", "passkey"])
def test_help_has_examples(verb: str) -> None:
    assert f"mistral7b eval {verb}" in run(verb, "--help")
