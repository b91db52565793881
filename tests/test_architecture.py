"""Imports go one way: through the houses, and through the rooms (folders and files) of each."""

import ast
from pathlib import Path

import pytest

from tests.helpers import ROOT

HOUSES = ["pipelines", "fastssl", "launchers", "benchmarks"]


def imported_modules(path: Path) -> set[str]:
    """The full names of what a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_houses(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


def files(house: Path) -> list[Path]:
    return sorted(house.rglob("*.py"))


def rooms(house: Path) -> dict[str, set[str]]:
    """For each room of a house, the other rooms of it that its files import.

    A room is a folder with all that is in it, or a file beside the folders.
    """
    names = {path.name if path.is_dir() else path.stem for path in house.iterdir()}
    arrows: dict[str, set[str]] = {}
    for path in files(house):
        room = path.relative_to(house).parts[0].removesuffix(".py")
        modules = (name.split(".") for name in imported_modules(path))
        found = {parts[1] for parts in modules if parts[0] == house.name and len(parts) > 1}
        arrows.setdefault(room, set()).update(found & names - {room})
    return arrows


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Rooms that import one another in a circle, or none."""
    done: set[str] = set()

    def walk(room: str, path: list[str]) -> list[str]:
        if room in path:
            return [*path[path.index(room) :], room]
        if room in done:
            return []
        for other in sorted(arrows.get(room, ())):
            if found := walk(other, [*path, room]):
                return found
        done.add(room)
        return []

    return next((found for room in sorted(arrows) if (found := walk(room, []))), [])


@pytest.mark.parametrize("house", HOUSES)
def test_no_import_runs_back(house: str) -> None:
    forbidden = {*HOUSES[HOUSES.index(house) + 1 :], "tests"}
    back = {str(path): imported_houses(path) & forbidden for path in files(ROOT / house)}
    assert not {path: names for path, names in back.items() if names}


@pytest.mark.parametrize("house", HOUSES)
def test_rooms_import_one_another_one_way(house: str) -> None:
    arrows = rooms(ROOT / house)
    assert sum(map(len, arrows.values())) > 5  # the walk sees arrows at all
    assert circle(arrows) == []


def test_imports_are_absolute() -> None:
    """A relative import would slip past the tests above."""
    relative = [
        f"{path}:{node.lineno}"
        for house in HOUSES
        for path in files(ROOT / house)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_tests_mirror_the_rooms() -> None:
    """A folder of tests is a folder of the house, so that a file's tests are found where it stands."""
    ours = {str(path.parent.relative_to(ROOT / "tests")) for path in (ROOT / "tests").rglob("test_*.py")}
    astray = {name for name in ours if name.split("/")[0] in HOUSES and not (ROOT / name).is_dir()}
    assert not astray


def test_the_walk_sees_an_arrow_that_runs_back(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text("def f():\n    from launchers.sweeps.job import run\n    return run\n")
    assert "launchers" in imported_houses(path)


def test_the_walk_sees_a_circle_of_rooms(tmp_path: Path) -> None:
    house = tmp_path / "house"
    for room, other in (("kitchen", "hall"), ("hall", "cellar"), ("cellar", "kitchen")):
        (house / room).mkdir(parents=True)
        (house / room / "inside.py").write_text(f"from house.{other} import inside\n")
    assert circle(rooms(house)) == ["cellar", "kitchen", "hall", "cellar"]
