"""Ready spaces, by the names that ``--space`` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReadySpace:
    """A published space with its schedule of trials."""

    about: str
    space: tuple[str, ...]
    """FIELD=VALUES each, as ``--space`` takes it."""
    settings: tuple[str, ...]
    """FIELD=VALUE each, as ``--set`` takes it."""
    grace: int
    """Epochs before the first decision."""


READY = {
    "newell-deng": ReadySpace(
        about=(
            "Newell and Deng, 2020, as their code searches it: rate, last rate and weight decay, "
            "at most 100 epochs, 20 before the first decision. The last rate, 1e-7 to 1e-4 there, is a share "
            "of the peak here; the exponent of their decay (-0.5 to 2) has no field here and is left out"
        ),
        space=(
            "optimizer.base_lr=log:1e-4:1e-2",
            "optimizer.end_share=log:1e-5:1",
            "optimizer.weight_decay=log:1e-7:1e-3",
        ),
        settings=("optimizer.schedule=linear", "epochs=100"),
        grace=20,
    )
}
