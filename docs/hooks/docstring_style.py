"""An extension of griffe: our docstrings as the reference wants them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Object

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)
_TOGETHER = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.M)


class DocstringStyle(Extension):
    """Give every run of ``>>>`` lines a block of its own, and arguments that are described together an entry each."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of each object as it is loaded."""
        if obj.docstring:
            text = _TOGETHER.sub(_apart, obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(r"```python\n\g<0>\n```", text)


def _apart(entry: re.Match[str]) -> str:
    indent, names, text = entry.groups()
    first, *others = names.split(", ")
    return f"{indent}{first}: {text}" + "".join(f"\n{indent}{name}: see ``{first}``." for name in others)
