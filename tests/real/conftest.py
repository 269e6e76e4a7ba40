"""Real data from a folder beside the project: traces of GPT-4o-mini and the tokenizers of real models."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"

sys.path.insert(0, str(PROJECT / "examples"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data; tests that need it are skipped if it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the real data is not at {DATA}")
    return DATA


@pytest.fixture(scope="session")
def paper() -> Path:
    """Folder of the numbers read from the paper; tests that need it are skipped if it is absent."""
    folder = DATA.parent / "paper"
    if not folder.is_dir():
        pytest.skip(f"the paper's numbers are not at {folder}")
    return folder


TOKENIZERS = ("gpt-neox", "olmo", "gpt2", "sentencepiece")


@pytest.fixture(scope="session", params=TOKENIZERS)
def real_tokenizer(request: pytest.FixtureRequest, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The tokenizers of GPT-NeoX-20B, OLMo 2, GPT-2 and Mistral 7B (SentencePiece with byte fallback)."""
    return load_tokenizer(request.param, data, tmp_path_factory.mktemp(request.param))


def load_tokenizer(name: str, data: Path, folder: Path) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer
    from transformers import GPT2Tokenizer, LlamaTokenizer, PreTrainedTokenizerFast

    source = data / "tokenizers"

    def unpack(packed: str, to: str) -> str:
        (folder / to).write_bytes(gzip.decompress((source / packed).read_bytes()))
        return str(folder / to)

    if name == "sentencepiece":
        (folder / "tokenizer.model").write_bytes((source / "mistral_v1_sentencepiece.model").read_bytes())
        return LlamaTokenizer.from_pretrained(folder)
    if name == "gpt2":
        unpack("gpt2_encoder.json.gz", "vocab.json")
        unpack("gpt2_vocab.bpe.gz", "merges.txt")
        return GPT2Tokenizer.from_pretrained(folder)
    packed = {
        "gpt-neox": "gpt-neox-20b_tokenizer.json.gz",
        "olmo": "olmo_dolma2_tokenizer.json.gz",
        "olmo1": "olmo_gpt-neox-olmo-dolma-v1_5_tokenizer.json.gz",
    }[name]
    tokenizer = Tokenizer.from_file(unpack(packed, "tokenizer.json"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
