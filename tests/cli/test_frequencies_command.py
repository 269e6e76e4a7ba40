"""``rbridge frequencies`` counts every token of every text once, for any number of processes."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbridge_tasks.frequencies import corpus as corpus_module
from rbridge_tasks.frequencies import counting
from rbridge_tasks.frequencies.corpus import corpus_texts
from rbridge_tasks.frequencies.frequency_file import FrequencyFileError, TokenizerIdentity, read_frequencies

from ..support import corpus
from ..tables.made_scores import as_json
from .conftest import Refused


def by_hand(tokenizer: Any, texts: list[str]) -> Counter[int]:
    """Count tokens by a loop over texts."""
    counts: Counter[int] = Counter()
    for text in texts:
        counts.update(tokenizer(text, add_special_tokens=False)["input_ids"])
    return counts


def documents() -> list[str]:
    """Return a few hundred texts, including an empty one and one with characters of four bytes."""
    return [*(f"{text} {number}" for number, text in enumerate([*corpus()][:200])), "Ü😀한국어", ""]


def as_files(folder: Path, texts: list[str]) -> Path:
    """Write a share of the texts into each supported kind of file."""
    folder.mkdir()
    shares = [texts[at::6] for at in range(6)]
    lines = ["".join(json.dumps({"id": 1, "text": text}) + "\n" for text in share) for share in shares]
    (folder / "a.jsonl").write_text(lines[0])
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines[1].encode()))
    with pa.CompressedOutputStream(str(folder / "c.jsonl.zst"), "zstd") as file:
        file.write(lines[2].encode())
    pq.write_table(pa.table({"id": range(len(shares[3])), "text": shares[3]}), folder / "d.parquet", row_group_size=7)
    (folder / "sub").mkdir()
    pq.write_table(pa.table({"text": [*shares[4], None]}), folder / "sub" / "e.parquet")
    (folder / "f.ndjson").write_text(lines[5])
    (folder / "ignored.bin").write_bytes(b"\xff\x00")
    return folder


def test_every_kind_of_file_is_counted(tmp_path: Path, checkpoint: Path, tokenizers: dict[str, Any]) -> None:
    """The counts are those of a loop over the texts, without special tokens; the file names the tokenizer."""
    folder = as_files(tmp_path / "corpus", documents())
    output = tmp_path / "f.parquet"
    summary = as_json("frequencies", folder, "--tokenizer", checkpoint, "-o", output, "--processes", 1)
    expected = by_hand(tokenizers["bos"], documents())
    read = read_frequencies(output)
    assert {token: int(count) for token, count in enumerate(read.counts) if count} == dict(expected)
    assert summary["tokens"] == expected.total()
    assert summary["texts"] == len([text for text in documents() if text])
    assert summary["vocabulary"] == len(tokenizers["bos"])
    assert read.tokenizer == TokenizerIdentity.of(tokenizers["bos"], str(checkpoint))
    assert [read.tokens[at] for at in range(300, 320)] == [tokenizers["bos"].decode([at]) for at in range(300, 320)]


def test_a_file_that_is_named_twice_is_counted_once(tmp_path: Path, checkpoint: Path) -> None:
    """Also where its folder is named beside it, in another spelling; and a lone surrogate in JSON is a character."""
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text('{"text": "one \\ud83d two"}\n')
    known = ("--tokenizer", checkpoint, "-o", tmp_path / "f.parquet")
    once = as_json("frequencies", tmp_path / "corpus", *known)
    again = tmp_path / "corpus" / ".." / "corpus" / "a.jsonl"
    assert as_json("frequencies", tmp_path / "corpus", f"{again.parent}/./{again.name}", *known) == once
    assert once["texts"] == 1


@pytest.mark.slow
def test_the_file_does_not_depend_on_the_number_of_processes(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has the same bytes for one or two processes and for small or large batches."""
    folder = as_files(tmp_path / "corpus", documents())
    written = []
    for processes, characters in ((1, 1 << 20), (2, 20_000), (1, 500)):
        monkeypatch.setattr(counting, "CHARACTERS_AT_ONCE", characters)
        output = tmp_path / f"{processes}_{characters}.parquet"
        as_json("frequencies", folder, "--tokenizer", checkpoint, "-o", output, "--processes", processes)
        written.append(output.read_bytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_the_pieces_of_a_text_file_join_to_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str
) -> None:
    """Files are cut at line ends if possible, else at spaces, never within a character; no text is lost or repeated."""
    monkeypatch.setattr(corpus_module, "_PIECE", 64)
    text = "\ufeffA line of Ü and 😀.\n" * 40 + "words without an end " * 20 + "한" * 200 + "\n\nthe end"
    path = tmp_path / f"a.txt{packed}"
    if packed == ".zst":
        with pa.CompressedOutputStream(str(path), "zstd") as file:
            file.write(text.encode())
    else:
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    pieces = [*corpus_texts(str(path), "text")]
    assert "".join(pieces) == text.removeprefix("\ufeff")
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 3 * 64
    assert all(piece.endswith("\n") for piece in pieces[:8])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"body": "x"}\n', "row 1 has no 'text' (it has body); name the field"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', "row 2 has text 3; name the field"),
        ("a.jsonl", b'{"text": "x"\n', "is not JSON"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 999)[:-20], "damaged gzip"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfdnothing", "cannot read"),
        ("a.txt", b"", "no tokens in"),
        ("a.txt", b"caf\xe9 au lait", "is not UTF-8 text"),
        ("a.parquet", b"PAR1 no", "is not a readable Parquet file"),
    ],
)
def test_a_corpus_that_cannot_be_read_is_one_line(
    tmp_path: Path, checkpoint: Path, refused: Refused, name: str, content: bytes, message: str
) -> None:
    """The error names the file, the row and the remedy; no output is written."""
    (tmp_path / name).write_bytes(content)
    line = refused("frequencies", tmp_path / name, "--tokenizer", checkpoint, "-o", tmp_path / "f.parquet")
    assert message in line
    assert not (tmp_path / "f.parquet").exists()


def test_wrong_arguments_are_one_line(tmp_path: Path, checkpoint: Path, refused: Refused) -> None:
    """A missing corpus, an empty folder, a missing column, a missing tokenizer and a wrong suffix."""
    (tmp_path / "a.txt").write_text("a text")
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    (tmp_path / "empty").mkdir()
    known = ("--tokenizer", checkpoint, "-o", tmp_path / "f.parquet")
    assert "there is no file or folder" in refused("frequencies", tmp_path / "nowhere", *known)
    assert "no corpus in" in refused("frequencies", tmp_path / "empty", *known)
    assert "has no column 'text' (it has body)" in refused("frequencies", tmp_path / "a.parquet", *known)
    command = ("frequencies", tmp_path / "a.txt")
    assert "cannot load the tokenizer" in refused(*command, "--tokenizer", "no/where", "-o", tmp_path / "f.parquet")
    assert "is written as .parquet" in refused(*command, "--tokenizer", checkpoint, "-o", tmp_path / "f.csv")


def test_a_file_without_frequencies_is_refused(tmp_path: Path) -> None:
    """A Parquet file of other columns, a text file and a missing file."""
    pq.write_table(pa.table({"count": [1, 2]}), tmp_path / "other.parquet")
    with pytest.raises(FrequencyFileError, match="holds no token frequencies"):
        read_frequencies(tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("token,count")
    with pytest.raises(FrequencyFileError, match="not a readable Parquet file"):
        read_frequencies(tmp_path / "text.parquet")
    with pytest.raises(FrequencyFileError, match="there is no file"):
        read_frequencies(tmp_path / "none.parquet")


@pytest.mark.parametrize("change", ["fewer", "order", "negative", "nothing", "version"])
def test_a_changed_file_is_refused(tmp_path: Path, checkpoint: Path, change: str) -> None:
    """Missing or reordered rows would assign frequencies to the wrong tokens."""
    (tmp_path / "a.txt").write_text("a text")
    as_json("frequencies", tmp_path / "a.txt", "--tokenizer", checkpoint, "-o", tmp_path / "f.parquet")
    table = pq.read_table(tmp_path / "f.parquet")
    counts = table["count"].to_numpy()
    changed = {
        "fewer": table.slice(0, 100),
        "order": table.take(np.arange(table.num_rows)[::-1]),
        "negative": table.set_column(2, "count", pa.array(counts - 1)),
        "nothing": table.set_column(2, "count", pa.array(counts * 0)),
        "version": table.replace_schema_metadata(
            {name: value.replace(b'"version": 1', b'"version": 9') for name, value in table.schema.metadata.items()}
        ),
    }[change]
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata) if change != "version" else changed,
                   tmp_path / "changed.parquet")  # fmt: skip
    with pytest.raises(FrequencyFileError, match="expected what"):
        read_frequencies(tmp_path / "changed.parquet")


def test_tokens_added_later_do_not_make_another_tokenizer(tokenizers: dict[str, Any]) -> None:
    """A padding token added by fine-tuning changes no other id; a tokenizer of another vocabulary is refused."""
    from transformers import PreTrainedTokenizerFast

    ours = tokenizers["byte_level"]
    identity = TokenizerIdentity.of(ours, "ours")
    backend = ours.backend_tokenizer
    copy = PreTrainedTokenizerFast(tokenizer_object=type(backend).from_str(backend.to_str()))
    copy.add_special_tokens({"pad_token": "<new pad>"})
    assert len(copy) == len(ours) + 1
    identity.check(copy, "copy")
    with pytest.raises(
        FrequencyFileError, match=r"counted with the tokenizer ours .* but other has another vocabulary"
    ):
        identity.check(tokenizers["byte_fallback"], "other")
