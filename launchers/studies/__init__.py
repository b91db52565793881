"""The studies, by the names that ``python -m launchers.sweep`` takes. One file each says what it rebuilds."""

from __future__ import annotations

from collections.abc import Callable

from launchers.studies import (
    architectures,
    augmentations,
    batch_size,
    class_share,
    epochs,
    eqco,
    mi_bound,
    moco_ladder,
    moco_ladder_lars,
    msbreg,
    norms,
    taxonomies,
    tiny,
    uniformity,
)
from launchers.sweeps.study import Scale, Study

STUDIES: dict[str, Callable[[Scale], Study]] = {
    "tiny": tiny.study,
    "moco-ladder": moco_ladder.study,
    "moco-ladder-lars": moco_ladder_lars.study,
    "eqco": eqco.study,
    "mi-bound": mi_bound.study,
    "batch-size": batch_size.study,
    "msbreg": msbreg.study,
    "norms": norms.study,
    "uniformity": uniformity.study,
    "epochs": epochs.study,
    "class-share": class_share.study,
    "taxonomies": taxonomies.study,
    "augmentations": augmentations.study,
    "architectures": architectures.study,
}
