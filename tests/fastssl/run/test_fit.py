"""Sizes of a run against those of its data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastssl.config import Experiment, Machine
from fastssl.config_values import read_config
from fastssl.methods import BYOL, CMC, METHODS, Method, SimCLR, SiMo
from fastssl.models import ResNet, ResNet9
from fastssl.recipes import find_recipe
from fastssl.recipes.variant import with_changes
from fastssl.run.fit import fit_line, fitted, size_warnings
from fastssl.train import main
from pipelines.views import LAB_MEAN, LAB_STD
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow

OWN = find_recipe("my-images").experiment


def sizes(experiment: Experiment) -> tuple[int, int | None]:
    method: Any = experiment.method
    return experiment.batch_size, method.loss.num_negatives


@pytest.mark.parametrize(
    ("images", "batch_size", "queue"),
    [
        (1_000_000, 256, 4096),
        (8192, 256, 4096),  # exactly twice the queue
        (8191, 256, 2048),
        (1000, 64, 256),  # 1000 / 8 = 125 and 1000 / 2 = 500
        (60, 4, 16),
        (9, 2, 4),
        (1, 2, 1),
    ],
)
def test_batch_and_queue_follow_the_number_of_images(images: int, batch_size: int, queue: int) -> None:
    found = fitted(OWN, images)
    assert sizes(found) == (batch_size, queue)
    assert fitted(found, images) == found
    assert replace(found, batch_size=256, method=OWN.method) == OWN  # nothing else has changed


def test_what_was_fitted_is_said() -> None:
    (line,) = fit_line(OWN, fitted(OWN, 1000), 1000)
    assert line == (
        "fitted to 1000 images: batch_size (256 became 64), method.loss.num_negatives (4096 became 256)"
    )
    assert not list(fit_line(OWN, fitted(OWN, 10**6), 10**6))


def test_only_recipes_that_ask_are_fitted() -> None:
    for name in ("moco-v2-plus-imagenet", "quickstart"):
        experiment = find_recipe(name).experiment
        assert fitted(experiment, 100) is experiment


@pytest.mark.parametrize("kind", METHODS)
def test_every_method_fits_its_batch(kind: type[Method]) -> None:
    views = (replace(OWN.views[0], num_views=narrow(kind).num_views),)
    experiment = replace(OWN, method=kind.Config(), views=views)
    found = fitted(experiment, 100)
    assert found.batch_size == 8
    found.method.check(found)


def test_negatives_of_the_batch_are_lowered_with_it() -> None:
    changes = {"batch_size": 256, "method": SimCLR.Config(loss=SimCLR.Config().loss)}
    simclr = with_changes(with_changes(OWN, changes), {"method.loss.num_negatives": 200})
    assert sizes(fitted(simclr, 100)) == (8, 14)
    assert sizes(fitted(replace(OWN, method=SiMo.Config()), 100)) == (8, 8)


def warned(experiment: Experiment, images: int, steps: int = 100) -> list[str]:
    config = replace(find_recipe("my-images"), experiment=experiment, machine=Machine(log_every=20))
    return list(size_warnings(config, images, steps))


def test_a_queue_with_more_keys_than_images_is_warned_of() -> None:
    (line,) = warned(OWN, 1000)
    assert "holds 4096 keys and the data has 1000 images" in line
    assert line.endswith("set --method.loss.num-negatives 256")
    assert not warned(OWN, 4096)
    assert not warned(replace(OWN, method=BYOL.Config()), 10)


@pytest.mark.parametrize(
    ("backbone", "size", "expected"),
    [
        (ResNet.Config(depth=18, stem="cifar"), 64, True),
        (ResNet.Config(depth=18, stem="cifar"), 32, False),
        (ResNet.Config(depth=18), 224, False),
        (ResNet9.Config(), 64, False),
    ],
)
def test_the_cifar_stem_at_large_views_is_warned_of(backbone: Any, size: int, expected: bool) -> None:
    found = warned(with_changes(OWN, {"backbone": backbone, "views": views_of(size)}), 10_000)
    assert len(found) == expected
    assert all("costs about 16 times" in line and "--backbone.stem imagenet" in line for line in found)


def views_of(size: int) -> Any:
    (group,) = OWN.views
    return (replace(group, spec=replace(group.spec, size=size)),)


def test_a_method_for_lab_is_warned_of_views_in_rgb() -> None:
    (group,) = OWN.views
    method = CMC.Config(num_negatives=8)
    one_view = replace(OWN, method=method, views=(replace(group, num_views=1),))
    (line,) = warned(one_view, 10_000)
    assert "cmc is made for views in lab" in line
    assert "--views.0.spec.color-space lab" in line
    in_lab = replace(group.spec, color_space="lab", mean=LAB_MEAN, std=LAB_STD)
    assert not warned(replace(one_view, views=(replace(group, spec=in_lab, num_views=1),)), 10_000)


def test_a_run_shorter_than_a_logging_interval_is_warned_of() -> None:
    (line,) = warned(OWN, 10_000, steps=19)
    assert line == "the run's 19 steps are fewer than one logging interval of 20: set --log-every 1"
    assert not warned(OWN, 10_000, steps=20)


def test_a_run_on_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one would start it, at 32 pixels."""
    write_colors(tmp_path / "images", 12, side=40)
    words = ["my-images", "--data", str(tmp_path / "images"), "--out", str(tmp_path / "run")]
    words += ["--epochs", "1", "--views.0.spec.size", "32", "--device", "cpu"]
    for _ in range(2):  # the second finds the run finished, fitted as it was
        assert main(words) == 0
    said = "".join(capsys.readouterr())
    assert "fitted to 36 images: batch_size (256 became 4), method.loss.num_negatives (4096 became" in said
    assert "warning: the run's 9 steps are fewer than one logging interval of 20" in said
    assert sizes(read_config(tmp_path / "run" / "config.json").experiment) == (4, 16)
