"""The command tree and the public names are written down once; a change is seen, and renewed on purpose."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from tsgb.cli.main import app

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
Matches = Callable[[str, Path], None]


def command_lines(command: Any, path: str) -> Iterator[str]:
    """One line a command, with its options and arguments."""
    names = (name if name.startswith("-") else name.upper() for one in command.params for name in one.opts)
    yield " ".join([path, *names])
    for name, child in getattr(command, "commands", {}).items():
        yield from command_lines(child, f"{path} {name}")


def documented(text: str) -> Iterator[list[str]]:
    """The words of every `tsgb` line in the blocks of a page, comments and what comes out of a shell left out."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^(?:\$ )?tsgb (.*)$", re.sub(r"\$\(.*?\)", "N", block), flags=re.MULTILINE):
            yield shlex.split(line, comments=True)


def misspelt(words: list[str]) -> list[str]:
    """The options in a line that its command has not, or the word where a command was expected."""
    command: Any = get_command(app)
    for depth, word in enumerate(words):
        children = getattr(command, "commands", None)
        if not children:
            options = {name for one in command.params for name in one.opts} | {"--help"}
            return [each for each in words[depth:] if each.startswith("--") and each.partition("=")[0] not in options]
        if word.startswith("--"):
            return []
        if word != "COMMAND" and word not in children:
            return [word]
        command = children.get(word, command)
    return []


def public_names(path: Path) -> Iterator[str]:
    """The public functions, classes and constants that a module defines, as dotted names."""
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        yield from (f"{module}.{name}" for name in _defined(node) if not name.startswith("_"))


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_the_command_tree_is_the_one_written_down(matches_file: Matches) -> None:
    matches_file("\n".join(command_lines(get_command(app), "tsgb")) + "\n", HERE / "cli_tree.txt")


def test_every_line_of_the_documentation_is_a_command() -> None:
    pages = [SOURCE.parent / "README.md", *(SOURCE.parent / "docs").glob("*.md")]
    lines = [words for page in pages for words in documented(page.read_text(encoding="utf-8"))]
    assert len(lines) > 20
    assert [(words, wrong) for words in lines if (wrong := misspelt(words))] == []


def test_the_public_names_are_the_ones_written_down(matches_file: Matches) -> None:
    names = sorted(name for path in SOURCE.rglob("*.py") for name in public_names(path))
    matches_file("\n".join(names) + "\n", HERE / "public_names.txt")
