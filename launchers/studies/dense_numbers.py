"""Detection and segmentation in the papers' tables, beside the runs that they are of.

Numbers are percent as printed; metrics have the names by which a report finds our own beside them
(``launchers.sweeps.columns``).

Contradictions in Huang et al. (2022): BYOL with LARS has an mIoU of 76.4 in table 1 and of 75.2 in table 2;
BYOL with SGD has other transfer in table 2 than in table 4, at the same 72.1 % linear top-1; the mIoU of MoCo
v2+ is 77.6 in table 1 and 77.7 in table 2. Each study takes the numbers of the table that it rebuilds. Of
table 3 the row of BYOL with SGD could not be read.
"""

from __future__ import annotations

from dataclasses import replace

from fastssl.config import Paper, Results
from fastssl.recipes.msbreg import TITLE as MSBREG
from fastssl.recipes.papers import EQCO, REVISITED
from launchers.sweeps.columns import DENSE
from launchers.sweeps.study import Figure, Scale

_SEVEN = (
    *("VOC07 AP50", "VOC07+12 AP50", "COCO C4 box AP", "COCO C4 mask AP"),
    *("COCO FPN box AP", "COCO FPN mask AP", "CityScapes mIoU"),
)
_AP = ("AP50", "AP", "AP75")
_VOC = tuple(f"{data} {metric}" for data in ("VOC07", "VOC07+12") for metric in _AP)
_VOC_AND_C4 = (*_VOC, *(f"COCO C4 {kind} {metric}" for kind in ("box", "mask") for metric in _AP))
_MSBREG = ("COCO FPN (MSBReg) box AP", "COCO FPN (MSBReg) mask AP")
_SIMO = tuple(f"COCO FPN (SiMo) box {metric}" for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"))

# paper, metrics, rows
_TABLES: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[float, ...]]]] = {
    "table 1": (
        REVISITED,
        _SEVEN,
        {
            "MoCo v2": (76.5, 82.2, 38.8, 34.0, 39.5, 35.8, 77.4),
            "+ SyncBN": (76.7, 82.0, 38.6, 33.7, 39.7, 35.8, 76.9),
            "+ Asymmetric Predictor": (76.7, 82.1, 39.0, 34.1, 39.8, 35.9, 77.3),
            "+ Momentum Ascending": (77.0, 82.3, 39.0, 34.3, 39.7, 35.8, 77.4),
            "+ Symmetric Loss (MoCo v2+)": (77.1, 82.7, 39.4, 34.5, 40.3, 36.5, 77.6),
            "+ More Complex Augmentations": (77.3, 82.7, 39.2, 34.4, 40.4, 36.7, 77.6),
            "BYOL, LARS": (71.7, 79.1, 35.3, 31.1, 40.8, 36.9, 76.4),
        },
    ),
    "table 2": (
        REVISITED,
        _SEVEN,
        {
            "MoCo v2+, SGD": (77.1, 82.7, 39.4, 34.5, 40.3, 36.5, 77.7),
            "MoCo v2+, LARS": (62.9, 74.4, 32.1, 28.9, 40.0, 36.2, 73.2),
            "BYOL, SGD": (76.2, 82.4, 38.8, 33.9, 39.9, 36.1, 77.5),
            "BYOL, LARS": (71.7, 79.1, 35.3, 31.1, 40.8, 36.9, 75.2),
        },
    ),
    "table 3": (
        REVISITED,
        _VOC_AND_C4,
        {
            "BYOL-LARS": (71.7, 38.8, 37.0, 79.1, 48.7, 51.7, 56.2, 35.3, 37.5, 52.3, 31.1, 32.2),
            "searched rate": (77.1, 47.0, 49.9, 81.4, 55.3, 61.1, 57.8, 37.9, 40.9, 54.3, 33.2, 35.0),
            "NormRescale by BYOL-SGD": (
                *(76.6, 48.1, 51.6, 82.1, 56.7, 62.9),
                *(59.3, 39.3, 42.6, 56.0, 34.5, 36.7),
            ),
        },
    ),
    "table 4": (
        REVISITED,
        _SEVEN,
        {
            "BYOL": (77.2, 82.7, 39.3, 34.5, 40.6, 36.6, 77.1),
            "MoCo v2+": (77.3, 82.7, 39.2, 34.4, 40.4, 36.7, 77.6),
            "S-MoCo v2+": (77.1, 82.4, 39.1, 34.2, 40.6, 36.7, 77.2),
        },
    ),
    "table 6": (
        REVISITED,
        _SEVEN,
        {
            "2 balanced": (70.2, 79.1, 36.8, 32.3, 37.6, 34.0, 75.7),
            "2 imbalanced": (29.2, 46.8, 20.9, 19.2, 26.3, 24.4, 63.6),
            "10": (66.5, 77.1, 35.8, 31.6, 36.4, 33.0, 73.0),
            "79": (74.4, 80.9, 38.3, 33.6, 39.8, 36.0, 76.1),
            "127": (74.9, 81.0, 38.5, 33.4, 39.7, 36.0, 75.2),
            "1000": (76.4, 81.8, 38.9, 33.9, 40.5, 36.4, 76.0),
            "MoCo v2+": (77.0, 82.3, 38.9, 34.1, 39.7, 35.8, 76.9),
            "S-MoCo v2+": (76.0, 82.3, 38.4, 33.6, 39.7, 36.1, 77.1),
            "BYOL": (76.3, 82.1, 38.5, 33.8, 39.5, 35.7, 77.6),
        },
    ),
    "table 7": (
        REVISITED,
        _VOC,
        {
            "ResNet-18, MoCo v2": (70.3, 40.9, 41.0, 78.3, 50.2, 54.2),
            "ResNet-18, MoCo v2+": (71.2, 41.2, 41.3, 78.6, 50.7, 55.9),
            "ResNet-18, BYOL-SGD": (71.1, 42.0, 43.3, 78.7, 51.1, 55.4),
            "ResNet-101, MoCo v2": (76.7, 50.2, 55.1, 82.5, 59.3, 65.8),
            "ResNet-101, MoCo v2+": (76.9, 50.3, 55.3, 82.8, 59.1, 65.5),
            "ResNet-101, BYOL-SGD": (76.9, 50.2, 55.1, 82.6, 59.3, 65.6),
        },
    ),
    "table 8": (
        REVISITED,
        _VOC,
        {
            "NormRescale by a constant": (76.1, 47.9, 51.8, 82.3, 56.8, 62.7),
            "NormRescale by MoCo v2": (76.4, 48.1, 52.0, 82.2, 56.5, 62.8),
            "NormRescale by a supervised model": (76.2, 48.1, 52.2, 82.4, 56.7, 63.1),
        },
    ),
    "table 2 of MSBReg": (
        MSBREG,
        _MSBREG,
        {
            "SimCLR": (39.7, 35.8),
            "MoCo": (40.4, 36.4),
            "BYOL": (41.6, 37.2),
            "VICReg": (39.4, 36.4),
            "SwAV": (41.6, 37.8),
            "Barlow Twins": (40.0, 36.7),
            "OBoW": (40.8, 36.4),
            "MSBReg": (41.8, 37.8),
        },
    ),
    "table 8 of EqCo": (
        EQCO,
        _SIMO,
        {
            "random": (31.4, 49.4, 34.0, 17.9, 32.3, 41.6),
            "supervised": (39.0, 59.1, 42.6, 22.4, 42.2, 50.6),
            "MoCo v2": (39.1, 59.2, 42.5, 23.3, 42.1, 50.8),
            "SiMo": (39.0, 59.2, 42.3, 22.9, 41.8, 50.5),
        },
    ),
}
_RESULTS = {  # that plots show beside linear accuracy
    "VOC07 AP50": "voc07_c4.AP50@voc07",
    "VOC07+12 AP50": "voc0712_c4.AP50@voc0712",
    "COCO C4 box AP": "coco_c4.AP@coco",
    "COCO FPN box AP": "coco_fpn.AP@coco",
    "CityScapes mIoU": "cityscapes_deeplab.mIoU@cityscapes",
}
_TINY_RESULTS = {
    "Box AP on scenes": "scenes_detection.AP@scenes",
    "mIoU on scenes": "scenes_segmentation.mIoU@scenes",
}


def dense_numbers(table: str, row: str, *, qualified: bool = False) -> Results:
    """A table's row as metrics and fractions.

    Args:
        table: "table 1" is of Huang et al.; "table 2 of MSBReg", "table 8 of EqCo".
        row: as the table names it.
        qualified: with the row in the metrics' names, as it is one of several that one run has.
    """
    _, metrics, rows = _TABLES[table]
    suffix = f", {row}" if qualified else ""
    return tuple(
        (f"{metric}{suffix}", round(percent / 100, 3))
        for metric, percent in zip(metrics, rows[row], strict=True)
    )


def with_dense(paper: Paper | None, table: str, row: str) -> Paper:
    """A run's paper with a table's row behind its other numbers; where it has none, of the row alone."""
    numbers = dense_numbers(table, row)
    if paper is None:
        title, _, _ = _TABLES[table]
        return Paper(title=title, place=f"{table.partition(' of ')[0]}, {row}", results=numbers)
    place = paper.place if table in paper.place else f"{table} (transfer); {paper.place}"
    return replace(paper, place=place, results=(*paper.results, *numbers))


def dense_figures(scale: Scale, x: str, series: str | None = None, words: str = "") -> tuple[Figure, ...]:
    """Figures of the dense columns over an axis, each named by its metric and ``words``."""
    results = _TINY_RESULTS if scale == "tiny" else _RESULTS
    return tuple(
        Figure(title=f"{title} {words}".rstrip(), x=x, y=result, series=series)
        for title, result in results.items()
    )


def dense_figure(
    scale: Scale, column: str, metric: str, title: str, x: str, series: str | None = None
) -> Figure:
    """Figure of a dense column over an axis; at the tiny scale of the scenes' task that stands for it.

    Args:
        scale: of the study.
        column: a word of ``--columns``.
        metric: our name of the metric, which the scenes' task has too.
        title: of the figure at the paper's scale.
        x: axis.
        series: axis that tells the lines apart.
    """
    task, at, images = DENSE[column].planned(scale).result.partition("@")
    name, plus, options = task.partition("+")
    told = f"{title} (tiny: on scenes)" if scale == "tiny" else title
    return Figure(title=told, x=x, y=f"{name}.{metric}{plus}{options}{at}{images}", series=series)
