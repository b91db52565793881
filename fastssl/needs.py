"""What a run needs around its GPUs, on paper: cores, storage and network, and which of them limits it.

Core-microseconds are those of ImageNet's photographs on one core of an AMD EPYC, medians of
``python -m benchmarks.decode`` and ``python -m benchmarks.loader`` with 300 of them at commit 59a28d908a
(2026-11-20); a quicker machine took a third less on 2026-11-28: benchmarks/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

DECODE_US = 1237.0  # one image
INTO_BATCH_US = 1333.0 - DECODE_US  # one decoded image, for a GPU that renders the views
VIEW_US = (1804.0 - DECODE_US) / 2  # one view of 224 x 224 pixels, rendered on the core
IMAGENET_BYTES = 110_000  # mean of a file
_GRADIENT_BYTES = 4  # per parameter


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Needs of a run on some GPUs, each of which trains at one rate."""

    gpus: int
    images_per_s: float
    """One GPU's."""
    batch_size: int
    """Images per step, over all GPUs."""
    parameters: int
    """Trained ones."""
    view_pixels: int
    """Of all views of an image."""
    image_bytes: float = IMAGENET_BYTES
    """Mean of an encoded image."""

    @property
    def step_seconds(self) -> float:
        """Seconds per step."""
        return self.batch_size / self.gpus / self.images_per_s

    @property
    def pixels_cores(self) -> float:
        """Cores per GPU that decode, where the GPU renders the views (``--cpu-output pixels``)."""
        return self.images_per_s * (DECODE_US + INTO_BATCH_US) / 1e6

    @property
    def views_cores(self) -> float:
        """Cores per GPU that decode and render (``--cpu-output views``)."""
        return self.images_per_s * (DECODE_US + VIEW_US * self.view_pixels / 224**2) / 1e6

    @property
    def storage_gb_per_s(self) -> float:
        """10^9 bytes per second that storage hands to all GPUs, where memory does not hold the images."""
        return self.gpus * self.images_per_s * self.image_bytes / 1e9

    @property
    def network_gb_per_s(self) -> float:
        """10^9 bytes per second that each GPU sends and receives: gradients, summed in a ring."""
        sent = 2 * (self.gpus - 1) / self.gpus * _GRADIENT_BYTES * self.parameters
        return sent / self.step_seconds / 1e9

    def lines(self, cores: float) -> Iterator[str]:
        """The needs in words.

        Args:
            cores: that there are for each GPU.
        """
        yield (
            f"cores per GPU: {self.pixels_cores:.1f} with the views rendered on the GPU (--pipeline cpu "
            f"--cpu-output pixels), {self.views_cores:.1f} with views; for ImageNet's photographs on Zen 5"
        )
        yield (
            f"storage: {self.storage_gb_per_s:.2f} GB/s in all at {self.image_bytes / 1e3:.0f} KB per image, "
            "unless the machines' memory holds them"
        )
        if self.gpus > 1:
            yield (
                f"network: {self.network_gb_per_s:.1f} GB/s each way per GPU for the gradients "
                f"({self.parameters / 1e6:.0f} M parameters, {1 / self.step_seconds:.1f} steps per second)"
            )
        if cores < self.pixels_cores:
            fed = 1e6 * cores / (DECODE_US + INTO_BATCH_US)
            yield f"limit: decoding, to {fed:,.0f} images/s per GPU, with {cores:g} cores per GPU as here"
        elif cores < self.views_cores:
            yield f"limit: the GPU, if it renders the views; the {cores:g} cores per GPU cannot do that too"
        else:
            yield f"limit: the GPU; {cores:g} cores per GPU as here do"
