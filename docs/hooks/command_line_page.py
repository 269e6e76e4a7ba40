"""A mkdocs hook that generates the reference page of the ``rbridge`` command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

PAGE = "reference/commands.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated page to the site."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=command_line_page()))
    return files


def command_line_page() -> str:
    """Every command with its arguments and options, as Markdown from typer's documentation generator."""
    import typer
    from typer.cli import get_docs_for_click

    from rbridge_tasks.cli import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="rbridge")
    text: str = get_docs_for_click(obj=command, ctx=context, name="rbridge", title="The rbridge command")
    text = re.sub(r"^\* `--(?:install|show)-completion`.*\n", "", text, flags=re.M)
    return re.sub(r"^Example: (.*)$", r"Example: `\1`", text, flags=re.M)
