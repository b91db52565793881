"""Sheets of predictions, looked at by their pixels."""

from pathlib import Path

import numpy as np
from PIL import Image

from fastssl.transfer.network import Prediction
from fastssl.transfer.pictures import Example, save_predictions
from pipelines.targets import IGNORED, Targets

NAMES = ("cat", "dog")
SIDE, LINE, GAP = 320, 20, 6  # of a tile, of a caption, between tiles
RED = (242, 36, 36)  # of class 0


def tile(path: Path, column: int, row: int = 0, side: int = SIDE) -> np.ndarray:
    """The pixels of a square tile."""
    sheet = np.asarray(Image.open(path))
    left, top = GAP + column * (SIDE + GAP), LINE + row * (SIDE + LINE + GAP)
    return sheet[top : top + side, left : left + side]


def gray_image(side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), 100, np.uint8)


def test_objects_stand_where_they_are_and_only_those_with_a_good_score(tmp_path: Path) -> None:
    path = tmp_path / "predictions.png"
    masks = np.zeros((2, 32, 32), bool)
    masks[0, 16:24, 8:16] = True
    masks[1, 4:8, 20:24] = True
    boxes = np.array([[8, 16, 16, 24], [20, 4, 24, 8]], np.float32)
    classes = np.array([0, 0])
    targets = Targets(height=32, width=32, boxes=boxes[:1], classes=classes[:1], masks=masks[:1])
    scores = np.array([0.9, 0.4], np.float32)
    found = Prediction(boxes=boxes, scores=scores, classes=classes, masks=masks)
    save_predictions(path, [Example(image=gray_image(), targets=targets, prediction=found)], NAMES)
    image, labels, prediction = (tile(path, column) for column in range(3))
    assert (image == 100).all()
    for shown in (labels, prediction):
        assert tuple(shown[161, 120]) == RED  # upper edge of the box, ten pixels to one
        assert tuple(shown[239, 120]) == tuple(shown[200, 80]) == tuple(shown[200, 159]) == RED
        assert tuple(shown[200, 120]) == tuple((100 + each) // 2 for each in RED)  # the mask within
        assert tuple(shown[200, 170]) == (100, 100, 100)
        assert tuple(shown[60, 220]) == (100, 100, 100)  # a score of .4 is not drawn
    name = prediction[145:160, 80:130].reshape(-1, 3)
    assert {RED, (0, 0, 0)} <= set(map(tuple, name.tolist()))  # black on the color of the class


def test_maps_have_the_colors_of_their_classes_and_a_legend(tmp_path: Path) -> None:
    path = tmp_path / "predictions.png"
    truth = np.zeros((32, 32), np.uint8)
    truth[:, 16:] = IGNORED
    found = np.zeros((32, 32), np.uint8)
    example = Example(
        image=gray_image(),
        targets=Targets(height=32, width=32, segmentation=truth),
        prediction=Prediction(segmentation=found),
    )
    save_predictions(path, [example, example], NAMES)
    mixed = tuple((100 + 3 * each) // 4 for each in RED)
    for row in range(2):
        labels, prediction = tile(path, 1, row), tile(path, 2, row)
        assert tuple(labels[100, 100]) == tuple(prediction[100, 100]) == tuple(prediction[100, 300]) == mixed
        assert tuple(labels[100, 300]) == (25, 25, 25)  # of no class
    below = np.asarray(Image.open(path))[2 * (SIDE + LINE + GAP) :]
    colors = {tuple(pixel) for pixel in below.reshape(-1, 3).tolist()}
    assert RED in colors  # the legend has the class that occurs, and no other
    assert below.shape[0] < 2 * LINE


def test_depth_has_one_scale_for_labels_and_prediction(tmp_path: Path) -> None:
    path = tmp_path / "predictions.png"
    truth = np.full((32, 32), 2, np.float32)
    truth[:8], truth[24:] = 1, 0  # unknown below
    found = np.full((32, 32), 4 / 3, np.float32)  # half the way in 1 / depth
    example = Example(
        image=gray_image(),
        targets=Targets(height=32, width=32, depth=truth),
        prediction=Prediction(depth=found),
    )
    save_predictions(path, [example], NAMES)
    labels, prediction = tile(path, 1), tile(path, 2)
    assert [tuple(labels[row, 5]) for row in (5, 160, 310)] == [(255,) * 3, (0,) * 3, (96, 0, 96)]
    assert (prediction == 128).all()


def test_classes_of_images_are_told(tmp_path: Path) -> None:
    """A caption of its own for a right and a wrong class; a tall image keeps its shape."""
    pictures = []
    for found in (0, 1):
        path = tmp_path / f"{found}.png"
        targets = Targets(height=64, width=32, label=0)
        image = np.zeros((64, 32, 3), np.uint8)
        example = Example(image=image, targets=targets, prediction=Prediction(label=found))
        save_predictions(path, [example], NAMES)
        pictures.append(np.asarray(Image.open(path)))
        assert (pictures[-1][LINE : LINE + SIDE, GAP : GAP + SIDE // 2] == 0).all()
        assert (pictures[-1][LINE + 1 : LINE + SIDE, GAP + SIDE // 2 :] == 255).all()
    captions = [picture[:LINE] for picture in pictures]
    assert all((caption < 100).any() for caption in captions)
    assert (captions[0] != captions[1]).any()
