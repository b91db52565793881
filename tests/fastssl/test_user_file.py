"""A user's own file: what is executed and when, what is said of a mistake, and a run of it to the end."""

import dataclasses
import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastssl import config_values
from fastssl.command_line import parse
from fastssl.config_values import from_dict, read_config, to_dict
from fastssl.methods import build_method
from fastssl.recipes import find_recipe, quickstart
from fastssl.run.folder import LAST, claim
from fastssl.user_file import keep_copy
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json
from tests.helpers.commands import run_command
from tests.helpers.runs import (
    EVERY_FEW_STEPS,
    SMALL,
    assert_same_run,
    run,
    start,
    wait_for_steps,
)

DATA = {"images": 12, "fingerprint": "abc"}
RECIPE = """
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fastssl.config import Config
from fastssl.recipes import quickstart

# MARK


def my_recipe() -> Config:
    config = quickstart()
    return replace(config, experiment=replace(config.experiment, epochs=25, batch_size=16))
"""

# the simplest method that does not collapse: two views agree, each dimension keeps its spread
METHOD = """
from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import nn

from fastssl.config import Config
from fastssl.methods import Method
from fastssl.recipes import quickstart


class Agree(Method):
    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        num_views: ClassVar[int] = 2

        spread: Literal["hinge", "none"] = "hinge"
        weight: float = 1.0

    def __init__(self, config, backbone, run):
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        head = nn.Linear(encoder.feature_dim, 16)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, head=head))

    def forward(self, batch, step):
        first, second = (self.student(view).float() for view in batch.each_view())
        loss = (first - second).square().mean()
        if self.config.spread == "hinge":
            loss = loss + self.config.weight * (1 - first.std(0)).relu().mean()
        return loss, {"loss": loss.detach()}


def agreement() -> Config:
    config = quickstart()
    return replace(config, experiment=replace(config.experiment, method=Agree.Config(weight=2.0)))
"""


def forget() -> None:
    """Leave nothing of users' files, as in another process."""
    for name in [name for name in sys.modules if name.startswith("_user_file_")]:
        del sys.modules[name]
    config_values._converter.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_executed_before_or_after() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "mine.py"
    path.parent.mkdir()
    path.write_text(RECIPE)
    return path


@pytest.fixture
def folder(mine: Path, tmp_path: Path) -> Path:
    """The folder of a run of ``mine.py:my_recipe``, in a process that has not executed it."""
    folder = tmp_path / "run"
    folder.mkdir()
    claim(folder, find_recipe(f"{mine}:my_recipe"), DATA)
    begun(folder)
    forget()
    return folder


def begun(folder: Path) -> None:
    """Leave a checkpoint: a folder without one may be taken over."""
    (folder / LAST).parent.mkdir()
    (folder / LAST).touch()


def test_a_function_of_a_file_is_a_recipe(mine: Path) -> None:
    config = parse([f"{mine}:my_recipe", "--optimizer.base-lr", "0.7"])
    assert config.recipe == "my_recipe"
    assert config.out == Path("runs/my_recipe")
    assert (config.experiment.epochs, config.experiment.batch_size) == (25, 16)
    assert config.experiment.optimizer.base_lr == 0.7
    assert config.user_file
    assert config.user_file.name == "mine.py"


def test_a_config_reloads_from_its_folder_without_the_file_that_it_came_from(
    mine: Path, folder: Path
) -> None:
    config = find_recipe(f"{mine}:my_recipe")
    forget()
    shutil.rmtree(mine.parent)
    assert read_config(folder / "config.json") == config
    assert parse([str(folder / "config.json")]) == config
    assert (folder / "mine.py").read_text() == RECIPE


def test_a_changed_file_is_another_run(mine: Path, folder: Path) -> None:
    mine.write_text(RECIPE.replace("# MARK", "# the same experiment"))
    with pytest.raises(UserError, match=r"run holds a run with another mine\.py: choose another --out"):
        claim(folder, find_recipe(f"{mine}:my_recipe"), DATA)
    with pytest.raises(UserError, match=r"another mine\.py"):
        claim(folder, replace(find_recipe(f"{mine}:my_recipe"), user_file=None), DATA)
    mine.write_text(RECIPE)
    claim(folder, find_recipe(f"{mine}:my_recipe"), DATA)


def test_a_run_without_a_file_does_not_take_one(mine: Path, tmp_path: Path) -> None:
    config = find_recipe(f"{mine}:my_recipe")
    (tmp_path / "plain").mkdir()
    claim(tmp_path / "plain", replace(config, user_file=None), DATA)
    begun(tmp_path / "plain")
    with pytest.raises(UserError, match=r"another mine\.py"):
        claim(tmp_path / "plain", config, DATA)


def test_a_copy_that_is_lost_is_made_again_and_one_that_changed_is_refused(mine: Path, folder: Path) -> None:
    (folder / "mine.py").unlink()
    with pytest.raises(UserError, match=r"config\.json needs \S+mine\.py, which is not there"):
        read_config(folder / "config.json")
    config = find_recipe(f"{mine}:my_recipe")
    claim(folder, config, DATA)
    assert (folder / "mine.py").read_text() == RECIPE
    (folder / "mine.py").write_text("changed = True")
    with pytest.raises(UserError, match=r"mine\.py is not the file that was executed"):
        claim(folder, config, DATA)
    forget()
    with pytest.raises(UserError, match=r"mine\.py has changed since \S+config\.json was written"):
        read_config(folder / "config.json")


def marking(mine: Path) -> Path:
    """Let the file leave a mark where it is executed; returns the mark's place."""
    mark = mine.parent / "mark"
    mine.write_text(RECIPE.replace("# MARK", f"Path({str(mark)!r}).touch()"))
    return mark


def test_nothing_is_executed_but_what_the_user_names(mine: Path, tmp_path: Path) -> None:
    mark = marking(mine)
    folder = tmp_path / "run"
    folder.mkdir()
    claim(folder, find_recipe(f"{mine}:my_recipe"), DATA)
    mark.unlink()
    forget()
    with pytest.raises(UserError, match="which this command was not told to execute"):
        read_config(folder / "config.json", execute=False)
    about = json.loads((folder / "config.json").read_text())
    for name in (str(mine), "../home/mine.py", "mine.txt", "", 3, None):
        about["config"]["user_file"]["name"] = name
        write_json(tmp_path / "config.json", about)
        with pytest.raises(UserError, match=r"must have the name of a \.py file and its digest"):
            read_config(tmp_path / "config.json")
    about["config"]["user_file"] = {"name": "mine.py", "digest": "0" * 32}
    write_json(folder / "config.json", about)
    with pytest.raises(UserError, match="has changed"):
        read_config(folder / "config.json")
    assert not mark.exists()


def test_a_file_is_executed_once(mine: Path, tmp_path: Path) -> None:
    mark = marking(mine)
    first = find_recipe(f"{mine}:my_recipe")
    mark.unlink()
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(mine, tmp_path / "elsewhere" / "other.py")
    assert find_recipe(f"{tmp_path}/elsewhere/other.py:my_recipe").experiment == first.experiment
    assert not mark.exists()


def test_files_of_one_name_do_not_clash(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "mine.py"
    other.write_text(RECIPE.replace("epochs=25", "epochs=9"))
    configs = [find_recipe(f"{path}:my_recipe") for path in (mine, other, mine)]
    assert [config.experiment.epochs for config in configs] == [25, 9, 25]
    assert configs[1].user_file
    with pytest.raises(UserError, match="is not the file that was executed"):
        keep_copy(configs[1].user_file, mine.parent)


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (None, ":a", r"no such file: \S+mine\.py$"),
        (
            "def a(): ...\ndef b(): ...\ndef _c(): ...",
            ":d",
            r"mine\.py has no function d; its functions are a, b$",
        ),
        ("def a(): ...", "", r"mine\.py: name a recipe, as \S+mine\.py:FUNCTION; its functions are a$"),
        ("from math import log", ":log", r"mine\.py has no function log; it has no function$"),
        ("def a(): return 3", ":a", r"mine\.py:a returned int, no fastssl\.config\.Config$"),
        ("def a(size): ...", ":a", r"mine\.py:a is no recipe: .* missing a required argument: 'size'$"),
        ("x = 1\nimport nowhere", ":a", r"mine\.py:2: ModuleNotFoundError: No module named 'nowhere'$"),
        ("x = (\n", ":a", r"mine\.py:1: SyntaxError: '\(' was never closed$"),
        ("raise ValueError('two\\nlines')", ":a", r"mine\.py:1: ValueError: two lines$"),
        ("exit(3)", ":a", r"mine\.py:1: SystemExit: 3$"),
        ("def a():\n    return b()\n\ndef b():\n    return 1 / 0", ":a", r"mine\.py:5: ZeroDivisionError: "),
        (
            "from dataclasses import replace\nfrom fastssl.recipes import quickstart\n\n"
            "def a():\n    return replace(quickstart().experiment, epochs=-1)",
            ":a",
            r"mine\.py:5: --epochs must be above 0, not -1$",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, source: str | None, name: str, message: str) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(UserError, match=message) as raised:
        parse([f"{path}{name}"])
    assert "\n" not in str(raised.value)
    assert not [module for module in sys.modules if module.startswith("_user_file_")] or source


def test_a_config_without_a_file_names_none() -> None:
    assert to_dict(quickstart())["user_file"] is None


def test_a_file_brings_a_method_of_its_own(mine: Path, tmp_path: Path) -> None:
    mine.write_text(METHOD)
    config = parse([f"{mine}:agreement", "--method.weight", "3", "--method.spread", "none"])
    assert dataclasses.asdict(config.experiment.method) == {"spread": "none", "weight": 3.0}
    assert to_dict(config)["experiment"]["method"] == {"kind": "agree", "spread": "none", "weight": 3.0}
    (tmp_path / "run").mkdir()
    claim(tmp_path / "run", config, DATA)
    forget()
    again = read_config(tmp_path / "run" / "config.json")
    assert to_dict(again) == to_dict(config)
    method = build_method(
        again.experiment.method, again.experiment.backbone, seed=0, total_steps=1, num_classes=2
    )
    assert type(method).__name__ == "Agree"


def test_a_method_of_a_file_is_unknown_without_it(mine: Path) -> None:
    mine.write_text(METHOD)
    values = to_dict(find_recipe(f"{mine}:agreement")) | {"user_file": None}
    with pytest.raises(UserError, match=r"kind must be one of moco, .*, not 'agree'"):
        from_dict(values, "it")


def test_a_method_may_not_bear_the_name_of_another(mine: Path) -> None:
    mine.write_text(METHOD.replace("Agree", "MoCo"))
    with pytest.raises(UserError, match=r"mine\.py: class MoCo: fastssl has a Method moco: rename yours"):
        find_recipe(f"{mine}:agreement")


# --- in processes of their own ------------------------------------------------------------------------------


def test_a_killed_run_of_a_files_method_resumes_exactly_and_is_evaluated(
    mine: Path, data: Path, tmp_path: Path
) -> None:
    mine.write_text(METHOD)
    small = [
        word
        for pair in zip(SMALL[1::2], SMALL[2::2], strict=True)
        if "method" not in pair[0]
        for word in pair
    ]
    words = [f"{mine}:agreement", *small, "--epochs", "10", "--data", str(data), "--out"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = run(*words, whole)
    assert done.returncode == 0, done.stderr
    process = start(*words, cut, *EVERY_FEW_STEPS)
    wait_for_steps(process, cut, 20)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    assert json.loads((cut / "summary.json").read_text())["status"] == "running"
    done = run(*words, cut)
    assert done.returncode == 0, done.stderr
    assert_same_run(cut, whole)
    mine.unlink()
    found = run_command("fastssl.evaluate", "knn", cut)
    assert found.returncode == 0, found.stderr
    assert re.search(r"trained encoder +0\.\d+", found.stdout)
