"""A file of token counts: Parquet with a row for each token id, and the tokenizer's identity in its metadata."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbridge_metrics import RBridgeError
from rbridge_traces.files import write_file

SUFFIX = ".parquet"
_METADATA = b"rbridge_frequencies"
_VERSION = 1
_SAME_TEXT = 0.9  # of the tokens; normalisers and spaces account for less than the rest
_EXPECTED = 'expected what "rbridge frequencies CORPUS --tokenizer NAME" wrote'


class FrequencyFileError(RBridgeError, ValueError):
    """A file that holds no token counts, or those of another tokenizer. The message is one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


@dataclass(frozen=True)
class TokenizerIdentity:
    """The tokenizer of token ids.

    Attributes:
        name: as the user gave it.
        vocab_size: largest id + 1.
        vocab_sha256: of all tokens and their ids, but for those added to the vocabulary later, such as a padding token.
    """

    name: str
    vocab_size: int
    vocab_sha256: str

    @classmethod
    def of(cls, tokenizer: Any, name: str) -> TokenizerIdentity:
        """The identity of a transformers tokenizer."""
        vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_vocab()
        by_id = sorted((token_id, token) for token, token_id in vocabulary.items() if token not in added)
        lines = "".join(f"{token_id}\t{token}\n" for token_id, token in by_id)
        digest = hashlib.sha256(lines.encode("utf-8", "backslashreplace")).hexdigest()
        return cls(name, max(vocabulary.values(), default=-1) + 1, digest)

    def check(self, tokenizer: Any, name: str) -> None:
        """Refuse a tokenizer with another vocabulary.

        Raises:
            FrequencyFileError: its vocabulary differs.
        """
        other = TokenizerIdentity.of(tokenizer, name)
        if other.vocab_sha256 != self.vocab_sha256:
            raise FrequencyFileError(
                f"token frequencies counted with the tokenizer {self.name} ({self.vocab_size} tokens), but {name} has "
                f"another vocabulary ({other.vocab_size} tokens); count them again with rbridge frequencies CORPUS "
                f"--tokenizer {name}"
            )


@dataclass(frozen=True, eq=False)
class TokenFrequencies:
    """How often each token of a vocabulary occurs in a corpus.

    Attributes:
        tokenizer: whose ids these are.
        counts: shape (vocabulary,).
        tokens: the text of each id, as the tokenizer decodes it.
        texts: how many texts were counted.
        sources: names of the files.
    """

    tokenizer: TokenizerIdentity
    counts: npt.NDArray[np.int64]
    tokens: list[str]
    texts: int
    sources: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 of the counts and the vocabulary; distinguishes tables."""
        return hashlib.sha256(self.tokenizer.vocab_sha256.encode() + self.counts.tobytes()).hexdigest()

    def check_texts(self, spelled: Iterable[tuple[int, str]], where: str) -> None:
        """Refuse token ids of another tokenizer, recognised by the text of each id.

        Args:
            spelled: (token id, characters that it covers in a trace). Parts of characters and white space are ignored.
            where: what to call them in an error.

        Raises:
            FrequencyFileError: more than a tenth of them stand for another text here, or an id is none of these.
        """
        same, wrong = 0, []
        for token_id, characters in spelled:
            if not 0 <= token_id < len(self.tokens):
                raise FrequencyFileError(
                    f"{where} has the token id {token_id}, beyond the {len(self.tokens)} tokens of "
                    f"{self.tokenizer.name}, whose frequencies these are; count them with the tokenizer of that model"
                )
            ours, theirs = self.tokens[token_id].strip().casefold(), characters.strip().casefold()
            if theirs and ours and "\ufffd" not in ours:
                same += ours == theirs
                wrong += [(token_id, ours, theirs)] if ours != theirs else []
        if wrong and same < _SAME_TEXT * (same + len(wrong)):
            token_id, ours, theirs = wrong[0]
            raise FrequencyFileError(
                f"{where} was scored with another tokenizer than {self.tokenizer.name}, whose frequencies these are: "
                f"token {token_id} is {theirs[:20]!r} there and {ours[:20]!r} here; count them with the tokenizer of "
                "that model"
            )


def write_frequencies(frequencies: TokenFrequencies, path: str | Path) -> None:
    """Write the counts atomically; the same counts give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"version": _VERSION, "tokenizer": asdict(frequencies.tokenizer), "texts": frequencies.texts,
             "tokens": int(frequencies.counts.sum()), "sources": frequencies.sources}  # fmt: skip
    table = pa.table(
        {
            "token_id": np.arange(frequencies.counts.size, dtype=np.int32),
            "token": pa.array([token.encode("utf-8", "replace").decode() for token in frequencies.tokens]),
            "count": frequencies.counts,
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_METADATA: json.dumps(about)}), buffer, compression="zstd")
    write_file(path, buffer.getvalue())


def read_frequencies(path: str | Path) -> TokenFrequencies:
    """Read what ``write_frequencies`` wrote, from a local path or any URL fsspec knows.

    Raises:
        FrequencyFileError: no such file, or something else in it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from rbridge_traces import files

    fs, place = files.open_root(str(path))
    try:
        with fs.open(place, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        raise FrequencyFileError(f"there is no file {str(path)!r} of token frequencies; {_EXPECTED}") from None
    except files.refusals() as error:
        raise FrequencyFileError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}; {_EXPECTED}"
        ) from error
    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)  # see rbridge_traces.table
    except (pa.ArrowException, OSError) as error:
        raise FrequencyFileError(f"{path} is not a readable Parquet file ({error}); {_EXPECTED}") from error
    raw = (table.schema.metadata or {}).get(_METADATA)
    if raw is None:
        raise FrequencyFileError(f"{path} holds no token frequencies (columns {table.column_names}); {_EXPECTED}")
    try:
        about = json.loads(raw)
        if about["version"] != _VERSION:
            raise ValueError(f"version {about['version']!r}")  # noqa: TRY301  # as any malformed file
        frequencies = TokenFrequencies(
            TokenizerIdentity(**about["tokenizer"]),
            table["count"].to_numpy().astype(np.int64, casting="safe"),
            table["token"].to_pylist(),
            int(about["texts"]),
            tuple(about["sources"]),
        )
        in_order = np.array_equal(table["token_id"].to_numpy(), np.arange(frequencies.counts.size))
        if not (
            in_order and frequencies.counts.size == frequencies.tokenizer.vocab_size and frequencies.counts.min() >= 0
        ):
            raise ValueError("rows that are not one count a token id")  # noqa: TRY301
    except (ValueError, KeyError, TypeError) as error:
        raise FrequencyFileError(
            f"{path} holds token frequencies that cannot be read ({type(error).__name__}: {error}); {_EXPECTED}"
        ) from error
    if not frequencies.counts.any():
        raise FrequencyFileError(f"{path} has counted no token; {_EXPECTED}")
    return frequencies
