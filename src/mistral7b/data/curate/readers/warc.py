"""Web archives: the main text of each HTML page of a WARC file (by trafilatura), and the text records of WET files.

Pages come in the order of the archive and each is looked at alone, so that the result does not depend on who read what
before: trafilatura's own deduplication, which remembers earlier pages, is off.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mistral7b.data.curate.readers.raw import Bad, Found, Raw
from mistral7b.data.curate.recipe import Source
from mistral7b.errors import DataError

LARGEST = 5_000_000  # bytes of a page that are worth parsing
_CHARSET = re.compile(rb"charset=[\"']?([\w\-]+)", re.IGNORECASE)


def read(path: Path, name: str, source: Source, part: int, parts: int) -> Found:  # noqa: ARG001 all readers are called alike
    """Records `part`, `part + parts`, ... of the archive, counted from 1; records that are no pages are no documents."""
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    try:
        with path.open("rb") as file:
            for number, record in enumerate(ArchiveIterator(file), start=1):
                if (number - 1) % parts != part or record.rec_type not in ("response", "resource", "conversion"):
                    continue
                where, url = f"{name}:{number}", record.rec_headers.get_header("WARC-Target-URI") or ""
                payload = record.content_stream().read(LARGEST + 1)
                kind = _content_type(record)
                if record.rec_type == "conversion" or kind.startswith("text/plain"):
                    yield Raw(_decoded(payload, kind), where, {"url": url}, number)
                elif "html" in kind:
                    yield _page(payload, kind, where, url, number)
    except (ArchiveLoadFailed, EOFError) as error:
        raise DataError(f"{path}: not a whole web archive ({error}); fetch it again") from None


def _content_type(record: object) -> str:
    headers = getattr(record, "http_headers", None) or record.rec_headers  # type: ignore[attr-defined] # warcio's record
    return str(headers.get_header("Content-Type") or "").lower()


def _page(payload: bytes, kind: str, where: str, url: str, number: int) -> Raw | Bad:
    from trafilatura import extract

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # a page without text is told here, once
    if len(payload) > LARGEST:
        return Bad(where, f"a page of more than {LARGEST:,} bytes")
    text = extract(_decoded(payload, kind), include_comments=False, favor_precision=True, deduplicate=False)
    return Raw(text, where, {"url": url}, number) if text else Bad(where, "a page without a main text")


def _decoded(payload: bytes, kind: str) -> str:
    """By the header's charset, else the page's own, else UTF-8; what does not fit becomes U+FFFD."""
    named = _CHARSET.search(kind.encode()) or _CHARSET.search(payload[:2048])
    try:
        return payload.decode(named[1].decode() if named else "utf-8", errors="replace")
    except LookupError:
        return payload.decode("utf-8", errors="replace")
