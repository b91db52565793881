"""Figures without a screen, as PNG."""

from __future__ import annotations

import io
from typing import Any


def new_figure(width: float, height: float, title: str) -> Any:
    """An empty figure of matplotlib; width and height in inches."""
    # here, as matplotlib is slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def to_png(figure: Any) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
