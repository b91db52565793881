"""Command lines: what a user typed wrong comes back as one line, and what was typed right runs."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
import tyro
from tyro import _errors as tyro_errors

from pipelines.command.errors import UserError
from pipelines.command.options import one_line_complaints, read_options

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


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure something."""

    run: str
    """What."""
    times: int = 1
    """How often."""
    unit: Literal["miles", "metres"] = "miles"
    """Of length."""
    pair: tuple[int, int] = (1, 2)
    """Of numbers."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Frame of a picture."""

    width: int = 1
    """In pixels."""

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError("no frame is so wide")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Picture in a frame."""

    frame: Frame = Frame()
    """Around it."""


def test_options_are_what_was_typed_else_their_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--run", "ab", "--times=2", "--pair", "3", "4"]
    assert read_options(Measure, "measure", words) == Measure(run="ab", times=2, pair=(3, 4))
    assert capsys.readouterr() == ("", "")


def test_help_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(Measure, "measure", ["--help"])
    assert ended.value.code == 0
    assert "How often." in capsys.readouterr().out


@pytest.mark.parametrize("command", ["fastssl.train --help", "launchers.status --help"])
def test_help_into_a_closed_pipe_is_silent(command: str) -> None:
    words = [sys.executable, "-m", *command.split()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as head does after its lines
        assert process.stderr.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "a", "--times", "often"], "--times: invalid literal for int() with base 10: 'often'"),
        (["--run"], "--run needs a value"),
        (["--run", "a", "--pair", "1"], "--pair needs 2 values"),
        ([], "--run must be given"),
        (["--rnu", "a"], "--run must be given (did you write --rnu for it?)"),
        (["--run", "a", "--tims", "3"], "unknown option --tims (did you mean --times?)"),
        (["--run", "a", "--tims=3"], "unknown option --tims=3 (did you mean --times?)"),
        (["--run", "a", "b"], "unexpected b"),
        (
            ["--run", "a", "--unit", "mile"],
            "invalid choice 'mile' for --unit (did you mean miles?)",
        ),
    ],
)
def test_a_mistake_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as refusal:
        read_options(Measure, "measure", words)
    assert str(refusal.value).startswith(said)
    assert str(refusal.value).endswith(": measure --help tells more")
    assert str(refusal.value).isprintable()
    assert capsys.readouterr() == ("", "")


def test_what_is_given_without_its_name_is_named_in_capitals() -> None:
    @dataclass(frozen=True)
    class Convert:
        source: tyro.conf.Positional[str]
        how: tyro.conf.Positional[Literal["a", "b"]] = "a"

    for words, said in (
        ([], "SOURCE must be given"),
        (["x", "c"], "invalid choice 'c' for HOW, it takes a, b"),
    ):
        with pytest.raises(UserError) as refusal:
            read_options(Convert, "convert", words)
        assert str(refusal.value) == f"{said}: convert --help tells more"
    with pytest.raises(UserError, match=r"unknown option --hepl \(did you mean --help\?\)"):
        read_options(Convert, "convert", ["x", "--hepl"])


def test_options_without_their_prefix_are_named_so() -> None:
    with pytest.raises(UserError, match=r"did you mean --width\?"):
        read_options(Picture, "draw", ["--widht", "3"], config=(tyro.conf.OmitArgPrefixes,))


def test_an_event_of_another_release_is_a_plain_line() -> None:
    with (
        pytest.raises(UserError, match=r"^the options do not fit together: measure --help tells more$"),
        one_line_complaints("measure"),
    ):
        tyro_errors._fire(tyro_errors.ParseErrorEvent(prog="measure"))


def test_a_value_that_does_not_build_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"^no frame is so wide: draw --help tells more$"):
        read_options(Frame, "draw", ["--width", "-1"])
