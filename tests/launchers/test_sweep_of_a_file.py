"""A sweep over a recipe in a user's own file: its jobs train from the sweep's copy."""

import json
import re
from pathlib import Path

from tests.helpers.commands import run_command
from tests.helpers.runs import SMALL, write_images

RECIPE = """
from fastssl.config import Config
from fastssl.recipes import quickstart


def my_recipe() -> Config:
    return quickstart()
"""


def test_a_sweep_keeps_the_file_that_it_was_given(tmp_path: Path) -> None:
    data, out, mine = tmp_path / "data", tmp_path / "sweep", tmp_path / "mine.py"
    write_images(data / "train", 40, seed=0)
    write_images(data / "test", 10, seed=1)
    mine.write_text(RECIPE)
    small = dict(zip(SMALL[1::2], SMALL[2::2], strict=True)) | {"--epochs": "1"}
    settings = [f"{name.removeprefix('--')}={value}" for name, value in small.items()]
    words = ["--recipe", f"{mine}:my_recipe", "--grid", "base_lr=0.2", "--columns", "linear"]
    words += ["--set", *settings, "--data", str(data), "--out", str(out)]
    done = run_command("launchers.sweep", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    run = out / "runs" / "base-lr-0.2-s0"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert json.loads((out / "sweep.json").read_text())["study"] == "my-recipe-by-base-lr"
    assert (out / "configs" / "mine.py").read_text() == (run / "mine.py").read_text() == RECIPE
    assert list((run / "eval").glob("linear*.json"))

    mine.write_text(RECIPE + "# changed\n")
    done = run_command("launchers.sweep", *words)
    assert done.returncode == 2
    assert re.fullmatch(r"error: \S+ holds base-lr-0\.2-s0 with another mine\.py: .*\n", done.stderr)
