"""Warn of a collapse: all images at (nearly) one embedding.

Least effective rank (and ``feature_std``) of runs on the built-in scenes, means over 20 steps, one seed,
bf16, 2026-11-28, from the metrics.jsonl of these commands:

                                        before step 100   from there on
    SimCLR (1)                          5.10 (0.987)      5.96 (0.992)
    MoCo v2+, 4 and 256 negatives (2)   1.73 (0.48)       2.23 (0.58)
    BYOL (3)                            1.62 (0.45)       2.63 (0.83)
    BYOL, layer norm in its heads (3)   1.000 (0.002)     1.000 (0.002)

    (1) python -m launchers.sweep mi-bound --scale tiny    (2) python -m launchers.sweep tiny
    (3) python -m launchers.sweep norms --scale tiny --only byol-bn-s0 byol-ln-s0 \
            --set epochs=1 optimizer=sgd optimizer.base_lr=0.3 optimizer.weight_decay=5e-4
"""

from __future__ import annotations

from collections.abc import Mapping

LEAST_RANK = 1.02  # of a run that is well; it is about 1 + 2 s^2 at a small feature_std s
_FIRST_STEP = 100  # healthy runs pass a narrow place before
_FIRST_SHARE = 0.05  # of the run


def collapse_warning(values: Mapping[str, float], step: int, total_steps: int) -> str | None:
    """A line for the person who watches, if the embeddings of the steps before tell a collapse.

    By the effective rank alone: it is near 1 when ``feature_std`` is near 0, and also when embeddings have
    come to lie at two opposite points. ``values`` are metrics by name, means over some steps; without
    ``effective_rank`` nothing is said.
    """
    rank = values.get("effective_rank")
    if rank is None or step < max(_FIRST_STEP, _FIRST_SHARE * total_steps) or not rank < LEAST_RANK:
        return None
    return (
        f"warning: embeddings are all but one at step {step} (effective rank {rank:.3f}, feature_std "
        f"{values.get('feature_std', 0):.3f}): if it stays so, the run has collapsed; a lower "
        "--optimizer.base-lr, batch norm in the heads or a slower teacher may prevent that"
    )
