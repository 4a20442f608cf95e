"""A link as a QR code: blocks for a terminal, or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.errors import ReleaseError
from mistral7b.release.extra import needed_for

if TYPE_CHECKING:
    from segno import QRCode

_QUIET = 4  # modules of light around the code, without which cameras miss it (ISO 18004)
# Two rows of modules in one line of text: (upper is dark, lower is dark) -> what is drawn in the colour of the dark ones.
_BLOCKS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def blocks(link: str, *, dark_on_light: bool) -> list[str]:
    """Lines of half blocks. `dark_on_light` where text is printed darker than what is behind it; most terminals are the other
    way round, and there the light modules are the ones that are drawn. Raises ReleaseError for a link too long for a code."""
    rows = [[bool(module) for module in row] for row in _code(link).matrix_iter(border=_QUIET)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    drawn = [[module == dark_on_light for module in row] for row in rows]
    return [
        "".join(_BLOCKS[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(drawn[::2], drawn[1::2], strict=True)
    ]


def write_qr(link: str, path: Path, *, scale: int = 6) -> None:
    """Writes a picture, of the kind that the name `path` ends with, .svg or .png; `scale` pixels a module. Raises OSError."""
    _code(link).save(str(path), scale=scale, border=_QUIET)


def _code(link: str) -> QRCode:
    with needed_for("a QR code"):
        import segno
    try:
        return segno.make_qr(link, error="l", boost_error=False)
    except segno.DataOverflowError:
        raise ReleaseError(
            f"a link of {len(link):,} characters is too long for a QR code; give fewer trackers or seeds"
        ) from None
