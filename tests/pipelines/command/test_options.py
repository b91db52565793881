"""Command lines: what a user typed wrong comes back as one line, and what was typed right runs."""

import io
import subprocess
import sys

import pytest
import tyro

from pipelines.command.errors import UserError
from pipelines.command.options import later, one_line_complaints

# every command with options, a mistake, and the word of it that the answer has to name
MISTAKES = [
    ("pipelines.pack", ["a", "b", "--quality", "high"], "--quality"),
    ("fastssl.train", ["quickstart", "--epochs", "many"], "--epochs"),
    ("fastssl.evaluate", ["linear", "runs/x", "--epochs", "many"], "--linear.epochs"),
    ("fastssl.evaluate", ["fid"], "fid"),
    ("fastssl.classes.taxonomy", [], "NAME"),
    ("fastssl.classes.wordnet", ["--folder"], "--folder"),
    ("launchers.sweep", ["tiny", "--seeds", "few"], "--seeds"),
    ("launchers.status", ["sweeps/x", "stop"], "stop"),
    ("launchers.report", [], "sweep"),
    ("benchmarks.render", ["--size", "big"], "--size"),
    ("benchmarks.loader", ["--data", "generated", "--against", "nobody"], "--against"),
]


@pytest.mark.parametrize(("module", "words", "named"), MISTAKES)
def test_every_command_answers_a_mistake_with_one_line(module: str, words: list[str], named: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, *words], capture_output=True, text=True, timeout=120
    )
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert line.startswith("error: ")
    assert named in line
    assert f"python -m {module}" in line
    assert ended.stdout == ""


def measure(run: str, times: int = 1) -> None:
    """Measure something.

    Args:
        run: what.
        times: how often.
    """
    print(run * times)


def test_a_function_is_called_after_its_options_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    with one_line_complaints("measure"):
        call = tyro.cli(later(measure), args=["--run", "ab", "--times", "2"])
    assert capsys.readouterr().out == ""
    call()
    assert capsys.readouterr().out == "abab\n"


def test_help_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_complaints("measure"):
        tyro.cli(later(measure), args=["--help"])
    assert ended.value.code == 0
    assert "how often." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fastssl.train --help", "launchers.status --help"])
def test_help_into_a_closed_pipe_is_silent(command: str) -> None:
    words = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as head does after its lines
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_what_frames_the_words_is_left_out(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    """tyro draws its box in the signs that the output knows."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    said = []
    for words in (["--run", "a", "--times", "often"], ["--run"], ["--run", "a", "--tims", "3"]):
        with pytest.raises(UserError) as refusal, one_line_complaints("measure"):
            tyro.cli(later(measure), args=words)
        said.append(str(refusal.value))
    assert said[0].startswith("Error parsing --times: invalid literal for int() with base 10: 'often'")
    assert said[1].startswith("Missing value for argument '--run'")
    assert said[2] == "Unrecognized options: --tims, 3 (did you mean --times?): measure --help tells more"
    assert not [line for line in said if "---" in line or "─" in line]


def test_colors_of_a_terminal_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(UserError, match="--times") as refusal, one_line_complaints("measure"):
        tyro.cli(later(measure), args=["--run", "a", "--times", "often"])
    assert str(refusal.value).isprintable()
