"""The documentation site builds without a network and without a warning, and needs no other site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .documents import PROJECT

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Links, loaded resources and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        if tag in ("script", "img", "iframe") and "src" in attributes:
            self.loaded.append(attributes["src"])
        if tag == "link" and attributes.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.loaded.append(attributes["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with --strict and without a network."""
    out = tmp_path_factory.mktemp("site") / "site"
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=PROJECT, env=os.environ | nowhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Every page of the site, by its file."""
    return {file: Page(file.read_text(encoding="utf-8")) for file in site.rglob("*.html")}


def test_every_internal_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """The target is a file of the site, and its fragment is an anchor of that page."""
    broken = []
    for file, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc or file.name == "404.html":
                continue
            target = (file.parent / unquote(url.path)).resolve() if url.path else file
            if not target.exists():
                broken.append(f"{file.relative_to(site)}: {link}")
            elif url.fragment and target in pages and unquote(url.fragment) not in pages[target].anchors:
                broken.append(f"{file.relative_to(site)}: {link} (no such place)")
    assert not broken


def test_no_resource_is_loaded_from_another_site(pages: dict[Path, Page]) -> None:
    """Scripts, styles, fonts and images are files of the site."""
    assert not [source for page in pages.values() for source in page.loaded if urlsplit(source).netloc]


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    """The reference page is generated from the command and has all its options."""
    import typer

    from rbridge_tasks.cli import app

    text = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    for name, subcommand in command.commands.items():  # type: ignore[attr-defined]  # a group of commands
        assert f"<code>rbridge {name}</code>" in text
        for parameter in subcommand.params:
            for option in parameter.opts:
                assert not option.startswith("--") or option in text, f"{name} {option}"


def test_examples_in_docstrings_are_code(site: Path) -> None:
    """Markdown would otherwise read ``>>>`` as quotations."""
    text = (site / "reference" / "metrics.html").read_text(encoding="utf-8")
    assert re.search(r'<div class="highlight"><pre>.*?&gt;&gt;&gt;', text, re.S)
    assert not re.search(r"<blockquote>\s*<blockquote>", text)


def test_every_page_is_in_the_navigation() -> None:
    """Every page of docs/ is in mkdocs.yml."""
    text = (PROJECT / "mkdocs.yml").read_text(encoding="utf-8")
    docs = PROJECT / "docs"
    for page in docs.rglob("*.md"):
        assert f": {page.relative_to(docs).as_posix()}\n" in text
