"""What the browser shows of a page: tables, contrasts and widths."""

from __future__ import annotations

from typing import Any

#: Tables whose caption begins with the argument: rows by column name, cells of a rowspan repeated, numbers unrounded.
TABLES = """(start) => [...document.querySelectorAll('table')]
.filter(t => t.caption.textContent.startsWith(start)).map(t => {
  const names = [...t.tHead.rows[0].cells].map(c => c.textContent);
  let held = null, left = 0;
  return {caption: t.caption.textContent, rows: [...t.tBodies].flatMap(b => [...b.rows]).map(r => {
    let cells = [...r.cells];
    if (left > 0) { cells = [held, ...cells]; left -= 1; }
    else if (cells[0].rowSpan > 1) { held = cells[0]; left = held.rowSpan - 1; }
    return Object.fromEntries(cells.map((c, i) => {
      const data = c.querySelector('data');
      return [names[i], data ? Number(data.value) : c.textContent];
    }));
  })};
})"""

#: Every visible text with its contrast to its background, lowest first. Open all folds before.
CONTRASTS = """() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
  const light = ([r, g, b]) => { const f = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
  const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
  const behind = (e) => { const layers = [];
    for (let at = e; at; at = at.parentElement) {
      const c = parse(getComputedStyle(at).backgroundColor);
      layers.push(c);
      if (c[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]); };
  const texts = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || ['TITLE', 'DESC', 'STYLE'].includes(e.tagName.toUpperCase())) continue;
    if (!e.checkVisibility()) continue;
    const style = getComputedStyle(e);
    const paint = parse(e instanceof SVGElement ? style.fill : style.color);
    const back = behind(e), front = over(paint, back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const text = walk.currentNode.textContent.trim().slice(0, 40);
    texts.push({text, contrast: (a + .05) / (b + .05), classes: e.className.baseVal ?? e.className});
  }
  return texts.sort((x, y) => x.contrast - y.contrast);
}"""

#: Boxes that reach beyond the right edge and are not inside a box that scrolls by itself.
TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll *') && e.checkVisibility()
  && !e.closest('.skip') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 120))"""

OPEN_ALL = "() => document.querySelectorAll('details').forEach(d => d.open = true)"


def tables(page: Any, start: str) -> list[dict[str, Any]]:
    """Caption and rows of the tables whose caption begins with ``start``."""
    matching: list[dict[str, Any]] = page.evaluate(TABLES, start)
    return matching
