"""A griffe extension that prepares our docstrings for the reference pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from griffe import Extension

if TYPE_CHECKING:
    from griffe import Object

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)
_SHARED_ENTRY = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +.*)*)", re.M)


class DocstringStyle(Extension):
    """Put every run of ``>>>`` lines into a code block, and split entries that describe several arguments."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of each loaded object."""
        if obj.docstring:
            text = _SHARED_ENTRY.sub(_split, obj.docstring.value)
            obj.docstring.value = _EXAMPLE.sub(r"```python\n\g<0>\n```", text)


def _split(entry: re.Match[str]) -> str:
    indent, names, text = entry.groups()
    first, *rest = names.split(", ")
    return f"{indent}{first}: {text}" + "".join(f"\n{indent}{name}: see ``{first}``." for name in rest)
