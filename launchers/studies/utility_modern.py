"""Utility of MoCo v2+ and BYOL, in the figures of the utility study.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020) has four pretexts; these
two came later, so no number and no figure of the paper is of them. Networks, images, tasks and the length of
pre-training are those of its CMC; views have all of its augmentations; heads and losses are those of Huang,
Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning" (2022). The
study trains from scratch anew, so that it stands alone.

Compute: 96 pre-trainings of 800 to 1,600 rounds of 10,000 to 50,000 images, 2,016 tasks of 200 to 600 epochs.
"""

from __future__ import annotations

from launchers.studies.utility import utility_study
from launchers.sweeps.study import Scale, Study

_PRETEXTS = ("moco-v2-plus", "byol")


def study(scale: Scale) -> Study:
    """The study at a scale; tiny as that of utility."""
    return utility_study("Utility of MoCo v2+ and BYOL", scale, _PRETEXTS)
