"""Imports go one way through the house: pipelines, fastssl, launchers, benchmarks."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ["pipelines", "fastssl", "launchers", "benchmarks"]


def imported_rooms(path: Path) -> set[str]:
    """The top-level names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_runs_back(room: str) -> None:
    forbidden = {*ROOMS[ROOMS.index(room) + 1 :], "tests"}
    back = {str(path): imported_rooms(path) & forbidden for path in files(room)}
    assert not {path: names for path, names in back.items() if names}


def test_imports_are_absolute() -> None:
    """A relative import would slip past the test above."""
    relative = [
        f"{path}:{node.lineno}"
        for room in ROOMS
        for path in files(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_the_walk_sees_an_arrow_that_runs_back(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from launchers.job import run\n    return run\n")
    assert "launchers" in imported_rooms(path)
