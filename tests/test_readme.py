"""The README says nothing that is not so: its table, its tree, its commands and its pictures."""

import importlib.util
import re
import subprocess
from pathlib import Path

from benchmarks.report import markdown
from benchmarks.result import read_result
from fastssl.recipe_table import recipe_table
from launchers.studies import STUDIES

ROOT = Path(__file__).parent.parent
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


def test_the_tree_names_every_file() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for room in ("pipelines", "fastssl", "launchers", "benchmarks"):
        part = README.partition(f"\n{room}/ ")[2].partition("\n```")[0]
        files = [name.removeprefix(f"{room}/") for name in listed if name.startswith(f"{room}/")]
        missing = [name for name in files if not name.endswith("__init__.py") and f"    {name} " not in part]
        assert not missing


def test_pictures_are_there_and_small() -> None:
    pictures = re.findall(r"!\[\w+\]\(([^)]+)\)", README)
    assert len(pictures) >= 2
    for name in pictures:
        assert (ROOT / name).stat().st_size < 200_000, name
