import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from torch import nn

from fastssl.evaluate.augmentation import AugmentationChoice
from fastssl.evaluate.data import LabeledData, labeled_data
from fastssl.evaluate.features import FeatureConfig, Features
from fastssl.evaluate.linear import Linear, _cropped_batches, linear_predictions
from fastssl.evaluate.linear_setting import SETTINGS, LinearSetting, SettingName, choose_setting
from fastssl.evaluate.subject import Subject
from pipelines.decode.bad_images import BadImages
from pipelines.ops import CenterCrop, Flip
from pipelines.views import ViewSpec
from tests.helpers.image_folder import write_colors
from tests.helpers.power_cut import stopped_at

SIDE, TRAIN, TEST = 20, 16, 5  # pixels, and images per class
SHORT = LinearSetting(epochs=12, batch_size=16, learning_rate=2.0, nesterov=False, drops=(8, 10))
HOW = FeatureConfig(
    spec=ViewSpec(size=SIDE, crop=CenterCrop(fraction=1.0), flip=Flip(p=0.0)),
    device=torch.device("cpu"),
    bad_images=BadImages(None, 10),
    workers=2,
)


def linear_result(
    subject: Subject, setting: LinearSetting, augmentation: AugmentationChoice = "auto", seed: int = 0
) -> dict[str, Any]:
    return linear_predictions(subject, setting, augmentation, seed, None)[1]


@pytest.fixture
def data(tmp_path: Path, own_cache: Path) -> LabeledData:
    """Three classes that differ in their color."""
    write_colors(tmp_path / "data" / "train", TRAIN, side=SIDE)
    write_colors(tmp_path / "data" / "test", TEST, side=SIDE, seed=1)
    return labeled_data(str(tmp_path / "data"))


class Means(nn.Module):
    """The mean color of the left and of the right half, [B, 6]."""

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        return torch.cat([half.mean((2, 3)) for half in views.chunk(2, dim=3)], 1)


def subject(encoder: nn.Module, data: LabeledData, config: FeatureConfig = HOW) -> Subject:
    return Subject(encoder=encoder, data=data, feature_config=config)


@dataclass(frozen=True, kw_only=True)
class Recorded(LinearSetting):
    """A setting that writes down what it is asked."""

    asked: list[tuple[int, int, int]]

    def rate(self, step: int, steps_per_epoch: int, batch_size: int) -> float:
        self.asked.append((step, steps_per_epoch, batch_size))
        return super().rate(step, steps_per_epoch, batch_size)


@dataclass(frozen=True, kw_only=True)
class SpoiltAtTheEnd(LinearSetting):
    """Learns, and in the last epoch climbs up the loss instead."""

    def rate(self, step: int, steps_per_epoch: int, batch_size: int) -> float:
        last = step // steps_per_epoch == self.epochs - 1
        return -1e4 if last else super().rate(step, steps_per_epoch, batch_size)


# --- the schedules, by hand from the papers -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "epochs", "weight_decay", "rates"),
    [
        # Huang et al. (2022), section 3.2
        ("sgd", 100, 0.0, {0: 30, 59: 30, 60: 3, 79: 3, 80: 0.3, 99: 0.3}),
        # Zhu et al. (2020), for SimCLR
        ("simclr", 90, 1e-6, {0: 0.1, 59: 0.1, 60: 0.01, 79: 0.01, 80: 0.001, 89: 0.001}),
        # supplement of Moon et al. (2022): two drops, equally spaced
        ("inat18", 84, 1e-4, {0: 0.2, 27: 0.2, 28: 0.02, 55: 0.02, 56: 0.002, 83: 0.002}),
        ("places205", 28, 1e-4, {0: 0.2, 8: 0.2, 9: 0.02, 18: 0.02, 19: 0.002, 27: 0.002}),
    ],
)
def test_rates_at_256_images_are_divided_by_10_twice(
    name: SettingName, epochs: int, weight_decay: float, rates: dict[int, float]
) -> None:
    setting = SETTINGS[name]
    assert (setting.epochs, setting.batch_size, setting.nesterov) == (epochs, 256, False)
    assert setting.weight_decay == weight_decay
    for epoch, rate in rates.items():
        for step in (epoch * 5, epoch * 5 + 4):  # the first and the last of five steps
            assert setting.rate(step, 5, 256) == pytest.approx(rate)
            assert setting.rate(step, 5, 64) == pytest.approx(rate / 4)


def test_the_lars_setting_is_a_cosine_from_0_8_at_1024_over_80_epochs() -> None:
    setting = SETTINGS["lars"]
    assert (setting.epochs, setting.batch_size, setting.nesterov) == (80, 1024, True)
    assert setting.weight_decay == 0
    shares = [0, 1 / 4, 1 / 2, 3 / 4]  # of 400 steps
    rates = [setting.rate(round(400 * share), 5, 1024) for share in shares]
    assert rates == pytest.approx([0.8, 0.4 * (1 + math.sqrt(0.5)), 0.4, 0.4 * (1 - math.sqrt(0.5))])
    assert 0 < setting.rate(399, 5, 1024) < 1e-4
    assert setting.rate(0, 5, 128) == pytest.approx(0.1)


def test_only_the_search_standardizes_features_and_chooses_a_rate() -> None:
    assert [name for name, setting in SETTINGS.items() if setting.standardized] == ["search"]
    assert [name for name, setting in SETTINGS.items() if setting.candidates] == ["search"]
    assert SETTINGS["search"].weight_decay == 0


@dataclass
class Counted:
    """A source of which only the number of images is asked."""

    index: np.ndarray


@pytest.mark.parametrize(
    ("facts", "images", "size", "expected"),
    [
        ({"of_paper": True, "optimizer": "sgd"}, 1_281_167, 224, "sgd"),
        ({"of_paper": True, "optimizer": "lars"}, 126_689, 224, "lars"),
        ({"of_paper": True, "optimizer": "lars", "method": "simclr"}, 1_281_167, 224, "simclr"),
        ({"of_paper": True, "optimizer": "sgd"}, 1_000, 224, "search"),  # on a user's own images
        ({"of_paper": True, "optimizer": "sgd"}, 1_281_167, 32, "search"),  # the tiny scale of a study
        ({"optimizer": "sgd"}, 1_281_167, 224, "search"),
        ({"of_paper": True, "optimizer": "adamw"}, 1_281_167, 224, "sgd"),
    ],
)
def test_papers_settings_are_for_their_recipes_at_their_scale(
    facts: dict[str, Any], images: int, size: int, expected: str
) -> None:
    source: Any = Counted(np.empty(images, np.int8))
    data = LabeledData(train=source, test=source, test_images_are="", split=source)
    config = replace(HOW, spec=replace(HOW.spec, size=size))
    found = Subject(encoder=Means(), data=data, feature_config=config, **facts)
    assert choose_setting(found) == expected


# --- the search ---------------------------------------------------------------------------------------------


class Overlapping(Subject):
    """Features of three classes that overlap, at a scale at which the papers' rate diverges."""

    def features(self, split: Any, *, mirrored: bool = False) -> Features:
        source = self.data.train if split == "train" else self.data.test
        labels = torch.from_numpy(source.index.labels)
        noise = torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(len(labels) + mirrored))
        return 20 * (2 * torch.eye(8)[labels] + noise), labels


def test_a_rate_is_found_where_the_papers_diverges(data: LabeledData) -> None:
    found = Overlapping(encoder=Means().eval(), data=data, feature_config=HOW)
    papers = Linear(setting="sgd", epochs=10)
    diverged = papers.measure(found)
    assert diverged["train_loss"] > math.log(3)
    said = papers.report(found, diverged)
    assert "exceeds log(3) = 1.1" in said
    assert "--setting search" in said
    searched = replace(papers, setting="auto")
    result = searched.measure(found)
    assert result["settings"]["setting"] == "search"
    assert result["top1"] > 0.5
    assert result["train_loss"] < diverged["train_loss"] / 5
    scores = result["train_held_out_top1"]
    assert scores.keys() == {f"lr {rate:g}" for rate in SETTINGS["search"].candidates}
    assert scores[f"lr {result['settings']['learning_rate']:g}"] == max(scores.values())
    assert "--setting search" not in searched.report(found, result)


def test_test_images_have_no_say_in_the_rate(data: LabeledData) -> None:
    class Forgetful(Subject):
        """Test images whose labels are all wrong."""

        def features(self, split: Any, *, mirrored: bool = False) -> Features:
            features, labels = super().features(split, mirrored=mirrored)
            return features, (labels + 1) % 3 if split == "test" else labels

    setting = SETTINGS["search"].lasting(5)
    right = linear_result(subject(Means().eval(), data), setting)
    wrong = linear_result(Forgetful(encoder=Means().eval(), data=data, feature_config=HOW), setting)
    assert (right["top1"], wrong["top1"]) == (1.0, 0.0)
    for key in ("settings", "train_loss", "train_held_out_top1"):
        assert right[key] == wrong[key]


def test_held_out_images_are_judged_unseen_and_learned_from_in_the_end(data: LabeledData) -> None:
    """Labels at random: what was learned by heart is known, what was not seen is chance."""

    class AtRandom(Subject):
        def features(self, split: Any, *, mirrored: bool = False) -> Features:
            generator = torch.Generator().manual_seed(0)  # the same ones in both splits and from both sides
            return torch.randn(48, 200, generator=generator), torch.arange(48) % 3

    result = linear_result(
        AtRandom(encoder=Means(), data=data, feature_config=HOW),
        replace(SETTINGS["search"].lasting(20), candidates=(1.0, 3.0)),
    )
    assert result["top1"] == 1.0
    assert max(result["train_held_out_top1"].values()) < 0.8


def test_freshly_drawn_views_of_held_out_images_are_told_apart(data: LabeledData) -> None:
    held = np.arange(48) % 5 == 0
    index = data.train.index
    batches = list(_cropped_batches(subject(Means().eval(), data), held, 16, 1, 0, 0))
    labels = torch.cat([labels[held_out] for _, labels, held_out in batches])
    assert index.labels is not None
    assert sorted(labels.tolist()) == sorted(index.labels[held].tolist())


# --- the evaluation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["flip", "crop"])
@pytest.mark.parametrize("name", ["sgd", "lars", "simclr", "search"])
def test_separable_classes_are_separated(data: LabeledData, name: SettingName, augmentation: str) -> None:
    setting = SETTINGS[name].lasting(20)
    if name == "simclr":  # its rate is a 300th of sgd's: for features of 2048 dimensions
        setting = replace(setting, learning_rate=10.0)
    result = linear_result(subject(Means().eval(), data), setting, augmentation)  # type: ignore[arg-type]
    assert result["top1"] == 1.0
    assert result["augmentation"] == augmentation
    assert result["epochs"] == 20


def test_features_that_say_nothing_give_chance(data: LabeledData) -> None:
    class Nothing(nn.Module):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(views), 4)

    result = linear_result(subject(Nothing().eval(), data), replace(SHORT, learning_rate=0.1))
    assert result["top1"] == pytest.approx(1 / 3)
    assert result["train_loss"] == pytest.approx(math.log(3), abs=0.1)


@pytest.mark.parametrize(("batch", "used", "steps"), [(16, 16, 3), (13, 13, 3), (256, 48, 1)])
@pytest.mark.parametrize("augmentation", ["flip", "crop"])
def test_epochs_are_whole_batches_and_a_small_data_set_lowers_batch_and_rate(
    data: LabeledData, augmentation: str, batch: int, used: int, steps: int
) -> None:
    asked: list[tuple[int, int, int]] = []
    setting = Recorded(epochs=4, batch_size=batch, learning_rate=1.0, nesterov=True, drops=(), asked=asked)
    result = linear_result(subject(Means().eval(), data), setting, augmentation)  # type: ignore[arg-type]
    assert asked == [(step, steps, used) for step in range(4 * steps)]
    assert result["batch_size"] == used
    assert setting.rate(0, steps, used) == pytest.approx(used / batch)


def test_the_last_epoch_counts_not_the_best(data: LabeledData) -> None:
    setting = SpoiltAtTheEnd(epochs=12, batch_size=16, learning_rate=2.0, nesterov=False, drops=())
    assert linear_result(subject(Means().eval(), data), SHORT)["top1"] == 1.0
    result = linear_result(subject(Means().eval(), data), setting)
    assert result["top1"] < 0.5
    assert result["train_loss"] > 10  # of the last epoch alone


@pytest.mark.parametrize("augmentation", ["flip", "crop"])
def test_it_repeats_to_the_bit_and_follows_the_seed(data: LabeledData, augmentation: str) -> None:
    def run(seed: int, workers: int) -> dict[str, object]:
        torch.manual_seed(workers)  # the global generator has no say
        how = replace(HOW, workers=workers)
        slow = replace(SHORT, learning_rate=0.05)  # so that the loss is not 0 in the end
        return linear_result(subject(Means().eval(), data, how), slow, augmentation, seed)  # type: ignore[arg-type]

    assert run(3, 1) == run(3, 2)
    assert run(4, 1)["train_loss"] != run(3, 1)["train_loss"]


@pytest.mark.parametrize("candidates", [(), (0.05, 0.5)], ids=["one rate", "search"])
@pytest.mark.parametrize("augmentation", ["flip", "crop"])
def test_a_training_goes_on_to_the_bit(
    data: LabeledData, tmp_path: Path, augmentation: AugmentationChoice, candidates: tuple[float, ...]
) -> None:
    setting = replace(SHORT, learning_rate=0.05, candidates=candidates)
    features = subject(Means().eval(), data)
    classes, expected = linear_predictions(features, setting, augmentation, 3, None)
    for step in (7, 12, 35):  # of 36: within an epoch, at the end of one, and in the last
        with stopped_at(step):
            linear_predictions(features, setting, augmentation, 3, tmp_path / "state.pt")
        assert torch.load(tmp_path / "state.pt")["step"] == step
    for _ in range(2):  # the second time nothing is left of it
        predicted, result = linear_predictions(features, setting, augmentation, 3, tmp_path / "state.pt")
        assert result == expected
        assert torch.equal(predicted, classes)


@pytest.mark.parametrize(("size", "augmentation"), [(63, "flip"), (64, "crop")])
def test_small_images_are_cached(data: LabeledData, size: int, augmentation: str) -> None:
    calls = []

    class Counted(Means):
        def forward(self, views: torch.Tensor) -> torch.Tensor:
            calls.append(len(views))
            return super().forward(views)

    how = replace(HOW, spec=replace(HOW.spec, size=size))
    result = linear_result(subject(Counted().eval(), data, how), SHORT)
    assert result["augmentation"] == augmentation
    seen_anew = SHORT.epochs * 3 * TRAIN if augmentation == "crop" else 2 * 3 * TRAIN
    assert sum(calls) == 3 * TEST + seen_anew


@pytest.mark.usefixtures("own_cache")
def test_mirror_images_are_trained_on_too(tmp_path: Path) -> None:
    """Classes that differ in their bright side alone cannot be learnt from either side's image."""
    for split in ("train", "test"):
        for side, name in enumerate(("left", "right")):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(20):
                pixels = np.full((SIDE, SIDE, 3), 60 + number, np.uint8)
                pixels[:, side * SIDE // 2 :][:, : SIDE // 2] = 200
                path = tmp_path / "data" / split / name / f"{number}.jpg"
                path.write_bytes(simplejpeg.encode_jpeg(pixels))
    data = labeled_data(str(tmp_path / "data"))
    result = linear_result(subject(Means().eval(), data), replace(SHORT, learning_rate=0.1), "flip")
    assert result["train_loss"] > 0.6  # log 2 = 0.69 is ignorance; seen from one side only it is near 0


def test_the_encoder_is_left_as_it_was(data: LabeledData) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for augmentation in ("flip", "crop"):
        linear_result(subject(encoder, data), replace(SHORT, epochs=2), augmentation)
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(weight.grad is None for weight in encoder.parameters())
