"""README is true: its file tree names what exists and every source file, its tables are those of the result file."""

from __future__ import annotations

import re
from pathlib import Path

from bench.records import read
from bench.report.picture import picture
from bench.report.readme import TABLES, rewritten

_ROOT = Path(__file__).parents[1]
_CODE = ("engine/semblance", "models", "export", "bench")


def files_in_tree() -> set[str]:
    """The paths that the fenced block under "How it is laid out" names, folders ending in a slash."""
    section = (_ROOT / "README.md").read_text().partition("## How it is laid out")[2]
    block = section.partition("```text\n")[2].partition("```")[0]
    folders: list[str] = []  # the folder that is open at each depth
    found = set()
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.split(r", ", re.split(r"\s{2,}", line.strip())[0]):
            path = "".join(folders[:depth]) + name
            found.add(path)
            if name.endswith("/"):
                folders[depth:] = [name]
    return found


def test_what_the_tree_names_exists() -> None:
    named = files_in_tree()
    assert len(named) > 50
    assert [path for path in sorted(named) if not (_ROOT / path).exists()] == []


def test_every_source_file_is_in_the_tree() -> None:
    named = files_in_tree()
    for folder in _CODE:
        for file in (_ROOT / folder).rglob("*.py"):
            path = file.relative_to(_ROOT).as_posix()
            is_bare_package = file.name == "__init__.py" and path not in named
            assert path in named or is_bare_package, f"{path} is not in README's file tree"


def test_its_tables_and_its_chart_are_made_from_the_result_file_that_it_names() -> None:
    text = (_ROOT / "README.md").read_text()
    (named,) = set(re.findall(r"bench/results/[\w.-]+\.jsonl", text))
    results = read(_ROOT / named)
    assert rewritten(text, results) == (text, [])
    assert {*re.findall(r"<!-- bench:(\S+) -->", text)} == TABLES.keys()
    assert (_ROOT / "docs" / "benchmark.svg").read_text() == picture(results)
