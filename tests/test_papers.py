"""README.md and the pages beside it say nothing that is not so: tables, commands, links, pictures."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import fastssl
from benchmarks.report import markdown
from benchmarks.result import read_result
from fastssl.command_line import parse
from fastssl.recipes import RECIPES
from fastssl.recipes.table import recipe_page
from launchers.studies import STUDIES
from launchers.sweeps.study import Study
from tests.helpers import ROOT

HOUSES = ("pipelines", "fastssl", "launchers", "benchmarks")
PAPERS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / ".github/CONTRIBUTING.md",
        ROOT / "fastssl/recipes/README.md",
        *(ROOT / house / "README.md" for house in HOUSES),
    )
}
README = PAPERS["README.md"]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_recipes_are_those_of_the_code() -> None:
    assert PAPERS["fastssl/recipes/README.md"] == recipe_page()
    rows = {cells(line)[0]: cells(line) for line in recipe_page().splitlines() if line.startswith("| `")}
    table = README.partition("| the paper's linear top-1 |")[2].partition("\n\n")[0]
    few = [cells(line) for line in table.splitlines() if line.startswith("| `")]
    assert len(few) == 6
    for name, what, number, here in few:
        _, whole_what, published, measured, _ = rows[name]
        assert what == whole_what
        assert published.startswith(f"linear top-1 {number} (") if number else published == ""
        assert measured.startswith(here)


@pytest.fixture(scope="module")
def studies() -> dict[str, tuple[Study, Study]]:
    return {name: (study("paper"), study("tiny")) for name, study in STUDIES.items()}


def test_the_studies_are_those_of_the_code(studies: dict[str, tuple[Study, Study]]) -> None:
    for name, (paper, tiny) in studies.items():
        row = f"| `{name}` | {paper.title} | {len(paper.runs)} | {len(tiny.runs)} |"
        assert row in PAPERS["launchers/README.md"]


def test_the_measured_tables_are_those_of_the_results() -> None:
    results = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert len(results) >= 5
    paper = PAPERS["benchmarks/README.md"]
    assert not [path.name for path in results if markdown(read_result(path)) not in paper]
    loader = markdown(read_result(ROOT / "benchmarks/results/loader-imagenet.json"))
    whole = {row[0]: row[2:4] for row in map(cells, loader.splitlines()) if row[1:2] == ["views"]}
    table = README.partition("| | K = 2 | K = 8 |")[2].partition("\n\n")[0]
    few = {row[0]: row[1:] for row in map(cells, table.splitlines()[2:])}
    assert few == {name: whole[name] for name in few}
    assert len(few) == 4
    command = re.sub(r"\s+", " ", README)
    assert f"`{re.sub(' --json [^ ]+', '', loader.split('`')[1])}`" in command


@pytest.mark.parametrize("paper", PAPERS)
def test_commands_are_commands(paper: str) -> None:
    """Modules exist, recipes and studies have their names, make has the targets."""
    text = PAPERS[paper]
    modules = set(re.findall(r"python -m ([\w.]+\w)", text)) - {"pytest", "pip"}
    assert not [name for name in modules if importlib.util.find_spec(name) is None]
    for words in re.findall(r"^(?:.*-m )?fastssl\.train ([^#`\n]*)", text, flags=re.M):
        argv = words.split()
        special = {"--list", "--help", "--replay"} & set(argv)
        theirs = argv and ("mine.py" in argv[0] or argv[0].endswith(".json"))  # a user's own file
        if argv and not special and not theirs and argv[0].islower():
            parse(argv)
    for name in re.findall(r"launchers\.sweep ([a-z][\w-]*)", text):
        assert name in STUDIES
    for name in re.findall(r"--recipe ([\w-]+)", text):
        assert name in RECIPES
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, flags=re.M)) <= targets


@pytest.mark.parametrize("paper", PAPERS)
def test_links_and_paths_lead_somewhere(paper: str) -> None:
    folder = (ROOT / paper).parent
    for link in re.findall(r"\]\(([^)#]+)\)", PAPERS[paper]):
        assert link.startswith("https://") or (folder / link).exists(), link
    for path in re.findall(r"`((?:pipelines|fastssl|launchers|benchmarks|tests)/[\w./-]+)`", PAPERS[paper]):
        name = path.replace("NAME", "*")
        assert list(ROOT.glob(name)) or "/results/" in name or "-gpu" in name, path


@pytest.mark.parametrize("house", ["pipelines", "fastssl", "launchers"])
def test_each_room_has_its_line(house: str) -> None:
    table = PAPERS[f"{house}/README.md"].partition("## Rooms")[2]
    told = set(re.findall(r"`(\w+)/`", table))
    assert told == {path.parent.name for path in (ROOT / house).glob("*/__init__.py")}


def test_pictures_are_there_and_small() -> None:
    pictures: list[Path] = []
    for paper, text in PAPERS.items():
        pictures += [(ROOT / paper).parent / name for name in re.findall(r"!\[\w+\]\(([^)]+)\)", text)]
    assert len(pictures) >= 4
    assert not [path for path in pictures if path.stat().st_size > 200_000]


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastssl.__version__"}
    assert f"version: {fastssl.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"({fastssl.__version__})" in PAPERS["CHANGELOG.md"]
