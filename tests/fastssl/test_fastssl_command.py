"""The command ``fastssl``: a table of mains, found whatever lies in the current folder."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fastssl.__main__ import BENCHMARKS, COMMANDS, main
from fastssl.remembered import with_memory
from pipelines.command.errors import UserError
from tests.helpers import ROOT


def python(*words: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Python with our houses as an installed copy has them: after the current folder."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A user's folder with packages of our names."""
    for name in ("pipelines", "benchmarks", "launchers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    return tmp_path


def test_every_command_is_a_module_and_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == main([]) == 0
    text = capsys.readouterr().out
    modules = [module for module, _ in COMMANDS.values() if module]
    for module in [*modules, *(f"benchmarks.{name}" for name in BENCHMARKS)]:
        assert find_spec(module) is not None, module
    assert all(f"  {name} " in text for name in COMMANDS)
    assert all(name in text for name in BENCHMARKS)


def test_an_unknown_command_is_one_line() -> None:
    with pytest.raises(UserError, match=r"no command trian: did you mean train\?"):
        main(["trian"])
    for words in (["bench"], ["bench", "qqq"]):
        with pytest.raises(UserError, match="fastssl bench takes one of batch_norm, decode, limits"):
            main(words)


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; from fastssl.__main__ import main; main(['--help']); print('torch' in sys.modules)"
    assert python("-c", program).stdout.endswith("False\n")


def test_a_command_gets_its_own_words() -> None:
    done = python("-m", "fastssl", "bench", "report", "--chart")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "--chart" in done.stderr


@pytest.mark.parametrize(
    "words", [["-m", "fastssl", "bench", "report", "qqq"], ["-m", "fastssl.train", "qqq"]]
)
def test_packages_of_the_users_are_none_of_ours(crowded: Path, words: list[str]) -> None:
    done = python(*words, cwd=crowded)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "qqq" in line


def test_a_program_of_the_users_is_told_what_hides_ours(crowded: Path) -> None:
    done = python("-c", "import fastssl", cwd=crowded)
    reason = f"{crowded / 'pipelines'} hides {ROOT / 'pipelines'}: rename it, or run from another folder"
    assert done.stderr.splitlines()[-1] == f"ImportError: {reason}"


def test_help_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path))
    calls = []

    def run() -> int:
        calls.append(1)
        print("all the options é")
        raise SystemExit(0)

    for words in (["--help"], ["--help"], ["quickstart", "--help"]):
        assert with_memory("command", words, run) == 0
    assert capsys.readouterr().out == 3 * "all the options é\n"
    assert len(calls) == 2
    (tmp_path / "mine.toml").touch()
    for words in (["mine.py:recipe", "--help"], [str(tmp_path / "mine.toml"), "--help"]):
        for _ in range(2):
            with pytest.raises(SystemExit):
                with_memory("command", words, run)
    assert len(calls) == 6


def test_only_help_that_was_given_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path))

    def refuse() -> int:
        raise UserError("no")

    with pytest.raises(UserError):
        with_memory("command", ["--help"], refuse)
    assert with_memory("command", ["--seed", "3"], lambda: 7) == 7
    assert not any(tmp_path.rglob("*.txt"))
