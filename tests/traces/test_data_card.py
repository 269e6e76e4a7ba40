"""The card of published traces describes them to people and to the Hub, and escapes all user text."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbridge_traces import TraceCache
from rbridge_traces.data_card import data_card, hub_licence
from rbridge_traces.publish import export, publication

from .published import ABOUT, card_of, front_matter, make_cache


@pytest.fixture
def cache(tmp_path: Path) -> TraceCache:
    """A cache with two sources."""
    return make_cache(tmp_path / "cache")


def test_the_card_says_what_there_is(cache: TraceCache, tmp_path: Path) -> None:
    """The card has models, prompt, licence, origin, counts and checksums of every source, and usage instructions."""
    target = TraceCache(str(tmp_path / "to"))
    export(publication(cache).sources, target)
    card = card_of(target)
    assert front_matter(card)["license"] == "other"  # one licence is known to the Hub, one is not
    assert "| `gsm8k-gpt-4o` | 3 | 2 | 4 | 1 | 2 |" in card
    assert "| `csqa-mine` | 1 | 0 | 0 | 0 | unknown |" in card
    assert "- Licence: unknown" in card
    for text in (
        *(ABOUT[key] for key in ("frontier_model", "prompt", "decoding", "licence", "origin")),
        "rbridge_gsm8k",
    ):
        assert text in card
    for manifest in cache.manifests():
        assert all(digest in card for digest in manifest.files.values())


def test_nothing_in_a_manifest_can_break_the_card(cache: TraceCache) -> None:
    """Markup, code fences, HTML and YAML in a note or prompt stay text, without a heading or a second front matter."""
    sources = [cache.load("gsm8k")]
    card = data_card(sources, place="s3://bucket/it's here")
    values = front_matter(card)
    assert values["license"] == "apache-2.0"
    assert values["configs"][0]["data_files"][0]["path"][0].startswith("gsm8k/gpt-4o/traces-")
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == ["# Reasoning traces for rBridge", "## Use", "## gsm8k from gpt-4o"]
    (line,) = [line for line in card.splitlines() if "<script>" in line]
    assert line.startswith("- Note: ````") and line.endswith("````")  # noqa: PT018
    assert "````text\nSolve {question}\n```\nRespond ONLY with JSON\n````" in card
    assert "pull --from 's3://bucket/it'\"'\"'s here'" in card


@pytest.mark.parametrize(
    ("licence", "known"), [("MIT", "mit"), ("cc by-sa 4.0", "cc-by-sa-4.0"), ("Mine only", "other"), (" ", "unknown")]
)
def test_licences_are_called_what_the_hub_calls_them(licence: str, known: str) -> None:
    """The Hub refuses a push whose licence name it does not know."""
    assert hub_licence(licence) == known


def test_datasets_reads_an_export(cache: TraceCache, tmp_path: Path) -> None:
    """``load_dataset`` finds the rows through the front matter, one configuration each, as the Hub's viewer does."""
    import datasets

    export(publication(cache).sources, TraceCache(str(tmp_path / "to")))
    assert datasets.get_dataset_config_names(str(tmp_path / "to")) == ["gsm8k-gpt-4o", "csqa-mine"]
    options = {"split": "test", "cache_dir": str(tmp_path / "datasets")}
    rows = datasets.load_dataset(str(tmp_path / "to"), "gsm8k-gpt-4o", **options)
    assert rows["item_id"] == ["1", "2", "3"]
    assert rows["spans"] == [[[0, 3]], None, None]
    assert rows["token_end"][0] == [4, 9]
