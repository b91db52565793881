"""Loaders and renderers, ours and others', behind one function each, so that benchmarks let them take turns.

A module of this folder has a dictionary ``OUTPUTS`` of functions that take a ``Work`` and return a
``Pass``: "views" (the whole chain), "crops" (crop, resize and flip only), "pixels" (images decoded into a
batch), "decode" (images decoded one by one), "parquet", "tar" or "s3" (the whole chain, of images in such
files) or "detection" (images of different sizes with boxes); of ``backend`` they are named after fastssl's
backends. Or it has a dictionary ``RENDERERS`` of functions that take a ``Decoded`` and return a ``Render``;
or both. It imports its package when it is imported itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pipelines.ops import ColorJitter, GaussianBlur, Grayscale, RandomResizedCrop, Solarize
from pipelines.views import ViewSpec

if TYPE_CHECKING:  # slow to import, and most contenders do without
    import torch

OTHERS = ("torchvision", "pillow", "dali", "ffcv", "opencv", "spdl", "nvimgcodec")
LEAVES_OUT = {  # the output of those that cannot do the whole chain
    "ffcv": "crops",
    "spdl": "pixels",
    "nvimgcodec": "pixels",
}
OF_KINDS = {  # those beside fastssl that read images of a kind, or from their own kind of large files
    "parquet": ("pyarrow", "datasets"),
    "tar": ("webdataset", "streaming", "litdata"),
    "s3": ("webdataset", "streaming", "litdata"),
}
OWN_RENDERERS = ("reference", "numba", "triton")
OTHER_RENDERERS = ("torchvision", "kornia", "dali", "cvcuda", "triton_augment")
ON_GPU_ONLY = ("triton", "cvcuda", "triton_augment")
RENDERERS_LEAVE_OUT = {"triton_augment": ("aspect ratio", "hue", "blur", "solarize")}  # of the chain

# The augmentation of Huang et al. (2022), table A.1.
CHAIN = ViewSpec(
    size=224,
    crop=RandomResizedCrop(scale=(0.08, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5, sigma=(0.1, 2.0)),
    solarize=Solarize(p=0.2),
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Work of a contender on every JPEG of a folder.

    Attributes:
        folder: holds the files, named ``*.jpg``, upright and in color.
        views: of each image.
        threads: or processes, that work at the same time.
        batch_size: images.
        spec: the operations.
        device: where a backend hands batches over, "cpu" or "cuda"; all others do on the CPU.
    """

    folder: Path
    views: int
    threads: int = 1
    batch_size: int = 64
    spec: ViewSpec = CHAIN
    device: str = "cpu"

    def files(self) -> list[str]:
        """The files' paths, sorted."""
        return sorted(str(path) for path in self.folder.glob("*.jpg"))


# [B], uint8 [H, W, 3] each; of a backend normalized views [B, 3, S, S]
Images: TypeAlias = "Sequence[np.ndarray] | np.ndarray | torch.Tensor"
Batch: TypeAlias = "Sequence[Images] | np.ndarray"  # [K]; valid until the next one
Pass: TypeAlias = Callable[[], Iterator[Batch]]  # one pass over all files


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Inputs of a renderer.

    Attributes:
        images: uint8 [H, W, 3], RGB; the renderer's set-up takes them to its device.
        views: of each image.
        spec: the operations.
        device: of the renderer.
    """

    images: Sequence[np.ndarray]
    views: int
    spec: ViewSpec
    device: torch.device


# Renders all views of all images so many times, one batch each; the last batch, [K] of [B, 3, S, S].
Render: TypeAlias = "Callable[[int], Sequence[torch.Tensor]]"


def random_crop(spec: ViewSpec) -> RandomResizedCrop:
    """The crop of a spec, of the only kind that contenders know."""
    assert isinstance(spec.crop, RandomResizedCrop), spec.crop
    return spec.crop


def open_contender(name: str, output: str, work: Work) -> Pass:
    """Set a contender up for its work: threads are started, memory is taken.

    Raises:
        ImportError: its package is not installed.
    """
    return import_module(f"{__name__}.{name}").OUTPUTS[output](work)


def open_renderer(name: str, decoded: Decoded) -> Render:
    """Set a renderer up: memory is taken, the images are on its device.

    Raises:
        ImportError: its package is not installed.
    """
    module = "own_renderers" if name in OWN_RENDERERS else name
    return import_module(f"{__name__}.{module}").RENDERERS[name](decoded)


def decode_each(work: Work, decode: Callable[[bytes], np.ndarray]) -> Pass:
    """A pass that reads and decodes one file after the other, in each of the threads; none is kept."""

    def read_and_decode(file: str) -> np.ndarray:
        with open(file, "rb", buffering=0) as opened:
            return decode(opened.read())

    def run() -> Iterator[Batch]:
        if work.threads == 1:
            for file in work.files():
                yield ((read_and_decode(file),),)
            return
        with ThreadPoolExecutor(work.threads) as pool:
            for image in pool.map(read_and_decode, work.files()):
                yield ((image,),)

    return run
