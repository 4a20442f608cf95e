"""Checkpoints of a run: written in the background, whole or not at all, and found again after a kill at any moment.

    checkpoints/step-00000500/
      __0_0.distcp ...   the ranks' parts, as torch.distributed.checkpoint writes them; .metadata says what is where
      checkpoint.json    written last: the run's facts, and size and sha256 of every file above

Reading one unpickles what these files hold; so it happens only after their hashes were found right, and only in the folder
that a run of one's own wrote.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from mistral7b.checkpoint.aside import PARTIAL, sync, written
from mistral7b.checkpoint.digest import sha256_of
from mistral7b.errors import CheckpointError
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Keep

FACTS = "checkpoint.json"
_NAME = re.compile(r"step-(\d{8,})")


class Checkpoints:
    """The checkpoints in `folder`, which all ranks share. All ranks call every method, in the same order.

    Raises CheckpointError, on all ranks, for a folder that is not the same one on every host.
    """

    def __init__(self, folder: Path, keep: Keep, ranks: Ranks) -> None:
        self.folder = folder
        self.keep = keep
        self.ranks = ranks
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        # A group of its own: the thread's collectives must not meet those of the step.
        self._group = dist.new_group(backend="gloo") if ranks.world > 1 else None
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*{PARTIAL}"):
                shutil.rmtree(left)
        self._check_shared()

    def save(self, step: int, model: nn.Module, optims: Sequence[torch.optim.Optimizer], facts: dict[str, Any]) -> None:
        """Takes a copy of the state and returns; a thread writes it. Waits for the one before, and raises its error."""
        self.wait()
        stager = DefaultStager(StagingOptions(False, False, False, False))
        held = stager.stage(_state(model, optims, self.ranks)[0])
        assert isinstance(held, dict), "staged at once"
        self._writing = self._thread.submit(self._write, step, held, facts)
        stager.close()

    def wait(self) -> None:
        """Until the last one is on disk. Raises CheckpointError if it could not be written; older ones are whole."""
        writing, self._writing = self._writing, None
        failed: str | None = None
        if writing is not None:
            try:
                writing.result()
            except (Exception, CheckpointException) as error:  # noqa: BLE001 torch wraps what the disk says, in no Exception
                failed = _reason(error)
        if (why := self.ranks.any_word(failed)) is not None:
            raise CheckpointError(f"{self.folder}: a checkpoint was not written ({why}); those before it are whole")

    def close(self) -> None:
        self._thread.shutdown()

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, newest first; no hash is looked at."""
        names = ((path, _NAME.fullmatch(path.name)) for path in self.folder.glob("step-*"))
        return sorted((int(name[1]) for path, name in names if name and (path / FACTS).is_file()), reverse=True)

    def load_newest(
        self, model: nn.Module, optims: Sequence[torch.optim.Optimizer], check: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any] | None:
        """Puts the newest checkpoint whose files are as they were written in place, and returns its facts; None if there is
        none. `check` is given the facts first, and may raise. Warns of each that is not sound; raises CheckpointError if there
        are some and none is."""
        steps = self.ranks.told(self.steps())
        for step in steps:
            path = self._path(step)
            if (wrong := self.ranks.any_word(self._wrong(path))) is None:
                facts = _facts(path)
                if check is not None:
                    check(facts)
                self._load(path, model, optims)
                return facts
            if self.ranks.first:
                warnings.warn(f"{path.name} is damaged ({wrong}); going back to one before", stacklevel=2)
        if steps:
            raise CheckpointError(
                f"{self.folder}: none of {len(steps)} checkpoints is sound; restore one, or take another run folder"
            )
        return None

    def _load(self, path: Path, model: nn.Module, optims: Sequence[torch.optim.Optimizer]) -> None:
        reader = FileSystemReader(path)
        held = reader.read_metadata().state_dict_metadata
        state, groups = _state(model, optims, self.ranks)
        state = {key: value for key, value in state.items() if not key.startswith("rng") or key in held}
        with _alone(self._group is None):
            try:
                load(state, storage_reader=reader, process_group=self._group, no_dist=self._group is None)
            except CheckpointException as error:
                raise CheckpointError(f"{path} cannot be read ({_reason(error)}); mend that, and start again") from None
        optim = {**state["optim"], "param_groups": groups}
        set_state_dict(model, list(optims), model_state_dict=state["model"], optim_state_dict=optim)
        if (key := _rng_key(self.ranks)) in state:
            torch.set_rng_state(state[key])

    def _write(self, step: int, held: dict[str, Any], facts: dict[str, Any]) -> None:
        target = self._path(step)
        made = self.folder / (target.name + PARTIAL)
        try:
            writer = FileSystemWriter(made, single_file_per_rank=True, sync_files=True, overwrite=True)
            with _alone(self._group is None):
                save(held, storage_writer=writer, process_group=self._group, no_dist=self._group is None)
            if self.ranks.first:
                files = {path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in sorted(made.iterdir())}
                with written(made / FACTS) as file:
                    file.write(json.dumps(facts | {"files": files}, indent=1).encode())
                sync(made)
                if target.exists():
                    shutil.rmtree(target)
                made.rename(target)
                sync(self.folder)
                self._retire()
        except BaseException:
            if self.ranks.first:
                shutil.rmtree(made, ignore_errors=True)
            raise

    def _check_shared(self) -> None:
        """A rank whose host has another disk under this name would leave its part of every checkpoint there."""
        sign = self.folder / self.ranks.told(f".{uuid4().hex}{PARTIAL}")
        if self.ranks.first:
            sign.mkdir()
        self.ranks.wait()
        lacks = self.ranks.any_word(None if sign.is_dir() else f"rank {self.ranks.rank} on {socket.gethostname()}")
        if self.ranks.first:
            sign.rmdir()
        if lacks is not None:
            raise CheckpointError(f"{self.folder} of rank 0 is not there for {lacks}; give a run folder that all hosts share")

    def _retire(self) -> None:
        """Removes those that are neither new nor to be kept; renamed first, so that none is ever half there."""
        steps = self.steps()
        for step in steps[self.keep.newest :]:
            if self.keep.forever is None or step % self.keep.forever:
                old = self._path(step)
                gone = old.rename(old.with_name(old.name + PARTIAL))
                shutil.rmtree(gone)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _wrong(self, path: Path) -> str | None:
        """What is wrong with this rank's share of the files."""
        try:
            files = list(_facts(path)["files"].items())
            for name, stated in files[self.ranks.rank :: self.ranks.world]:
                if (path / name).stat().st_size != stated["size"] or sha256_of(path / name) != stated["sha256"]:
                    return f"{name} is changed"
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return str(error)
        return None


@contextmanager
def _alone(single: bool) -> Iterator[None]:
    """Without torch's warning that one process is one process."""
    with warnings.catch_warnings():
        if single:
            warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield


def _state(model: nn.Module, optims: Sequence[torch.optim.Optimizer], ranks: Ranks) -> tuple[dict[str, Any], Any]:
    """(What a checkpoint holds, the optimizers' groups). The groups stay out: their number is the layout's, and their rates and
    decay are the recipe's of the day."""
    held, optim = get_state_dict(model, list(optims))
    return {"model": held, "optim": {"state": optim["state"]}, _rng_key(ranks): torch.get_rng_state()}, optim["param_groups"]


def _rng_key(ranks: Ranks) -> str:
    return f"rng.{ranks.rank}"


def _facts(path: Path) -> dict[str, Any]:
    found = json.loads((path / FACTS).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{FACTS} holds no object")
    return found


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    return " ".join(str(causes[-1]).split())[:200]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        held = getattr(error, "failures", None)  # torch's CheckpointException: {rank: (error, traceback)}
        inner = next(iter(held.values()))[0] if held else None
        error = inner or error.__cause__ or error.__context__
