import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastssl.config import Config, Experiment, Machine
from fastssl.config_values import VERSION, differing_fields, from_dict, read_config, to_dict
from fastssl.methods import BYOL, METHODS, SimCLR, SiMo, Supervised
from fastssl.optim import LARS
from fastssl.recipes import RECIPES, quickstart
from pipelines.command.errors import UserError
from pipelines.ops import GaussianBlur, PaddedCrop
from pipelines.views import LAB_MEAN, LAB_STD, ViewGroup, ViewSpec
from tests.helpers.methods import narrow

KINDS = ", ".join(method.Config.kind for method in METHODS)


def through_json(config: Config) -> Config:
    return from_dict(json.loads(json.dumps(to_dict(config))), "here")


def altered() -> Config:
    """A config in which every kind of field has another value than its default."""
    base = quickstart()
    experiment = replace(
        base.experiment,
        epochs=285.7,
        precision="fp16",
        accumulation_steps=4,
        views=(
            ViewGroup(
                spec=ViewSpec(size=96, blur=GaussianBlur(sigma=(0.2, 0.7)), mean=(0.1, 0.2, 0.3)), num_views=1
            ),
            ViewGroup(
                spec=ViewSpec(
                    size=48, crop=PaddedCrop(padding=3), color_space="lab", mean=LAB_MEAN, std=LAB_STD
                ),
                num_views=1,
            ),
        ),
        method=narrow(BYOL, {"teacher.ascending": False}, out_dim=64),
        optimizer=LARS.Config(exclude_norm_and_bias=True, trust_coefficient=0.02),
    )
    machine = Machine(data="some where/*.tar", out="ünï/ruñ", max_bad_images=7, checkpoint_minutes=0.5)
    return Config(recipe="my own", experiment=experiment, machine=machine)


def test_lab_views_are_normalized_by_constants_of_lab() -> None:
    """Those of RGB are refused; those that the refusal names center and scale CIFAR-10's colors in Lab."""
    experiment = quickstart().experiment

    def with_views(**changes: object) -> Experiment:
        spec = replace(experiment.views[0].spec, color_space="lab", **changes)  # type: ignore[arg-type]
        return replace(experiment, views=(replace(experiment.views[0], spec=spec),))

    with pytest.raises(UserError, match=r"\.mean 0\.5084 0\.5035 0\.5244 --views\.0\.spec\.std 0"):
        with_views()
    assert with_views(mean=LAB_MEAN, std=LAB_STD)
    lab = [
        (value * scale - shift)
        for value, scale, shift in zip(LAB_MEAN, (100, 255, 255), (0, 128, 128), strict=True)
    ]
    assert lab == pytest.approx([50.84, 0.40, 5.73])
    assert [100 * LAB_STD[0], 255 * LAB_STD[1], 255 * LAB_STD[2]] == pytest.approx([24.26, 10.15, 16.08])


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_reloads_from_json_as_it_was(name: str) -> None:
    config = RECIPES[name]()
    assert through_json(config) == config
    assert hash(through_json(config)) == hash(config)  # tuples have not become lists


def test_overrides_reload_from_json_as_they_were() -> None:
    config = altered()
    assert config.experiment != quickstart().experiment
    assert through_json(config) == config
    supervised = replace(config.experiment, method=Supervised.Config(), views=config.experiment.views[1:])
    assert through_json(replace(config, experiment=supervised)).experiment.method == supervised.method


def test_a_run_folders_other_entries_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": to_dict(altered()), "python": "3.11", "anything": [1]}))
    assert read_config(path) == altered()


Edit = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c.update(version=VERSION + 1), f"version {VERSION + 1}"),
        (lambda c: c.pop("version"), "version None"),
        (lambda c: c["experiment"].update(epoch=3), "epoch"),
        (lambda c: c["experiment"]["views"][0]["spec"].update(sise=3), "sise"),
        (lambda c: c["machine"].update(dtaa="x"), "dtaa"),
        (lambda c: c["experiment"].pop("batch_size"), "batch_size"),
        (lambda c: c["experiment"].update(epochs=-1), "--epochs must be above 0, not -1"),
        (lambda c: c["experiment"].update(epochs="many"), "experiment.epochs"),
        (lambda c: c["experiment"].update(batch_size=256.5), "experiment.batch_size"),
        (lambda c: c["experiment"].update(batch_size=None), "experiment.batch_size"),
        (lambda c: c["experiment"].update(precision="fp8"), "fp8"),
        (lambda c: c["experiment"]["backbone"].update(zero_init_residual="false"), "zero_init_residual"),
        (lambda c: c["experiment"]["method"].update(kind="swav"), "swav"),
        (lambda c: c["experiment"]["method"].pop("kind"), KINDS),
        (lambda c: c["experiment"].update(method=[]), "experiment.method"),
        (lambda c: c["experiment"]["views"][0]["spec"].update(mean=[0.5, 0.5]), "spec.mean"),
        (lambda c: c["experiment"]["views"][0]["spec"]["crop"].update(kind="oval"), "random_resized, padded"),
        (lambda c: c["experiment"]["views"][0].update(num_views=0), "num_views must be at least 1"),
        (lambda c: c.update(experiment=None), "experiment"),
    ],
)
def test_json_that_does_not_fit_is_one_line_that_says_why(tmp_path: Path, edit: Edit, words: str) -> None:
    values = json.loads(json.dumps(to_dict(quickstart())))
    edit(values)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": values}))
    with pytest.raises(UserError) as refusal:
        read_config(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert words in str(refusal.value)
    assert "unknown error" not in str(refusal.value)


@pytest.mark.parametrize(
    "content", [b'{"config": {"version"', b"", b"[]", b"3", b'{"config": 3}', b"{}", b"\xff\xfe\x00", None]
)
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read_config(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_differing_fields_are_named_where_they_lie() -> None:
    experiment = quickstart().experiment
    assert differing_fields(experiment, replace(experiment)) == []
    group = experiment.views[0]
    other = replace(
        experiment,
        seed=3,
        optimizer=replace(experiment.optimizer, base_lr=0.5),
        views=(
            replace(
                group,
                spec=replace(
                    group.spec, jitter=replace(group.spec.jitter, hue=0.2), mean=(0.485, 0.5, 0.406)
                ),
            ),
        ),
    )
    assert differing_fields(experiment, other) == [
        "seed (0 became 3)",
        "views.0.spec.jitter.hue (0.1 became 0.2)",
        "views.0.spec.mean.1 (0.456 became 0.5)",
        "optimizer.base_lr (0.12 became 0.5)",
    ]


def test_differing_fields_of_another_method_or_number_of_groups() -> None:
    experiment = quickstart().experiment
    moco: Any = experiment.method
    method = BYOL.Config(projector=moco.projector, predictor=moco.predictor, teacher=moco.teacher)
    byol = replace(experiment, method=method)
    names = [line.split(" (")[0] for line in differing_fields(experiment, byol)]
    assert names[0] == "method.kind"
    assert "method.loss" in names
    assert all(name.startswith("method.") for name in names)
    (group,) = experiment.views
    twice = replace(experiment, views=(replace(group, num_views=1),) * 2)
    for old, new in ((experiment, twice), (twice, experiment)):
        first, second = differing_fields(old, new)
        assert first.startswith("views.0.num_views (")
        assert second.startswith("views.1 (")
        assert len(second) < 60


def experiment_with(**fields: Any) -> Experiment:
    return replace(quickstart().experiment, **fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_size": 1}, "--batch-size"),
        ({"batch_size": 4, "accumulation_steps": 4}, "at least 2 images"),
        ({"batch_size": 10, "accumulation_steps": 3}, "multiple of --accumulation-steps 3"),
        ({"batch_size": 8, "method": narrow(SiMo, {"loss.num_negatives": 9})}, "batch holds 8 images"),
        (
            {"batch_size": 16, "accumulation_steps": 2, "method": narrow(SimCLR, {"loss.num_negatives": 15})},
            "8 images have 14 views",
        ),
        ({"views": ()}, "num_views 2 in all, not 0"),
        ({"method": Supervised.Config()}, "num_views 1 in all, not 2"),
    ],
)
def test_experiments_that_cannot_run_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        experiment_with(**fields)


def test_out_defaults_to_the_recipes_folder() -> None:
    assert quickstart().out == Path("runs/quickstart")
    assert replace(quickstart(), machine=Machine(out="there")).out == Path("there")


@pytest.mark.parametrize("field", ["data", "monitor_data"])
def test_an_address_with_a_password_never_reaches_a_config(field: str) -> None:
    machine = quickstart().machine
    assert replace(machine, **{field: "s3://bucket/set"})  # type: ignore[arg-type]
    with pytest.raises(UserError, match="holds a password"):
        replace(machine, **{field: "s3://key:secret@bucket/set"})  # type: ignore[arg-type]


def test_fields_are_read_by_their_former_names() -> None:
    config = quickstart()
    values = to_dict(config)
    values["machine"]["product"] = values["machine"].pop("cpu_output")
    assert from_dict(values, "an older run") == config
