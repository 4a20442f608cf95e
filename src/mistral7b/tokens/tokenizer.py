"""Text to token ids and back, over the SentencePiece files of the v1, v2 and v3 generations (FACTS 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral7b.errors import TokenizerError
from mistral7b.tokens import spm_file
from mistral7b.tokens.spm_file import SPACE
from mistral7b.variants import TokenizerVersion

if TYPE_CHECKING:  # 0.4 s to import: chats pay for it on first use, plain completions and --help never
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

_PUBLISHED: dict[TokenizerVersion, str] = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}
_NAMES = ("tokenizer.model.v3", "tokenizer.model.v2", "tokenizer.model.v1", "tokenizer.model")


class Tokenizer:
    """One SentencePiece file and the generation whose chat template goes with it. Make one with `load` or `published`.

    `decode(encode(text)) == text` for every text, except that U+2581 comes back as the space it spells in pieces.
    """

    unk_id, bos_id, eos_id = spm_file.UNK_BOS_EOS

    def __init__(self, path: Path, version: TokenizerVersion, processor: Any) -> None:
        self.path = path
        self.version: TokenizerVersion = version
        self.vocab_size: int = processor.vocab_size()
        self._processor = processor

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as the name of its file, which another process then loads."""
        return type(self).load, (self.path, self.version)

    @classmethod
    def load(cls, path: Path, version: TokenizerVersion | None = None) -> Tokenizer:
        """The tokenizer in `path`; its generation is `version`, else the suffix of the name, else what the file holds.

        A file without control pieces for [INST] is v1. The files of v2 and of v3 as published with v0.3 are the same, byte
        for byte, so contents cannot tell them apart: without a word from the caller or the name, such a file is v3.
        Raises TokenizerError for a missing or broken file, a Tekken or later file, or contents that contradict the version.
        """
        path = Path(path)
        if path.suffix == ".json":
            raise TokenizerError(f"{path} is not a SentencePiece file; Mistral 7B needs its tokenizer.model (Tekken came later)")
        wanted = version or spm_file.named_version(path)
        processor = spm_file.read(path)
        held = spm_file.held_version(path, processor)
        spm_file.check_reversible(path, processor)
        if wanted is not None and (wanted == "v1") != (held == "v1"):
            raise TokenizerError(f"{path} was to be read as {wanted} but its pieces are those of {held}; name the right version")
        return cls(path, wanted or held, processor)

    @classmethod
    def published(cls, version: TokenizerVersion) -> Tokenizer:
        """The file of that generation as mistral-common ships it; v3 is 240323, which differs from v0.3's only in names."""
        if version not in _PUBLISHED:
            raise TokenizerError(f"there is no published tokenizer {version!r} of Mistral 7B; choose v1, v2 or v3")
        return cls.load(Path(str(files("mistral_common"))) / "data" / _PUBLISHED[version], version)

    def encode(self, text: str, *, bos: bool = False) -> list[int]:
        """Ids of `text`, after one BOS if asked. Text that spells a control token stays text: SentencePiece never reads
        control pieces from it. Raises TokenizerError for a lone surrogate, which no UTF-8 can spell."""
        try:
            ids: list[int] = self._processor.encode(text)
        except RuntimeError:
            raise TokenizerError("the text holds a lone surrogate, which is not Unicode text; remove it") from None
        return [self.bos_id, *ids] if bos else ids

    def encode_many(self, texts: Sequence[str], *, threads: int = 1) -> list[list[int]]:
        """`encode` of each text, on `threads` threads; raises what it raises."""
        try:
            found: list[list[int]] = self._processor.encode(list(texts), num_threads=threads)
        except RuntimeError:
            raise TokenizerError("a text holds a lone surrogate, which is not Unicode text; remove it") from None
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, as SentencePiece decodes them: control ids give no text, the space that encoding put before the
        first piece is dropped, and each byte that is part of no UTF-8 character becomes one U+FFFD."""
        known = [self._known(id) for id in ids]
        text: str = self._processor.decode(known)
        return text

    def piece(self, id: int) -> str:
        """The name of `id` in the vocabulary: "▁Hello", "<0x0A>", "[INST]"."""
        piece: str = self._processor.id_to_piece(self._known(id))
        return piece

    def piece_bytes(self, id: int) -> bytes:
        """The UTF-8 that `id` contributes to a text it does not begin; empty for control ids."""
        piece = self.piece(id)
        if self._processor.is_control(id):
            return b""
        if self._processor.is_byte(id):
            return bytes([int(piece[3:5], 16)])
        if id == self.unk_id:
            return self.decode([id]).encode()  # a sign of its own, not the name "<unk>"
        return piece.replace(SPACE, " ").encode()

    def is_control(self, id: int) -> bool:
        """True for ids that steer the model and give no text: <s>, </s>, [INST] and the like."""
        control: bool = self._processor.is_control(self._known(id))
        return control

    def is_byte(self, id: int) -> bool:
        """True for the 256 pieces that stand for one byte each."""
        byte: bool = self._processor.is_byte(self._known(id))
        return byte

    def control_id(self, name: str) -> int:
        """The id of the control token called `name`, such as "[INST]"; TokenizerError if this generation has none."""
        found: int = self._processor.piece_to_id(name)
        if not self._processor.is_control(found):
            raise TokenizerError(f"{name!r} is no control token of this {self.version} tokenizer ({self.path.name})")
        return found

    @cached_property
    def mistral(self) -> MistralTokenizer[Any, Any, Any, Any, Any]:
        """mistral-common's validator, normaliser and encoder of this generation, over the same file."""
        from mistral_common.protocol.instruct.normalize import get_normalizer
        from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
        from mistral_common.tokens.tokenizers import base, instruct, mistral, sentencepiece

        version = base.TokenizerVersion(self.version)
        encoders = {"v1": instruct.InstructTokenizerV1, "v2": instruct.InstructTokenizerV2, "v3": instruct.InstructTokenizerV3}
        encoder = encoders[self.version](sentencepiece.SentencePieceTokenizer(self.path, version))
        return mistral.MistralTokenizer(encoder, get_validator(version, ValidationMode.serving), get_normalizer(version))

    def _known(self, id: int) -> int:
        if not 0 <= id < self.vocab_size:
            raise TokenizerError(f"token id {id} is outside the vocabulary of {self.vocab_size:,}")
        return int(id)


def find_tokenizer(folder: Path) -> Path | None:
    """The tokenizer file of a model folder, or None if it has none.

    A name that states its generation wins over one that does not, and the later generation over the earlier: v0.3 is
    published with `tokenizer.model.v3` and the same file once more as `tokenizer.model`. Raises TokenizerError where there
    is only a Tekken file.
    """
    folder = Path(folder)
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    if (folder / "tekken.json").is_file():
        raise TokenizerError(f"{folder} has only tekken.json, a later model's tokenizer; Mistral 7B needs its tokenizer.model")
    return None
