"""BYOL trained with LARS, transferred as it is and after NormRescale, beside BYOL trained with SGD.

Huang, Kong, Zhang, "Revisiting the critical factors of augmentation-invariant representation learning"
(2022), tables 3 and 8: ResNet-50, 200 epochs of ImageNet; C4 on VOC07, VOC07+12 and COCO. Expected AP50 on
VOC07, %: 71.7 as it is; with the norms of BYOL-SGD 76.6, of MoCo v2 76.4, of a supervised model 76.2, divided
by ten 76.1; 77.1 where [9] searched the fine-tuning rate. The row of BYOL with SGD could not be read in table
3; table 2 has 76.2, table 4 77.2.

The transfers are asked for: ``--columns voc07,voc07-rescaled,voc07-rescaled-by-byol-sgd,voc07-searched
--transfer-data voc07=DIR`` and the like with voc0712 and coco-c4; -rescaled divides the norms by ten,
-rescaled-by-byol-sgd takes those of the study's other run, -searched takes the best of five rates (the paper
does not state which), each in a column of its own. With the weights of others: ``python -m fastssl.transfer
voc07-c4 RUN --norm-rescale ANCHOR``.

Compute: 2 runs of 200 epochs, 256 M images each, and up to 12 transfers of each.
"""

from __future__ import annotations

from dataclasses import replace

from fastssl.config import Paper
from fastssl.recipes import find_recipe
from launchers.studies.build import recipe_run
from launchers.studies.dense_numbers import dense_figure, dense_numbers, with_dense
from launchers.sweeps.study import Scale, Study

_OTHER_ROWS = (
    ("table 8", "NormRescale by a constant"),
    ("table 3", "NormRescale by BYOL-SGD"),
    ("table 8", "NormRescale by MoCo v2"),
    ("table 8", "NormRescale by a supervised model"),
    ("table 3", "searched rate"),
)
_COLUMNS = {  # of VOC07, that are drawn
    "": "",
    "-rescaled": " after NormRescale by a constant",
    "-rescaled-by-byol-sgd": " after NormRescale by BYOL-SGD",
}


def study(scale: Scale) -> Study:
    """The study at a scale."""
    sgd, lars = {"optimizer": "SGD"}, {"optimizer": "LARS"}
    dense = ("table 2", "BYOL, SGD")
    return Study(
        title="BYOL trained with LARS, transferred as it is and after NormRescale",
        axes=("optimizer",),
        runs=(
            recipe_run(scale, "byol-sgd", "byol-sgd-imagenet", sgd, row="BYOL, SGD", dense=dense),
            recipe_run(scale, "byol-lars", "byol-imagenet", lars, row="BYOL, LARS", paper=_lars()),
        ),
        figures=tuple(
            dense_figure(scale, f"voc07{column}", "AP50", f"AP50 on VOC07{words}", "optimizer")
            for column, words in _COLUMNS.items()
        ),
        scale=scale,
    )


def _lars() -> Paper:
    """BYOL-LARS of table 3, then the rows that start from the same encoder."""
    paper = with_dense(find_recipe("byol-imagenet").paper, "table 3", "BYOL-LARS")
    others = (pair for table, row in _OTHER_ROWS for pair in dense_numbers(table, row, qualified=True))
    place = f"tables 3 and 8 (transfer); {paper.place.partition('; ')[2]}"
    return replace(paper, place=place, results=(*paper.results, *others))
