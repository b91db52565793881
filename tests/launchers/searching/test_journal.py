"""The journal with the real engine."""

import math
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna")

from launchers.searching.journal import Journal, Stretch, cut_broken_line  # noqa: E402
from launchers.searching.space import dimension_of  # noqa: E402
from pipelines.command.errors import UserError  # noqa: E402

SPACE = [
    dimension_of("optimizer.base_lr", "log:1e-5:1e-1"),
    dimension_of("batch_size", "int:8:64"),
    dimension_of("views.0.spec.crop.scale", "[[0.2, 1.0], [0.5, 1.0]]"),
]


def opened(folder: Path, seed: int = 0) -> Journal:
    return Journal(folder / "journal", SPACE, minimize=False, seed=seed)


def drawn(folder: Path, seed: int = 0) -> Stretch:
    """One draw by a driver of its own."""
    journal = opened(folder, seed)
    journal.draw()
    return journal.stretches()[-1]


def test_stretches_outlive_their_driver(tmp_path: Path) -> None:
    first, second = drawn(tmp_path), drawn(tmp_path)
    assert (first.run, second.run) == ("trial-0000", "trial-0001")
    assert first.values != second.values  # a driver that begins anew does not draw the same again
    assert isinstance(first.values["batch_size"], int)
    assert first.values["views.0.spec.crop.scale"] in ([0.2, 1.0], [0.5, 1.0])
    journal = opened(tmp_path)
    journal.tell(first, 0.5, last=False)
    journal.tell_failed(second, "out of luck")
    journal.promote("trial-0000", 1)
    found = opened(tmp_path).stretches()
    assert [(each.run, each.rung, each.state) for each in found] == [
        ("trial-0000", 0, "ended"),
        ("trial-0001", 0, "failed"),
        ("trial-0000", 1, "open"),
    ]
    assert (found[0].value, found[1].error) == (0.5, "out of luck")
    assert found[2].values == first.values
    opened(tmp_path).tell(found[2], 0.6, last=True)
    last = opened(tmp_path).stretches()[2]
    assert (last.state, last.value) == ("ended", 0.6)


def test_draws_depend_on_the_seed_alone(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    values = [drawn(folder, seed).values for folder, seed in zip(folders, (1, 1, 2), strict=True)]
    assert values[0] == values[1]
    assert values[0] != values[2]


def test_a_driver_that_was_killed_while_it_drew_leaves_no_trial(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal._study.ask({"optimizer.base_lr": journal._distributions["optimizer.base_lr"]})
    assert opened(tmp_path).stretches() == []
    assert drawn(tmp_path).run == "trial-0000"


def test_a_driver_that_was_killed_while_it_promoted_has_promoted(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    first = drawn(tmp_path)
    journal.tell(first, 0.5, last=False)
    kept = {each.path: each.kept(first.values[each.path]) for each in SPACE}
    journal._study.enqueue_trial(kept, user_attrs={"run": first.run, "rung": 1})
    found = opened(tmp_path).stretches()
    assert [(each.run, each.rung, each.state) for each in found[1:]] == [("trial-0000", 1, "open")]
    assert found[1].values == first.values


def test_optuna_learns_from_what_it_is_told(tmp_path: Path) -> None:
    """Half of 20 draws after 20 told ones lie in the decade around the optimum, a quarter of the range."""
    journal = opened(tmp_path)
    near = 0
    for number in range(40):
        journal.draw()
        stretch = journal.stretches()[-1]
        distance = abs(math.log10(stretch.values["optimizer.base_lr"]) + 3)
        if number == 3:
            journal.tell_failed(stretch, "diverged", diverged=True)
        else:
            journal.tell(stretch, -distance, last=False)
        near += number >= 20 and distance < 0.5
    assert near >= 10
    assert journal.stretches()[3].state == "diverged"


def test_a_line_that_was_cut_is_left_out(tmp_path: Path) -> None:
    first = drawn(tmp_path)
    path = tmp_path / "journal"
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 7].rpartition(b"\n")[2] + b'{"op_code": 8, "wor')
    assert repr(opened(tmp_path).stretches()) == repr([first])  # its value is nan, which equals nothing
    cut_broken_line(path)
    assert path.read_bytes() == whole


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    drawn(tmp_path)
    path = tmp_path / "journal"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"no JSON\n", *lines[1:]]))
    with pytest.raises(UserError, match="is damaged") as caught:
        opened(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
