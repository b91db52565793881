"""Settings of two-stage detectors: detectron2's, each by its value there."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """Settings of a detector; the defaults are those of detectron2's R50-C4."""

    masks: bool = False
    """Predict masks too (Mask R-CNN)."""
    frozen_norms: bool = False
    """The encoder's batch norms keep their statistics, weights and biases."""
    norm: bool = True
    """Batch norms in the head: behind res5 (C4), in the pyramid and in the heads' convolutions (FPN)."""
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Square roots of the anchors' areas, pixels: all on one map (C4), or one per level (FPN)."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of the anchors of each size."""
    proposals_scored: tuple[int, int] = (12_000, 6000)
    """Boxes per image and level that non-maximum suppression sees, in training and in evaluation."""
    proposals_kept: tuple[int, int] = (2000, 1000)
    """Boxes per image that it leaves, in training and in evaluation."""
    proposal_overlap: float = 0.7
    """IoU above which the lower-scored of two proposals is dropped."""
    anchors_per_image: int = 256
    """Anchors sampled for the proposals' losses, at most half of them objects."""
    regions_per_image: int = 512
    """Proposals sampled for the head's losses, at most a quarter of them objects."""
    l1_below: float = 0.0
    """Beta of the smooth L1 loss of boxes: quadratic below; 0: plain L1."""
    score_at_least: float = 0.05
    """Score above which a box of a class counts as found."""
    detection_overlap: float = 0.5
    """IoU above which the lower-scored of two boxes of a class is dropped."""
    detections_per_image: int = 100
    """Most objects found in an image."""

    def small(self) -> DetectorSettings:
        """Those of images of 128 pixels, for minutes on a CPU."""
        return replace(
            self,
            anchor_sizes=(16, 32, 64, 128),
            proposals_scored=(1000, 500),
            proposals_kept=(200, 100),
            anchors_per_image=64,
            regions_per_image=32,
        )
