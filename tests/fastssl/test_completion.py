"""The script of ``fastssl completion``, as bash runs it."""

import subprocess

import pytest

from fastssl import completion
from fastssl.__main__ import COMMANDS
from pipelines.command.errors import UserError


def completed(script: str, *words: str) -> list[str]:
    """Completions of the last word of a command line."""
    line = " ".join(f"'{word}'" for word in words)
    program = f"""{script}
COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _fastssl; printf '%s\\n' "${{COMPREPLY[@]}}"
complete -p fastssl >&2"""
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "complete -o default -F _fastssl fastssl\n"
    return done.stdout.split()


@pytest.fixture(scope="module")
def script() -> str:
    return completion.script(
        {"train": ["quickstart", "my-images", "--epochs", "--views.0.spec.size"], "taxonomy": ["--data"]}
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fastssl", ""], ["train", "taxonomy"]),
        (["fastssl", "ta"], ["taxonomy"]),
        (["fastssl", "train", "qu"], ["quickstart"]),
        (["fastssl", "train", "my-images", "--e"], ["--epochs"]),
        (["fastssl", "train", "my-images", "--views.0"], ["--views.0.spec.size"]),
        (["fastssl", "taxonomy", "--d"], ["--data"]),
        (["fastssl", "taxonomy", "--e"], []),
        (["fastssl", "trian", "--e"], []),
    ],
)
def test_words_are_completed(script: str, words: list[str], expected: list[str]) -> None:
    assert completed(script, *words) == expected


def test_options_are_those_that_help_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")  # it widens them
    monkeypatch.setattr("sys.argv", ["fastssl"])
    few = {name: COMMANDS[name] for name in ("train", "estimate", "bench", "completion")}
    monkeypatch.setattr(completion, "COMMANDS", few)
    assert completion.main([]) == 0
    script = capsys.readouterr().out
    assert completed(script, "fastssl", "") == ["train", "estimate", "bench"]
    assert completed(script, "fastssl", "train", "moco-v2-plus-im") == ["moco-v2-plus-imagenet"]
    assert completed(script, "fastssl", "train", "--optimizer.base") == ["--optimizer.base-lr"]
    assert completed(script, "fastssl", "estimate", "--gp") == ["--gpus"]
    assert completed(script, "fastssl", "bench", "op") == ["optimizer"]


def test_an_option_is_a_word_of_its_own() -> None:
    text = "| --a-b INT, --c.0.d  (a--e) (--ff.) ----- --no-f"
    assert completion.options_in(text) == ["--a-b", "--c.0.d", "--ff", "--no-f"]


def test_it_takes_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="fastssl completion takes no options, not fish"):
        completion.main(["fish"])
    assert completion.main(["--help"]) == 0
    assert "~/.bashrc" in capsys.readouterr().out
