"""When to say that a run has collapsed: that all images have come to have one embedding.

Measured on the built-in scenes by hand (2026-11-20, no command repeats it; one seed): the recipe
``quickstart`` with backbone width 0.125, fp32, and in place of its method those below with heads of 256 and
64 and teacher momentum 0.9 (MoCo's 0.99), 1 to 2.5 epochs. The effective rank (in brackets ``feature_std``),
means over 10 steps of the 156 or 390:

    SimCLR, SiMo, MSBReg      never below 5.9
    MoCo v2+                  least 1.58 (0.44) at step 30; 3.5 at step 100
    BYOL                      least 1.09 (0.19) at step 30; 1.6 at step 100, 2.2 at step 200
    BYOL, predictor Identity  1.023 (0.10) at step 40, 1.004 (0.045) at step 100, 1.002 at step 200
    BYOL, head_norm layer     1.001 (0.021) at step 20, 1.000 (0.002) from step 60 on

Before training, on a batch of 128 scenes, ResNet-9 (width 0.25), 18 and 50 are at 1.3 to 40 under the heads
of MoCo v1, v2 and v2+, of SiMo and of BYOL with layer norms.
"""

from __future__ import annotations

from collections.abc import Mapping

_LEAST_RANK = 1.02  # of a run that is well; it is about 1 + 2 s^2 at a small feature_std s
_FIRST_STEP = 100  # healthy runs pass a narrow place before
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
