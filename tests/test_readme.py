"""The README says nothing that is not so: its table, its houses, its commands and its pictures."""

import importlib.util
import re

from benchmarks.report import markdown
from benchmarks.result import read_result
from fastssl.recipes.table import recipe_table
from launchers.studies import STUDIES
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text()


def test_the_recipes_are_those_of_the_code() -> None:
    assert recipe_table() in README


def test_the_studies_are_those_of_the_code() -> None:
    for name, study in STUDIES.items():
        paper, tiny = study("paper"), study("tiny")
        assert f"| `{name}` | {paper.title} | {len(paper.runs)} | {len(tiny.runs)} |" in README


def test_the_figures_are_those_of_the_results() -> None:
    results = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert len(results) >= 5
    assert not [path.name for path in results if markdown(read_result(path)) not in README]


def test_every_command_names_a_module() -> None:
    modules = set(re.findall(r"python -m ([\w.]+)", README))
    assert {"fastssl.train", "fastssl.evaluate", "pipelines.pack"} <= modules
    assert not [name for name in modules if importlib.util.find_spec(name) is None]


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"`?make ([a-z][\w-]*)", README)) - {"targets"} <= targets


def test_the_houses_and_their_rooms_are_those_of_the_code() -> None:
    tree = README.partition("## How it is built")[2].partition("```")[2].partition("```")[0]
    told: dict[str, set[str]] = {}
    house = ""
    for line in tree.strip().splitlines():
        if line.startswith(" "):
            told[house] |= set(line.split())
        else:
            house = line.partition("/")[0]
            told[house] = set()
    folders = {house: {path.parent.name for path in (ROOT / house).glob("*/__init__.py")} for house in told}
    assert told == {house: names if told[house] else set() for house, names in folders.items()}
    assert list(told) == ["pipelines", "fastssl", "launchers", "benchmarks"]


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[\w+\]\(([^)]+)\)", README)
    assert len(pictures) >= 2
    for name in pictures:
        assert (ROOT / name).stat().st_size < 200_000, name
