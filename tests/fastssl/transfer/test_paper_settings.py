"""Settings of the tasks, typed anew from MoCo's detectron2 configs and from the papers."""

from typing import Any

import pytest

from fastssl.transfer.networks.deeplab import DeepLabSettings
from fastssl.transfer.options import parse
from fastssl.transfer.task import find_task
from fastssl.transfer.tasks.cityscapes import CityscapesDeepLab
from fastssl.transfer.tasks.coco import CocoFpnSiMo
from fastssl.transfer.tasks.detection import Detection
from pipelines.views import ViewSpec

VOC, COCO = tuple(range(480, 801, 32)), tuple(range(640, 801, 32))  # short sides
DETECTORS = {  # steps, drops of the rate, rate at 16 images, warm-up steps, short sides, FPN, masks
    "voc07-c4": (9000, (6750, 8250), 0.02, 100, VOC, False, False),
    "voc0712-c4": (24_000, (18_000, 22_000), 0.02, 100, VOC, False, False),
    "coco-c4": (90_000, (60_000, 80_000), 0.02, 1000, COCO, False, True),
    "coco-fpn": (90_000, (60_000, 80_000), 0.02, 1000, COCO, True, True),
    "coco-fpn-msbreg": (90_000, (60_000, 80_000), 0.05, 50, COCO, True, True),
    "coco-fpn-simo": (88_715, (51_750, 81_322), 0.02, 1000, COCO, True, True),  # epochs 7 and 11 of 12
}


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors(name: str) -> None:
    steps, drops, rate, warmup, short_sides, pyramid, masks = DETECTORS[name]
    task = find_task(name)()
    assert isinstance(task, Detection)
    length = task.length(118_287)  # images of COCO's train2017
    assert length.steps == steps
    at = {
        **{0: rate / 1000, warmup // 2: rate * (0.001 + 0.999 / 2), warmup: rate, drops[0] - 1: rate},
        **{drops[0]: rate / 10, drops[1] - 1: rate / 10, drops[1]: rate / 100, steps - 1: rate / 100},
    }
    assert [task.rate(step, length) for step in at] == pytest.approx(list(at.values()))
    assert (task.pyramid, task.masks) == (pyramid, masks)
    assert (task.batch_size, task.optimizer, task.weight_decay, task.precise_bn) == (16, "sgd", 1e-4, 200)
    assert not task.frozen_norms
    assert task.head_norm
    train, test = task.train_view(ViewSpec()), task.test_view(ViewSpec())
    assert (train.short_sides, train.longest, train.flip_p, train.crop) == (short_sides, 1333, 0.5, None)
    assert (test.short_sides, test.longest, test.flip_p) == ((800,), 1333, 0.0)


def test_the_rate_of_simo_fits_its_batch() -> None:
    """Their .2 by the linear rule: MoCo's .02 is for 16 images."""
    task = CocoFpnSiMo(batch_size=160, learning_rate=0.2)
    assert task.learning_rate / task.batch_size == CocoFpnSiMo().learning_rate / CocoFpnSiMo().batch_size
    assert task.length(118_287).steps == 8871


def test_cityscapes_as_the_paper_tells() -> None:
    task = CityscapesDeepLab()
    length = task.length(2975)
    assert length.steps == 40_000
    assert task.rate(20_000, length) == pytest.approx(0.01 * 0.5**0.9)
    train, test = task.train_view(ViewSpec()), task.test_view(ViewSpec())
    assert train.short_sides == (512, 768, 1024, 1280, 1536, 1792, 2048)
    assert (train.crop, train.flip_p) == ((512, 1024), 0.5)
    assert (test.short_sides, test.crop, test.flip_p) == ((1024,), None, 0.0)  # whole images of 1024 x 2048
    assert (task.batch_size, task.stride, task.rates, task.hard_pixels) == (16, 8, (12, 24, 36), 1.0)
    assert (DeepLabSettings().multigrid, DeepLabSettings().channels) == ((1, 2, 4), 256)


def test_cityscapes_as_their_code_has_it() -> None:
    words = ["--stride", "16", "--rates", "6", "12", "18", "--hard-pixels", "0.2", "--steps", "90000"]
    task: Any = parse(["cityscapes-deeplab", "RUN", "--data", "WHERE", *words]).task
    assert (task.stride, task.rates, task.hard_pixels) == (16, (6, 12, 18), 0.2)
    assert task.length(2975).steps == 90_000
