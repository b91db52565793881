"""Schedules, lengths, maps and their targets, by values worked by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fastssl.models import ResNet, ResNet9
from fastssl.optim.optimizer import build_optimizer, parameter_groups
from fastssl.transfer.networks.pixel_network import PixelClassifier, PixelDepth, on_image
from fastssl.transfer.task import Length
from fastssl.transfer.tasks.classification import Classification
from fastssl.transfer.tasks.coco import CocoFpn
from fastssl.transfer.tasks.few_labels import FewLabels
from fastssl.transfer.tasks.pixels import Depth
from fastssl.transfer.tasks.voc import Voc0712C4
from pipelines.command.errors import UserError
from pipelines.sources import open_source
from pipelines.sources.subset import Subset
from pipelines.targets import IGNORED, Targets, targets_of
from tests.helpers.coco_folder import write_coco
from tests.helpers.dense_batches import batch_of, encoder
from tests.helpers.memory_source import MemorySource


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
    ("task", "labels", "images", "steps_per_epoch", "epochs"),
    [
        (Classification, 100, 10_000, 19, 200),
        (Classification, 4000, 20_000, 39, 200),
        (Classification, 10_000, 10_000, 19, 200),
        (Classification, 20_000, 20_000, 39, 600),
        (Classification, 200_000, 50_000, 97, 600),
        (Depth, 250, 10_000, 156, 200),
        (Depth, 100_000, 10_000, 156, 600),
    ],
)
def test_epochs_are_the_papers(
    task: type[FewLabels], labels: int, images: int, steps_per_epoch: int, epochs: int
) -> None:
    length = task(labels=labels).length(max(labels, images))
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


def test_the_rate_rises_for_five_epochs_and_falls_to_its_end() -> None:
    task, length = Classification(), Length(steps=200 * 19, steps_per_epoch=19)
    at = {0: 0, 19: 0.2e-3, 5 * 19: 1e-3, 105 * 19: 1e-3 - (1e-3 - 1e-6) * 100 / 195, 200 * 19: 1e-6}
    assert [task.rate(step, length) for step in at] == pytest.approx(list(at.values()))


def test_depths_are_trained_on_as_stored() -> None:
    """Stored as 100 clip(d, 0, 2.55), trained on as a 25th of that; 0 counts as the batch's largest."""
    network = PixelDepth(ResNet9(ResNet9.Config(width=0.125)), 1, frozen=False)
    depth = np.array([[1.0, 4.3], [0.0, 0.5]], np.float32)
    targets = Targets(height=2, width=2, depth=depth)
    loss = network.loss(torch.zeros(1, 1, 2, 2), batch_of(torch.zeros(1, 3, 2, 2), [targets]))
    assert float(loss) == pytest.approx((4 + 10.2 + 10.2 + 2) / 4)
    found = network.prediction(np.full((1, 1, 1), 10.2, np.float32), (2, 2)).depth
    assert found is not None
    assert found == pytest.approx(np.full((2, 2), 2.55))


def test_pixels_without_a_class_are_not_learned() -> None:
    network = PixelClassifier(ResNet9(ResNet9.Config(width=0.125)), 2, frozen=False)
    classes = np.array([[0, IGNORED], [1, IGNORED]], np.uint8)
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 0, 0, 0] = 1.0
    targets = Targets(height=2, width=2, segmentation=classes)
    loss = network.loss(outputs, batch_of(torch.zeros(1, 3, 2, 2), [targets]))
    right, even = np.log(1 + np.exp(-1)), np.log(2)
    assert float(loss) == pytest.approx((right + even) / 2)


def test_maps_stand_in_the_central_square() -> None:
    whole = on_image(np.array([[1, 2], [3, 4]], np.uint8), (4, 6), 9)
    assert whole.tolist() == [[9, 1, 1, 2, 2, 9]] * 2 + [[9, 3, 3, 4, 4, 9]] * 2


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


def test_norms_of_an_anchor_go_ahead_of_the_training(tmp_path: Path) -> None:
    given, anchor = encoder(0), encoder(1)
    path = tmp_path / "anchor.pt"
    torch.save({name: 3 * value for name, value in anchor.state_dict().items()}, path)
    network = CocoFpn(scale="small", norm_rescale=str(path)).network(given, ("cat",))
    old, found, theirs = given.state_dict(), network.state_dict(), anchor.state_dict()
    weight = found["encoder.conv1.weight"]
    assert weight.norm().item() == pytest.approx(3 * theirs["conv1.weight"].norm().item(), rel=1e-5)
    torch.testing.assert_close(weight / weight.norm(), old["conv1.weight"] / old["conv1.weight"].norm())
    assert torch.equal(found["encoder.bn1.running_mean"], old["bn1.running_mean"])
    assert all(torch.equal(value, encoder(0).state_dict()[name]) for name, value in old.items())


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
