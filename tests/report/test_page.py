"""The page in a browser: no requests, the numbers of the table, phone, dark scheme, print and keyboard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from rbridge_metrics import minmax_weights
from rbridge_tasks.tables.score_table import read_scores

from ..tables.made_scores import invoke
from . import page_reader
from .made_report import HOSTILE, TRACES, samples, score_rows, table, target_rows, token_scores
from .page_reader import tables

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

Opened = Callable[..., "Page"]
PHONE, DESKTOP = (360, 740), (1280, 900)


@dataclass(frozen=True)
class Made:
    """A report and its inputs."""

    path: Path
    table: pd.DataFrame
    fit: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report with every section filled: two runs, one named as a script, a fit, and samples of two checkpoints."""
    folder = tmp_path_factory.mktemp("report")
    rows = score_rows(checkpoints=8)
    scores = table(folder / "scores.parquet", [*rows, *target_rows(rows)])
    invoke(
        "fit", scores, "--proxy-metric", "rbridge_nll", "--target-metric", "acc", "--proxy", "1b", "--target", "13b",
        "-o", folder / "fit.json",
    )  # fmt: skip
    for step, shift in ((1, 0.5), (8, 0.0)):
        scores_of_traces = [token_scores(text, seed, shift=shift) for seed, text in enumerate(TRACES)]
        samples(folder / "out" / str(step), model=f"ckpts/web-1b/step{step}", scores=scores_of_traces)
    page = folder / "report.html"
    invoke("report", scores, folder / "fit.json", "-o", page, "--samples", folder / "out", "--traces", 4)
    return Made(page, read_scores(scores), folder / "fit.json")


@pytest.fixture
def opened(browser: Browser, made: Made) -> Iterator[Opened]:
    """Open the report in a window of given size and colour scheme; requests, messages and dialogs are errors."""
    pages: list[tuple[Page, list[str]]] = []

    def open_page(size: tuple[int, int] = DESKTOP, scheme: str = "light", **options: Any) -> Page:
        viewport = {"width": size[0], "height": size[1]}
        page = browser.new_context(viewport=viewport, color_scheme=scheme, **options).new_page()
        events: list[str] = []
        page.on("console", lambda message: events.append(message.text))
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("request", lambda request: events.append(request.url))
        page.on("dialog", lambda dialog: events.append(dialog.message))
        page.goto(made.path.as_uri())
        pages.append((page, events))
        return page

    yield open_page
    for page, events in pages:
        assert events == [made.path.as_uri()]
        page.context.close()


def test_it_fetches_nothing_and_prints_no_message(opened: Opened, made: Made) -> None:
    """The only request is the file itself; there are no scripts and external addresses; title and language are set."""
    page = opened()
    assert page.title() == "rBridge report: scores.parquet"
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.scripts.length") == 0
    addresses = (
        "[...document.querySelectorAll('[src],[href]')].map(e => e.getAttribute('src') ?? e.getAttribute('href'))"
    )
    assert all(address.startswith("#") or address == "data:," for address in page.evaluate(addresses))
    assert "@import" not in made.path.read_text()
    assert "url(" not in made.path.read_text()


def test_hostile_names_and_traces_are_text(opened: Opened) -> None:
    """A run named as a script and a trace with tags appear as text; control characters are written as escapes."""
    page = opened()
    page.evaluate(page_reader.OPEN_ALL)
    assert page.evaluate("document.querySelectorAll('script, main i, main b').length") == 0
    assert HOSTILE in page.inner_text("main")
    shown = page.eval_on_selector_all(".text", "all => all.map(e => e.textContent)")
    assert sorted(shown) == sorted(text.replace("\r", r"\x0d").replace("\x07", r"\x07") for text in TRACES)


def test_every_number_is_that_of_the_table(opened: Opened, made: Made) -> None:
    """Last value, change, standard error, items and tokens of every metric and run, and all points of the charts."""
    page = opened()
    names = {"web 1.2B": ("web", 1.2e9), "web 13B": ("web", 13e9)}
    names |= {f"{HOSTILE} {size}": (HOSTILE, params) for size, params in (("1.2B", 1.2e9), ("13B", 13e9))}
    names |= {"web": ("web", 1.2e9), HOSTILE: (HOSTILE, 1.2e9)}
    checked = 0
    for shown in tables(page, "Every metric of "):
        benchmark = shown["caption"].split()[3]
        for row in shown["rows"]:
            run, params = names[row["run"]]
            scores = made.table
            scores = scores[(scores["run"] == run) & (scores["params"] == params) & (scores["benchmark"] == benchmark)]
            scores = scores[scores["metric"] == row["metric"]].sort_values("tokens")
            last = scores.iloc[-1]
            assert row["last"] == last["value"]
            assert row["change"] == pytest.approx(last["value"] - scores["value"].iloc[0], rel=1e-5)
            assert row["at tokens"] == last["tokens"]
            assert row["std. error"] == ("–b" if math.isnan(last["stderr"]) else last["stderr"])
            assert row["n"] == ("–e" if math.isnan(last["n"]) else last["n"])
            assert row["better"] == {"trace_bits_per_byte": "lower", "rbridge_nll": "lower", "surprise": "–d"}.get(
                row["metric"], "higher"
            )
            checked += 1
    last_rows = made.table.drop_duplicates(["run", "params", "benchmark", "metric"])
    assert checked == len(last_rows)
    nll = made.table[made.table["metric"] == "rbridge_nll"]
    points = {(*names[row["run"]][:1], row["tokens"], row["rbridge_nll"], row["standard error"])
              for shown in tables(page, "rbridge_nll of ") for row in shown["rows"]}  # fmt: skip
    assert points == set(nll[["run", "tokens", "value", "stderr"]].itertuples(index=False, name=None))


def test_predictions_and_the_verdict_are_those_of_the_fit(opened: Opened, made: Made) -> None:
    """Accuracies and intervals of rbridge predict, and the verdict whether the proxy beats the baselines."""
    import json

    from rbridge_tasks.decisions.fit_file import load_fit

    page = opened()
    (shown,) = tables(page, "Predicted accuracy of the target")
    expected = load_fit(made.fit).predict(made.table).groups
    last = {
        (group.name, row["run"]): row
        for group in expected
        for row in group.rows.sort_values("tokens").to_dict("records")
    }  # fmt: skip
    assert len(shown["rows"]) == 4
    for row in shown["rows"]:
        prediction = last[row["benchmark"], row["run"]]
        assert row["predicted %"] == pytest.approx(prediction["predicted_accuracy_pct"], rel=1e-5)
        assert row["90\N{NO-BREAK SPACE}% interval"] == f"{prediction['low_pct']:.1f} to {prediction['high_pct']:.1f}"
        assert row["proxy score"] == prediction["value"]
    for fit in json.loads(made.fit.read_text())["fits"]:
        assert fit["cross_validation"]["verdict"] in page.inner_text("#accuracy")
    assert "log(tokens)" in page.inner_text("#accuracy table >> nth=-1")


def test_charts_have_names_descriptions_and_tables(opened: Opened) -> None:
    """Every chart is an image with a title and a description, and has a folded table of its numbers."""
    page = opened()
    charts = page.eval_on_selector_all(
        "svg.chart",
        """all => all.map(e => [e.getAttribute('role'), e.closest('figure').querySelectorAll('details table').length,
        ...e.getAttribute('aria-labelledby').split(' ').map(id => document.getElementById(id).textContent.trim())])""",
    )
    assert len(charts) >= 8
    for role, folded, title, description in charts:
        assert (role, folded) == ("img", 1)
        assert title
        assert description
    assert page.evaluate("[...document.querySelectorAll('[id]')].length") == page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size"
    )
    for has_caption, has_scopes in page.eval_on_selector_all(
        "table", "all => all.map(t => [!!t.caption, [...t.querySelectorAll('th')].every(h => h.scope)])"
    ):
        assert has_caption
        assert has_scopes


def _tooltip(page: Page, selector: str) -> str:
    return str(page.evaluate("s => getComputedStyle(document.querySelector(s), '::after').content", selector))


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_hover_focus_and_tap_show_what_a_token_costs(opened: Opened, size: tuple[int, int]) -> None:
    """The tooltip of a token shows its text, NLL, confidence and weight, inside the window; before, it is hidden."""
    page = opened(size, has_touch=True)
    page.evaluate(page_reader.OPEN_ALL)
    place = next(at for at, text in enumerate(page.eval_on_selector_all(".text", "all => all.map(e => e.textContent)"))
                 if text.startswith("Amina"))  # fmt: skip
    box = page.locator(".text").nth(place)
    scores, before = token_scores(TRACES[0], 0), token_scores(TRACES[0], 0, shift=0.5)
    weights = minmax_weights(scores.confidence)
    assert box.locator("span").count() == scores.token_end.size
    for at, way in ((0, "hover"), (5, "focus"), (scores.token_end.size - 1, "tap")):
        token = box.locator("span").nth(at)
        token.evaluate("e => e.id = 'now'")
        assert _tooltip(page, "#now") == "none"
        getattr(token, way)()
        start, end = int(scores.token_start[at]), int(scores.token_end[at])
        tooltip = _tooltip(page, "#now").strip('"').replace("\N{NO-BREAK SPACE}", " ")
        assert tooltip.startswith(f"“{TRACES[0][start:end]}” NLL {scores.nll[at]:.2f} (was {before.nll[at]:.2f})")
        assert f"confidence {scores.confidence[at]:.2f} · weight {weights[at]:.2f}" in tooltip  # type: ignore[index]
        assert tooltip.endswith(f"weight × NLL {weights[at] * scores.nll[at]:.2f}")
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        token.evaluate("e => { e.removeAttribute('id'); e.blur(); }")
        page.mouse.move(0, 0)


def test_the_keyboard_reaches_tokens_and_can_pass_them(opened: Opened) -> None:
    """From the link before a trace, Tab goes to the first token; the link itself skips the trace."""
    page = opened()
    page.locator(".trace .skip").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('.text span')")
    assert _tooltip(page, ".text span:focus") != "none"
    page.locator(".trace .skip").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert not page.evaluate("!!document.activeElement.closest('.text')")


def test_worst_and_most_changed_tokens_are_those_of_the_samples(opened: Opened) -> None:
    """The first row is the token with the largest weight × NLL; changes are relative to the first checkpoint."""
    page = opened()
    traces = [token_scores(text, seed) for seed, text in enumerate(TRACES)]
    costs = [minmax_weights(trace.confidence) * trace.nll for trace in traces]
    largest = max(float(cost.max()) for cost in costs)
    (worst,) = tables(page, "Worst tokens of gsm8k")
    assert worst["rows"][0]["weight × NLL"] == pytest.approx(largest, rel=1e-5)
    (better,) = tables(page, "Most improved since web at 500B tokens")
    for row in better["rows"]:
        assert row["change"] == pytest.approx(-0.5 * row["weight"], rel=1e-3)
    assert not tables(page, "Most worsened")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(opened: Opened, scheme: str) -> None:
    """At least 4.5 to 1, also in charts and on coloured tokens."""
    page = opened(DESKTOP, scheme)
    page.evaluate(page_reader.OPEN_ALL)
    contrasts = page.evaluate(page_reader.CONTRASTS)
    assert len(contrasts) > 300
    assert contrasts[0]["contrast"] >= 4.5, contrasts[:5]
    assert {"s1", "s3", "s5"} <= {text["classes"] for text in contrasts}


def test_a_phone_shows_it_without_scrolling_sideways(opened: Opened) -> None:
    """At a width of 360 pixels with all folds open nothing is wider than the window; wide tables scroll in boxes."""
    page = opened(PHONE)
    page.evaluate(page_reader.OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert page.evaluate(page_reader.TOO_WIDE) == []
    smallest = """all => Math.min(...all.map(e => parseFloat(getComputedStyle(e).fontSize) *
        e.ownerSVGElement.getBoundingClientRect().width / e.ownerSVGElement.viewBox.baseVal.width))"""
    assert page.eval_on_selector_all(".chart text", smallest) >= 11


def test_it_prints_on_white_paper(opened: Opened) -> None:
    """A PDF of several pages with white background, also in the dark scheme; no table is wider than the page."""
    page = opened((680, 900), "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    too_wide = (
        "[...document.querySelectorAll('table')].filter(t => t.checkVisibility() && t.offsetWidth > innerWidth).length"
    )
    assert page.evaluate(too_wide) == 0
    assert not page.is_visible("nav")
    data = page.pdf(format="A4")
    assert data.startswith(b"%PDF")
    assert data.count(b"/Type /Page\n") + data.count(b"/Type /Page/") + data.count(b"/Type/Page/") >= 3
