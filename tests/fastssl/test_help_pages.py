"""--help and --list are pages beside the code, equal to what the commands print."""

import subprocess
import sys

import pytest

from fastssl.help_pages import PAGES, page
from fastssl.live_pages import ENVIRONMENT, live_pages
from tests.helpers import ROOT


def test_pages_are_what_the_commands_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ``make pages`` after a change of options or recipes."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    live = dict(live_pages())
    stored = {path: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}
    assert {path.name for path in stored} == {path.name for path in live}
    stale = [path.name for path, text in live.items() if stored[path] != text]
    assert not stale, f"{', '.join(stale)}: make pages"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("fastssl.train --help", "fastssl.train"),
        ("fastssl.evaluate -h", "fastssl.evaluate"),
        ("launchers.sweep --help", "launchers.sweep"),
        ("benchmarks.loader --help", "benchmarks.loader"),
        ("fastssl train --list", "fastssl.train-list"),
        ("fastssl bench step --help", "benchmarks.step"),
    ],
)
def test_a_page_is_shown_without_torch(words: str, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", *words.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (PAGES / f"{name}.txt").read_text(encoding="utf-8")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "fastssl.help_pages" in imported
    assert not imported & {"torch", "numba", "numpy", "tyro"}


def test_a_list_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = page("fastssl.train", ["--list"])
    assert narrow is not None
    assert max(map(len, narrow.splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", "400")
    assert page("fastssl.train", ["--list"]) == (PAGES / "fastssl.train-list.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("fastssl.train", ["byol-cifar10", "--help"]),
        ("fastssl.train", []),
        ("fastssl.evaluate.__main__", ["--list"]),
        ("fastssl.nothing", ["--help"]),
    ],
)
def test_other_words_are_the_commands(module: str, words: list[str]) -> None:
    assert page(module, words) is None
