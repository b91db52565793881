"""What a run needs around its GPUs, on paper: cores, storage and network, and which of them limits it.

Core-microseconds are those of ImageNet's photographs on one core of an AMD EPYC, medians of
``python -m benchmarks.decode`` and ``python -m benchmarks.loader`` with 300 of them at commit 59a28d908a
(2026-11-20); a quicker machine took a third less on 2026-11-28: benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator

DECODE_US = 1237.0  # one image
INTO_BATCH_US = 1333.0 - DECODE_US  # one decoded image, for a GPU that renders the views
VIEW_US = (1804.0 - DECODE_US) / 2  # one view of 224 x 224 pixels, rendered on the core
IMAGENET_BYTES = 110_000  # mean of a file
_GRADIENT_BYTES = 4  # per parameter


def needs(
    *,
    gpus: int,
    images_per_s: float,
    batch_size: int,
    parameters: int,
    view_pixels: int,
    image_bytes: float,
    cores: float,
) -> Iterator[str]:
    """Needs in words of a run on some GPUs, each of which trains ``images_per_s``.

    A batch is that of all GPUs, pixels are those of all views of an image, cores those of each GPU.
    """
    pixels_us, views_us = DECODE_US + INTO_BATCH_US, DECODE_US + VIEW_US * view_pixels / 224**2
    pixels_cores, views_cores = images_per_s * pixels_us / 1e6, images_per_s * views_us / 1e6
    yield (
        f"cores per GPU: {pixels_cores:.1f} with the views rendered on the GPU (--pipeline cpu "
        f"--cpu-output pixels), {views_cores:.1f} with views; for ImageNet's photographs on Zen 5"
    )
    yield (
        f"storage: {gpus * images_per_s * image_bytes / 1e9:.2f} GB/s in all at {image_bytes / 1e3:.0f} KB "
        "per image, unless the machines' memory holds them"
    )
    if gpus > 1:
        steps_per_s = gpus * images_per_s / batch_size
        sent = 2 * (gpus - 1) / gpus * _GRADIENT_BYTES * parameters  # by each GPU, in a ring
        yield (
            f"network: {sent * steps_per_s / 1e9:.1f} GB/s each way per GPU for the gradients "
            f"({parameters / 1e6:.0f} M parameters, {steps_per_s:.1f} steps per second)"
        )
    if cores < pixels_cores:
        fed = 1e6 * cores / pixels_us
        yield f"limit: decoding, to {fed:,.0f} images/s per GPU, with {cores:g} cores per GPU as here"
    elif cores < views_cores:
        yield f"limit: the GPU, if it renders the views; the {cores:g} cores per GPU cannot do that too"
    else:
        yield f"limit: the GPU; {cores:g} cores per GPU as here do"
