"""The papers' numbers of detection and segmentation are the same with the tasks and with the studies."""

import pytest

from fastssl.transfer.task import find_task
from launchers.studies.dense_numbers import dense_numbers, with_dense
from launchers.sweeps.columns import DENSE

ROWS = {  # of the tasks: rows of the studies' tables
    "MoCo v2": [("table 1", "MoCo v2")],
    "MoCo v2+": [("table 1", "+ Symmetric Loss (MoCo v2+)")],
    "BYOL, LARS": [("table 1", "BYOL, LARS"), ("table 3", "BYOL-LARS")],
}
OWN = {
    "coco-fpn-msbreg": {name: [("table 2 of MSBReg", name)] for name in ("MoCo", "BYOL", "MSBReg")},
    "coco-fpn-simo": {
        name: [("table 8 of EqCo", name)] for name in ("random", "supervised", "MoCo v2", "SiMo")
    },
}


@pytest.mark.parametrize("word", [word for word, column in DENSE.items() if not column.variant])
def test_tasks_have_the_tables_numbers(word: str) -> None:
    column = DENSE[word]
    names = {ours: f"{column.title} {theirs}" for theirs, ours in column.metrics.items()}
    paper = find_task(column.task).paper
    assert paper
    for row, metrics in paper.items():
        tables = OWN.get(column.task, ROWS)[row]
        known = dict(pair for table in tables for pair in dense_numbers(*table))
        assert {names[ours]: number for ours, number in metrics.items()}.items() <= known.items()


def test_numbers_of_a_run_without_a_paper_are_of_the_table_s() -> None:
    paper = with_dense(None, "table 2 of MSBReg", "SwAV")
    assert paper.place == "table 2, SwAV"
    assert paper.results == (("COCO FPN (MSBReg) box AP", 0.416), ("COCO FPN (MSBReg) mask AP", 0.378))
