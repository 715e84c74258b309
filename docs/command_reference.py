"""MkDocs hook: write the command reference from the command itself, so that it cannot go stale."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer import Context
from typer.cli import get_docs_for_click
from typer.main import get_command

from harness.cli.app import app


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page `commands.md`."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command, info_name="bench"), name="bench")
    title = "# Command reference\n\nThis page is generated from `bench --help`.\n\n"
    files.append(File.generated(config, "commands.md", content=title + text.partition("\n")[2]))
    return files
