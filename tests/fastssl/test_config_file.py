import dataclasses
import json
from pathlib import Path

import pytest

from fastssl.config import Machine
from fastssl.config_file import named_config
from fastssl.config_values import to_dict
from fastssl.methods import BYOL
from fastssl.optim import LARS
from fastssl.recipes import quickstart
from pipelines.command.errors import UserError

TOML = """
recipe = "quickstart"
data = "photos"
epochs = 100
method = "byol"

[optimizer]
kind = "lars"
base_lr = 0.06

[[views]]
spec = { size = 48, blur = { p = 0.5 } }
"""


def test_fields_over_a_recipe_in_toml_and_in_json(tmp_path: Path) -> None:
    base = quickstart()
    (tmp_path / "mine.toml").write_text(TOML)
    config = named_config(str(tmp_path / "mine.toml"))
    (group,) = base.experiment.views
    spec = dataclasses.replace(group.spec, size=48, blur=dataclasses.replace(group.spec.blur, p=0.5))
    assert config.recipe == "mine"
    assert config.machine == dataclasses.replace(base.machine, data="photos")
    assert config.experiment == dataclasses.replace(
        base.experiment,
        epochs=100,
        method=BYOL.Config(),
        optimizer=LARS.Config(base_lr=0.06, weight_decay=5e-4, warmup_epochs=0.4),
        views=(dataclasses.replace(group, spec=spec),),
    )
    fields = {
        "recipe": "quickstart",
        "data": "photos",
        "epochs": 100,
        "method": {"kind": "byol"},
        "optimizer": {"kind": "lars", "base_lr": 0.06},
        "views": [{"spec": {"size": 48, "blur": {"p": 0.5}}}],
    }
    (tmp_path / "mine.json").write_text(json.dumps(fields))
    assert named_config(str(tmp_path / "mine.json")) == config


def test_a_copied_config_does_not_carry_its_run_folder(tmp_path: Path) -> None:
    config = dataclasses.replace(quickstart(), machine=Machine(out="runs/first", workers=3))
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    assert named_config(str(tmp_path / "config.json")).machine == Machine(workers=3)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epochs = 3", "names no recipe to start from"),
        ("recipe = 3", "recipe must be a name, not 3"),
        ('recipe = "quikstart"', r"unknown recipe quikstart \(did you mean quickstart\?\)"),
        ('recipe = "quickstart"\nepoch = 3', r"epoch is no field: did you mean epochs\?"),
        ('recipe = "quickstart"\n[optimizer]\nlr = 3', r"optimizer\.lr is no field"),
        ('recipe = "quickstart"\nepochs = "many"', r"mine\.toml is not a config.*'many' is no"),
        ('recipe = "quickstart"\nepochs = -1', "--epochs must be above 0, not -1"),
        ('recipe = "quickstart"\nmethod = "swav"', "--method takes moco, .*, not swav"),
        ("recipe = ", "cannot read the config"),
        ("recipe = [" * 3000, "cannot read the config"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=reason) as refusal:
        named_config(str(path))
    assert "\n" not in str(refusal.value)
