"""Augmentation of the images that a protocol trains on: the papers' crops, or mirror images alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipelines.ops import Flip, RandomResizedCrop
from pipelines.views import ViewSpec

Augmentation = Literal["flip", "crop"]
AugmentationChoice = Literal["auto", "flip", "crop"]
LARGE_SIDE = 64  # pixels of a view, from which papers' settings are fit


def choose_augmentation(choice: AugmentationChoice, spec: ViewSpec) -> Augmentation:
    """Resolve auto: flip for views below 64 pixels, crop from there."""
    if choice != "auto":
        return choice
    return "flip" if spec.size < LARGE_SIDE else "crop"


def augmented(spec: ViewSpec, augmentation: Augmentation) -> ViewSpec:
    """The evaluation's view as it is trained on: flipped half the time, and cropped at random if asked."""
    crop = RandomResizedCrop() if augmentation == "crop" else spec.crop
    return replace(spec, crop=crop, flip=Flip(p=0.5))
