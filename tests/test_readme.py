"""The README shows every file with the first sentence of its docstring. Rewrite that: python -m tests.test_readme."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src/actionparty"
ORDER = (
    *("worlds", "data", "model", "engines", "training", "rollout", "environment", "performance", "evaluation"),
    "interfaces",
)
START, END = "src/actionparty/\n", "  weights/starter/"
COLUMN = 26


def tagline(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[a-z)`0-9])\. ", text)[0].rstrip(".")


def lines(folder: Path, depth: int) -> list[str]:
    """Return the lines of a package: its files, then the packages in it."""
    pad = "  " * depth
    files = [path for path in sorted(folder.glob("*.py")) if path.name != "__init__.py"]
    found = [f"{pad}{path.name:<{COLUMN - len(pad)}}{tagline(path)}" for path in files]
    inner = [path.parent for path in folder.glob("*/__init__.py")]
    for sub in sorted(inner, key=lambda p: (ORDER.index(p.name) if p.name in ORDER else 99, p.name)):
        found += [f"{pad}{sub.name + '/':<{COLUMN - len(pad)}}{tagline(sub / '__init__.py')}", *lines(sub, depth + 1)]
    return found


def tree() -> str:
    return "\n".join(lines(PACKAGE, 1)) + "\n"


def readme() -> tuple[str, str, str]:
    """Return what stands before the tree, the tree, and what stands after it."""
    text = (ROOT / "README.md").read_text()
    start = text.index(START) + len(START)
    end = text.index(END)
    return text[:start], text[start:end], text[end:]


def test_the_readme_shows_every_file_and_what_it_is() -> None:
    assert readme()[1] == tree()


def test_the_readme_leads_with_exactly_two_commands() -> None:
    blocks = re.findall(r"```\n(.*?)```", readme()[0], re.S)
    commands = [line.split("#")[0].strip() for line in blocks[0].strip().splitlines()]
    assert len(commands) == 2
    assert commands[1] == "python3 run.py test"
    assert commands[0].startswith("python3 run.py ")


if __name__ == "__main__":
    before, _, after = readme()
    (ROOT / "README.md").write_text(before + tree() + after)
