import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastssl.command_line import option_names, parse
from fastssl.config import Config, to_dict
from fastssl.recipes import RECIPES
from pipelines.errors import UserError


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The options that the fields of a dataclass must have, and their values."""
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{name}.")
        elif isinstance(inner, tuple) and dataclasses.is_dataclass(inner[0]):
            for i, part in enumerate(inner):
                yield from leaves(part, f"{name}.{i}.")
        else:
            yield "--" + name.replace("_", "-"), inner


def all_leaves(config: Config) -> dict[str, Any]:
    return {**dict(leaves(config.experiment)), **dict(leaves(config.machine))}


# Values that fit beside every recipe's other values; what is not listed is nudged by its type.
SPECIAL: dict[str, list[str]] = {
    "--accumulation-steps": ["2"],
    "--batch-size": ["48"],
    "--precision": ["fp32"],
    "--class-share": ["0.7"],
    "--taxonomy": ["artifact"],
    "--order": ["blocks"],
    "--device": ["cpu"],
    "--pipeline": ["resident"],
    "--product": ["crops"],
    "--max-bad-images": ["77"],
    "--center-fraction": ["0.9"],
    "--backbone.name": ["resnet101"],
    "--method.queue-size": ["70000"],
    "--method.enqueue": ["all"],
    "--method.eqco-alpha": ["300"],
    "--method.num-negatives": ["15"],
    "--optimizer.base-lr": ["0.7"],
    "--optimizer.momentum": ["0.8"],
    "--data": ["elsewhere"],
    "--out": ["there"],
}
# one value fits today; the two num-views only change together
ONE_CHOICE = ("--method.kind", "--optimizer.schedule", "--views.0.num-views", "--method.num-views")
CHOICES = {
    "crop": ("random_resized", "center"),
    "stem": ("imagenet", "cifar"),
    "color-space": ("rgb", "lab"),
    "name": ("sgd", "lars"),
    "head-norm": ("batch", "layer"),
    "centroid": ("leave_one_out", "centroids"),
}


def another_value(option: str, value: Any) -> list[str]:
    """Words that give an option another value than ``value``."""
    if option in SPECIAL:
        return SPECIAL[option]
    last = option.rpartition(".")[2].removeprefix("--")
    if last in CHOICES:
        return [next(choice for choice in CHOICES[last] if choice != value)]
    if isinstance(value, tuple):
        return [f"{number * 0.9:.3f}" for number in value]
    if isinstance(value, int):
        return [str(value + 1)]
    return [f"{value / 2 + 0.01:.4f}"]  # stays within [0, 1] where that matters


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_has_an_option_that_overrides_it(name: str) -> None:
    base = all_leaves(RECIPES[name]())
    assert len(base) > 50
    words, expected = [name], dict(base)
    for option, value in base.items():
        if option == "--optimizer.nesterov":
            expected[option] = False  # lars refuses it
            words.append("--optimizer.no-nesterov")
        elif isinstance(value, bool):
            head, _, last = option.rpartition(".")
            words.append(f"{head}.no-{last}" if value else option)
            expected[option] = not value
        elif option not in ONE_CHOICE:
            given = another_value(option, value)
            words += [option, *given]
            kinds = [type(part) for part in value] if isinstance(value, tuple) else [type(value)]
            new = tuple(
                (int if kind is type(None) else kind)(word) for kind, word in zip(kinds, given, strict=True)
            )
            expected[option] = new if isinstance(value, tuple) else new[0]
            assert expected[option] != value, option
    assert all_leaves(parse(words)) == expected


def test_the_number_of_views_is_given_to_views_and_method() -> None:
    words = ["msbreg-imagenet100", "--method.num-views", "4"]
    assert parse([*words, "--views.0.num-views", "4"]).experiment.method.num_views == 4
    with pytest.raises(
        UserError, match=r"msbreg needs num_views 4 in all, not 8: change --views\.0\.num-views"
    ):
        parse(words)


def test_nesterov_can_be_overridden() -> None:
    assert parse(["quickstart", "--optimizer.nesterov"]).experiment.optimizer.nesterov
    assert not parse(["supervised-cifar10", "--optimizer.no-nesterov"]).experiment.optimizer.nesterov


def help_text(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", RECIPES)
def test_help_shows_an_option_for_each_field(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = set(re.findall(r"--[\w.-]+", help_text([name, "--help"], capsys)))
    fields = set(all_leaves(RECIPES[name]()))
    assert fields <= shown
    assert set(option_names(RECIPES[name]())) == fields
    assert not any("experiment" in option or "machine" in option for option in shown)


def test_help_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(["--help"], capsys)
    assert max(map(len, text.splitlines())) <= 120
    assert "quickstart" in text
    assert all(name in text for name in RECIPES)
    assert "Length of the run" in text
    assert "(default: scenes)" in text


def test_without_a_recipe_it_is_quickstart() -> None:
    assert parse([]) == RECIPES["quickstart"]()
    assert parse(["--seed", "5"]).recipe == "quickstart"


def test_a_recipe_keeps_what_is_not_overridden() -> None:
    config = parse(["byol-imagenet", "--optimizer.base-lr=0.2", "--data", "here", "--epochs", "285.7"])
    base = RECIPES["byol-imagenet"]()
    assert config.paper == base.paper
    assert config.experiment.optimizer == dataclasses.replace(base.experiment.optimizer, base_lr=0.2)
    assert config.machine == dataclasses.replace(base.machine, data="here")
    assert config.experiment.epochs == 285.7


def test_the_config_of_a_run_serves_as_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = parse(["byol-cifar10", "--seed", "9", "--views.0.spec.hue", "0.3"])
    path.write_text(json.dumps({"config": to_dict(config), "started": "today"}))
    assert parse([str(path)]) == config
    again = parse([str(path), "--seed", "10"])
    assert again == dataclasses.replace(config, experiment=dataclasses.replace(config.experiment, seed=10))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--epoch", "3"], "--epochs"),
        (["--bath-size", "3"], "--batch-size"),
        (["--optimizer.baselr=3"], "--optimizer.base-lr"),
        (["--base-lr", "3"], "--optimizer.base-lr"),
        (["--optimiser.base-lr", "3"], "--optimizer.base-lr"),
        (["--seed", "1", "--view.0.num-views", "3"], "--views.0.num-views"),
        (["--method.queue_sise", "3"], "--method.queue-size"),
    ],
)
def test_a_misspelt_option_names_the_right_one(words: list[str], meant: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse(words)
    assert f"did you mean {meant}?" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_option_like_no_other_points_to_help() -> None:
    with pytest.raises(UserError, match=r"--qqqqqq.*--help"):
        parse(["--qqqqqq"])


def test_a_recipe_after_options_is_told_its_place() -> None:
    with pytest.raises(UserError, match="byol-cifar10: a recipe comes first"):
        parse(["--epochs", "3", "byol-cifar10"])


def test_an_unknown_recipe_lists_them_all() -> None:
    with pytest.raises(UserError) as refusal:
        parse(["byol-cifar"])
    assert all(name in str(refusal.value) for name in RECIPES)
    assert "did you mean byol-cifar10?" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--views.0.num-views", "0"], "num_views must be at least 1, not 0"),
        (["--views.0.num-views", "3"], "num_views 2 in all, not 3"),
        (["--epochs", "-1"], "epochs must be positive"),
        (["--epochs", "nan"], "epochs must be positive"),
        (["--views.0.spec.scale", "1", "0.5"], "scale"),
        (["--workers", "-1"], "--workers"),
        (["--batch-size", "100", "--accumulation-steps", "3"], "multiple"),
    ],
)
def test_values_that_a_config_refuses(words: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        parse(words)


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "many"],
        ["--batch-size", "3.5"],
        ["--precision", "fp8"],
        ["--epochs"],
        ["--views.0.spec.scale", "1"],
    ],
)
def test_values_of_the_wrong_type_end_with_status_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words[0] in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["absent.json", "folder.json"])
def test_a_config_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / name))):
        parse([str(tmp_path / name)])
