"""Schedules, lengths, maps and their targets, by values worked by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fastssl.models import ResNet, ResNet9
from fastssl.optim.optimizer import build_optimizer, parameter_groups
from fastssl.transfer.networks.pixel_network import PixelClassifier, PixelDepth, on_image
from fastssl.transfer.prediction import Prediction
from fastssl.transfer.schedules import dropped, polynomial, straight, warm_up
from fastssl.transfer.task import Length
from fastssl.transfer.tasks.classification import Classification
from fastssl.transfer.tasks.coco import CocoFpn, CocoFpnSiMo
from fastssl.transfer.tasks.depth import Depth, NearDepthError
from fastssl.transfer.tasks.few_labels import FewLabels
from fastssl.transfer.tasks.voc import Voc0712C4
from pipelines.command.errors import UserError
from pipelines.dense.dense_batch import DenseBatch
from pipelines.sources import open_source
from pipelines.sources.subset import Subset
from pipelines.targets import IGNORED, Targets, targets_of
from tests.helpers.coco_folder import write_coco
from tests.helpers.memory_source import MemorySource


def test_schedules_by_hand() -> None:
    assert [warm_up(step, 4, 0.2) for step in (0, 2, 4, 9)] == pytest.approx([0.2, 0.6, 1, 1])
    assert [dropped(step, 90, (60 / 90, 80 / 90)) for step in (59, 60, 79, 80)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert polynomial(0, 10) == 1
    assert polynomial(5, 10) == pytest.approx(0.5**0.9)
    assert [straight(step, 10, 2, 0.5) for step in (0, 1, 2, 6, 10)] == pytest.approx([0, 0.5, 1, 0.75, 0.5])


def test_voc0712_rates_are_mocos() -> None:
    task = Voc0712C4()
    length = task.length(16_551)
    assert length.steps == 24_000
    at = {0: 0.02e-3, 50: 0.02 * (0.001 + 0.999 * 0.5), 100: 0.02, 17_999: 0.02, 18_000: 0.002, 22_000: 2e-4}
    assert [task.rate(step, length) for step in at] == pytest.approx(list(at.values()))


def test_twelve_epochs_of_coco() -> None:
    assert CocoFpnSiMo().length(118_287).steps == 88_715
    assert CocoFpnSiMo(batch_size=160).length(118_287).steps == 8871
    assert CocoFpn().length(118_287).steps == 90_000


def test_detectors_have_no_batch_norm_groups_within_a_process() -> None:
    task = CocoFpn(batch_norm_group=8)
    with pytest.raises(UserError, match="give 16 or a multiple of it, or 0 for all"):
        task.network(ResNet(ResNet.Config(depth=18, width=0.125)), ["a"])


def test_images_without_objects_are_not_trained_on(tmp_path: Path) -> None:
    write_coco(tmp_path)
    source = open_source(str(tmp_path), "train")
    kept = CocoFpn().training_images(source, "here")
    objects = [len(targets_of(kept, index).classes) for index in range(len(kept.index))]  # type: ignore[arg-type]
    assert (len(source.index), objects) == (6, [3, 2, 1, 3, 1])
    none = Subset(source, np.array([4]))
    with pytest.raises(UserError, match="no training image of here has an object"):
        CocoFpn().training_images(none, "here")


@pytest.mark.parametrize(
    ("labels", "images", "steps_per_epoch", "epochs"),
    [
        (100, 10_000, 19, 200),
        (4000, 20_000, 39, 200),
        (10_000, 10_000, 19, 200),
        (20_000, 20_000, 39, 600),
        (200_000, 50_000, 97, 600),
    ],
)
def test_epochs_are_the_papers(labels: int, images: int, steps_per_epoch: int, epochs: int) -> None:
    length = Classification(labels=labels).length(max(labels, images))
    assert (length.steps_per_epoch, length.steps) == (steps_per_epoch, epochs * steps_per_epoch)


def test_few_labels_are_the_first_ones_whatever_the_seed_and_are_repeated_to_an_epoch() -> None:
    source = MemorySource(40)
    files = [bytes(source.read(index)) for index in range(40)]

    def counts(task: FewLabels) -> dict[int, int]:
        """How often each image stands in an epoch."""
        images = task.training_images(source, "here")
        return dict(Counter(files.index(bytes(images.read(index))) for index in range(len(images.index))))

    few = counts(Classification(labels=3))
    assert sorted(few.values()) == [3333, 3333, 3334]
    assert few == counts(Classification(labels=3, seed=7)) == counts(Depth(labels=3))
    more = counts(Classification(labels=16, epoch_images=32))
    assert [*more.values()] == [2] * 16
    assert few.keys() < more.keys()
    assert counts(Classification(labels=16, epoch_images=16)) == dict.fromkeys(more, 1)
    assert len(Classification().training_images(source, "here").index) == 10_000
    with pytest.raises(UserError, match=r"--labels 41: here has 40 training images: give at most these"):
        counts(Classification(labels=41))


def test_dense_epochs_are_of_ten_thousand_images() -> None:
    assert Depth(labels=250).length(10_000).steps_per_epoch == 10_000 // 64
    assert Depth(labels=100_000).length(100_000).steps_per_epoch == 10_000 // 64


def test_the_rate_rises_for_five_epochs_and_falls_to_its_end() -> None:
    task, length = Classification(), Length(steps=200 * 19, steps_per_epoch=19)
    rates = [task.rate(step, length) for step in (0, 5 * 19, 200 * 19 - 1)]
    assert rates == pytest.approx([0, 1e-3, 1e-6], abs=1e-6)


def batch(targets: list[Targets], side: int) -> DenseBatch:
    count = len(targets)
    return DenseBatch(
        step=0,
        epoch=0,
        images=torch.zeros(count, 3, side, side),
        sizes=np.full((count, 2), side),
        original_sizes=np.full((count, 2), side),
        targets=tuple(targets),
        labels=None,
        sample_ids=np.arange(count),
        indices=np.arange(count),
    )


def test_depths_are_trained_on_as_stored() -> None:
    """Stored as 100 clip(d, 0, 2.55), trained on as a 25th of that; 0 counts as the batch's largest."""
    network = PixelDepth(ResNet9(ResNet9.Config(width=0.125)), 1, frozen=False)
    depth = np.array([[1.0, 4.3], [0.0, 0.5]], np.float32)
    targets = Targets(height=2, width=2, depth=depth)
    loss = network.loss(torch.zeros(1, 1, 2, 2), batch([targets], 2))
    assert float(loss) == pytest.approx((4 + 10.2 + 10.2 + 2) / 4)
    found = network.prediction(np.full((1, 1, 1), 10.2, np.float32), (2, 2)).depth
    assert found is not None
    assert found == pytest.approx(np.full((2, 2), 2.55))


def test_pixels_without_a_class_are_not_learned() -> None:
    network = PixelClassifier(ResNet9(ResNet9.Config(width=0.125)), 2, frozen=False)
    classes = np.array([[0, IGNORED], [1, IGNORED]], np.uint8)
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 0, 0, 0] = 1.0
    loss = network.loss(outputs, batch([Targets(height=2, width=2, segmentation=classes)], 2))
    right, even = np.log(1 + np.exp(-1)), np.log(2)
    assert float(loss) == pytest.approx((right + even) / 2)


def test_maps_stand_in_the_central_square() -> None:
    whole = on_image(np.array([[1, 2], [3, 4]], np.uint8), (4, 6), 9)
    assert whole.tolist() == [[9, 1, 1, 2, 2, 9]] * 2 + [[9, 3, 3, 4, 4, 9]] * 2


def test_depth_is_measured_up_to_the_farthest() -> None:
    evaluator = NearDepthError()
    targets = Targets(height=1, width=2, depth=np.array([[4.3, 1.0]], np.float32))
    evaluator.add(Prediction(depth=np.array([[2.55, 1.0]], np.float32)), targets)
    assert evaluator.metrics()["RMSE"] == pytest.approx(0, abs=1e-6)


def test_norms_are_undecayed_and_biases_are_decayed() -> None:
    task = Voc0712C4(scale="small")
    encoder = ResNet(ResNet.Config(depth=18, width=0.125))
    network = task.network(encoder, ("cat", "dog"))
    groups = parameter_groups(task.parameter_parts(network), task.optimizer_config())
    decays = {id(each): group["weight_decay"] for group in groups for each in group["params"]}
    assert len(decays) == sum(1 for each in network.parameters() if each.requires_grad)
    names = {name: decays[id(each)] for name, each in network.named_parameters()}
    assert names["encoder.bn1.weight"] == names["norm.bias"] == 0
    assert names["encoder.conv1.weight"] == names["boxes.cls_score.bias"] == 1e-4


def test_lars_adapts_and_decays_weights_alone() -> None:
    task = Voc0712C4(scale="small", optimizer="lars")
    network = task.network(ResNet(ResNet.Config(depth=18, width=0.125)), ("cat", "dog"))
    optimizer = build_optimizer(task.parameter_parts(network), task.optimizer_config())
    found = {
        (parameter.ndim > 1, group["adapt"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {(True, True, 1e-4), (False, False, 0.0)}
