"""When to say that a run has collapsed: that all images have come to have one embedding.

Measured on the built-in scenes with the networks of the recipe ``quickstart`` at half their width, batch 64,
heads of 256 and 64, for 1 to 2.5 epochs, the effective rank as logged every 10 steps: MoCo v2+ without the
norm on the projector's output stays above 1.58 and SimCLR above 5.9. BYOL dips to 1.09 (feature_std 0.19) at
step 30 and is at 1.6 at step 100, 2.2 at step 200. BYOL without a predictor is at 1.02 (0.10) at step 40 and
1.002 (0.045) at step 100; with layer norms in its heads at 1.0004 (0.021) at step 20, and stays there.
Before training, ResNet-9, 18 and 50 are at 1.3 to 40 under the heads of MoCo v1, v2, v2+, SiMo and BYOL with
layer norms.
"""

from __future__ import annotations

from collections.abc import Mapping

_LEAST_RANK = 1.02  # of a run that is well; vectors at feature_std s about one direction have about 1 + 2 s^2
_FIRST_STEP = 100  # a network finds its way through a narrow place at first
_FIRST_SHARE = 0.05  # of the run


def collapse_warning(values: Mapping[str, float], step: int, total_steps: int) -> str | None:
    """A line for the person who watches, if the embeddings of the steps before tell a collapse.

    By the effective rank alone: it is near 1 when ``feature_std`` is near 0, and also when embeddings have
    come to lie at two opposite points.

    Args:
        values: metrics by name, means over some steps; without ``effective_rank`` nothing is said.
        step: steps done.
        total_steps: of the whole run.
    """
    rank = values.get("effective_rank")
    if rank is None or step < max(_FIRST_STEP, _FIRST_SHARE * total_steps) or not rank < _LEAST_RANK:
        return None
    return (
        f"warning: embeddings are all but one at step {step} (effective rank {rank:.3f}, feature_std "
        f"{values.get('feature_std', 0):.3f}): if it stays so, the run has collapsed; a lower "
        "--optimizer.base-lr, batch norm in the heads or a slower teacher may prevent that"
    )
