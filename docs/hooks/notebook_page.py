"""A mkdocs hook that shows ``examples/notebook.ipynb`` as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PAGE = "notebook.md"
NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=notebook_page(NOTEBOOK.read_text(encoding="utf-8"))))
    return files


def notebook_page(notebook: str) -> str:
    """The Markdown cells of a notebook, and its code cells as code blocks.

    >>> cells = [{"cell_type": "markdown", "source": ["# Title"]}, {"cell_type": "code", "source": ["1 + 1"]}]
    >>> print(notebook_page(json.dumps({"cells": cells})))
    # Title
    <BLANKLINE>
    ```python
    1 + 1
    ```
    """
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts)
