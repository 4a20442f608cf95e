"""`download`: a model from the hub, a swarm or a web server, checked before it is anywhere that a model is loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mistral7b.cli import options, swarm
from mistral7b.cli.help import examples
from mistral7b.cli.models import report
from mistral7b.cli.terminal import MARKS, emit, note, progress, size, table
from mistral7b.errors import RequestError

if TYPE_CHECKING:
    from mistral7b.release.get import Got
    from mistral7b.release.launch import Channel
    from mistral7b.release.session import Settings
    from mistral7b.release.sources import Source

EXAMPLES = examples(
    "mistral7b download v0.3-instruct",
    "mistral7b download mistralai/Mistral-7B-v0.1 --to ./v0.1 --revision main",
    "mistral7b download 'magnet:?xt=urn:btih:...' --signed-by ed25519:... --to ./my-model",
    "mistral7b download https://models.example/my-model/ --only safetensors",
    "mistral7b download v0.1 --source torrent",
    "mistral7b download v0.3 --export ./to-carry",
    "mistral7b download --list",
)
_TRUST, _SWARM, _STORE = "What it must be", "Where it comes from", "The store"
_PATIENCE = 300.0


def download(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A hub id, v0.1 to v0.3-instruct, a magnet link, a .torrent, or a URL."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder to download into; default: the cache all verbs share.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="DIR", help="Make one directory too, to carry off and check without a network."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="KIND", help="Of a release just these files: safetensors, '*.json'; several times."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="Of a hub id: branch, tag or commit; default: main.")
    ] = None,
    signed_by: Annotated[
        str | None,
        typer.Option("--signed-by", metavar="KEY", help="Refuse what this key (ed25519:..., or its file) did not sign.",
                     rich_help_panel=_TRUST),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option("--variant", metavar="NAME", help="Refuse what differs from this published model's official hashes.",
                     rich_help_panel=_TRUST),
    ] = None,
    source: Annotated[
        Literal["hub", "torrent", "tar"],
        typer.Option("--source", metavar="WAY", help="A published model: from the hub, by its launch torrent, or its tar.",
                     rich_help_panel=_SWARM),
    ] = "hub",
    mirror: Annotated[
        list[str] | None,
        typer.Option("--mirror", metavar="URL", help="Where its folder, or the file, lies on a web server too; several times.",
                     rich_help_panel=_SWARM),
    ] = None,
    patience: Annotated[
        float,
        typer.Option("--patience", metavar="S", help="Give up when no peer sent anything for S seconds.", rich_help_panel=_SWARM),
    ] = _PATIENCE,
    peers: swarm.Peers = None,
    listen: swarm.Listen = None,
    lab: swarm.Lab = False,
    dht: swarm.Dht = True,
    trackers: swarm.Trackers = True,
    pex: swarm.Pex = True,
    lsd: swarm.Lsd = True,
    down: swarm.Down = None,
    up: swarm.Up = None,
    list_: Annotated[bool, typer.Option("--list", help="Show what the store holds; no NAME.", rich_help_panel=_STORE)] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Free what no model of the store uses; with a NAME from --list, that model first.",
                     rich_help_panel=_STORE),
    ] = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Download a model.

    What broke off is resumed. Every byte is held against the hub's hashes, the torrent's, or those of manifest.json, and against
    the official ones of a published model; only then does it leave the quarantine. A release that someone signed is told with
    its key: --signed-by makes sure of it. A file that two releases share is kept, and fetched, once.
    """
    if list_ and prune:
        raise RequestError("--list shows the store and --prune frees room in it; give one of them")
    if list_:
        _list(as_json=as_json)
    elif prune:
        _prune(name, as_json=as_json)
    elif name is None:
        raise RequestError("Missing argument 'NAME'. Try 'mistral7b download --help'")
    else:
        from mistral7b.release.launch import find

        if export is not None:
            _refuse_export(export, to)
        channel: Channel | None = None if source == "hub" else source
        if (found := find(name, channel)) is None:
            _refuse_for_hub(
                only=only, signed_by=signed_by, variant=variant, peer=peers, mirror=mirror, lab=lab, listen=listen, down=down,
                up=up, no_dht=not dht, no_trackers=not trackers, no_pex=not pex, no_lsd=not lsd, patience=patience != _PATIENCE,
            )  # fmt: skip
            _from_hub(name, to, revision, export, as_json=as_json)
            return
        if revision is not None:
            raise RequestError("--revision is for hub ids; a link names one state of its files already")
        if only and export is not None:
            raise RequestError("--export makes a directory that proves itself whole, and --only fetches a part; leave one out")
        asked = swarm.settings(listen=listen, lab=lab, dht=dht, trackers=trackers, pex=pex, lsd=lsd, down=down, up=up)
        asked = replace(asked, patience_s=patience)
        got = _get(found, to, only, signed_by, variant, peers, mirror, asked, again=export is not None)
        _show(got, None if export is None else _export(got, export, found), as_json=as_json)


def _refuse_for_hub(**given: object) -> None:
    if asked := [name for name, value in given.items() if value]:
        raise RequestError(f"--{asked[0].replace('_', '-')} is for releases: a link, a .torrent, or --source torrent or tar")


def _get(
    source: Source, to: Path | None, only: list[str] | None, signed_by: str | None, variant: str | None,
    peers: list[str] | None, mirrors: list[str] | None, settings: Settings, *, again: bool,
) -> Got:  # fmt: skip
    from mistral7b.release.check import claim_of
    from mistral7b.release.get import get
    from mistral7b.release.home import find_home
    from mistral7b.release.ways import Wish

    claim = claim_of(signed_by=signed_by, variant=variant, only=only or ())
    wish = Wish(claim=claim, to=to, peers=tuple(peers or ()), mirrors=tuple(mirrors or ()), settings=settings, again=again)
    with progress(f"fetching {source.title}") as shown:
        return get(source, find_home(), wish, shown)


def _refuse_export(target: Path, to: Path | None) -> None:
    """What an export would be refused for after the download is said before it."""
    from mistral7b.checkpoint.aside import refuse

    refuse(target, folder=True, force=False)
    if to is not None and to.absolute() == target.absolute():
        raise RequestError(f"--to and --export are both {target}; give each a folder of its own")


def _export(got: Got, target: Path, source: Source) -> list[Path]:
    from mistral7b.release.export import export

    with progress(f"writing {target.name}") as shown:
        return export(
            got.folder, target, name=source.title, source=got.source, signer=got.signer, torrent=got.torrent, progress=shown
        )


def _from_hub(name: str, to: Path | None, revision: str | None, export: Path | None, *, as_json: bool) -> None:
    from mistral7b.store.names import HUB, Progress, resolve

    def fetch(hub_id: str, at: Progress | None) -> Path:
        from mistral7b.store.hub import fetch as run

        return run(hub_id, revision=revision, target=to, progress=at)

    with progress(f"downloading {name}") as fetched:
        path = resolve(name, progress=fetched, fetchers={HUB: fetch})
    if export is not None:
        from mistral7b.release.export import export as run

        with progress(f"writing {export.name}") as shown:
            run(path, export, name=Path(name).name, source=name, progress=shown)
        path = export / Path(name).name
    report(path, sorted(path.iterdir()) if path.is_dir() else [path], as_json=as_json)


def _show(got: Got, exported: list[Path] | None, *, as_json: bool) -> None:
    if as_json:
        emit(got.to_json() | {"exported": None if exported is None else [str(path) for path in exported]})
        return
    table([[MARKS[check.status], (check.name, ""), (check.detail, "")] for check in got.checks])
    report(got.folder, [got.folder / name for name in got.files], as_json=False)
    if got.torrent is not None:
        note(f"its .torrent is {got.torrent}")
    if got.apart is not None:
        note(f"what came was a pickle: it was rewritten as safetensors, and is kept apart in {got.apart}")
    if exported is not None:
        print(f"exported: {', '.join(str(path) for path in exported)}")


def _list(*, as_json: bool) -> None:
    from mistral7b.release.blobs import Store
    from mistral7b.release.home import find_home

    home = find_home()
    models = Store(home).models()
    if as_json:
        emit({"path": str(home.root), "models": [kept.to_json() for kept in models]})
        return
    rows: list[list[tuple[str, Any]]] = [[(kept.key, ""), (size(kept.size), ""), (kept.source, "dim")] for kept in models]
    table(rows) if rows else print(f"{home.root} holds no release")


def _prune(name: str | None, *, as_json: bool) -> None:
    from mistral7b.release.blobs import Store
    from mistral7b.release.home import find_home

    store = Store(find_home())
    if name is not None:
        store.drop(name)
    freed = store.prune()
    emit({"path": str(store.home.root), "freed": freed}) if as_json else print(f"{store.home.root}: {size(freed)} freed")
