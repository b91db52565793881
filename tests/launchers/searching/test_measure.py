"""Searches by what a task or a protocol measures of the trials, over real processes of a stand-in."""

import json
from pathlib import Path

import pytest

from launchers.look import look
from launchers.report import report
from launchers.search import defined_search, main
from launchers.searching.measure import measure_of
from launchers.searching.options import parse
from pipelines.command.errors import UserError
from tests.helpers.runs import write_images
from tests.helpers.stub_trials import WORDS, epochs_trained, measurements, score, stub_search, table

IMAGES = "scenes:single-1111,images=40"
MEASURED = ("--measure", "labels=20", "mode=linear")
TASK = ("--metric", "classification.top1", "--eval-data", IMAGES)


def test_trials_are_transferred_to_a_task_at_each_rung(tmp_path: Path) -> None:
    """A trial is the better, the worse it is by the training's own score."""
    faults = {"trial-0001": "unmeasured"}
    words = ["--trials", "3", "--grace", "3", *TASK, *MEASURED]
    folder, command = stub_search(tmp_path / "s", words, faults)
    assert main(command) == 0
    found = table(folder)
    rates = {run: line["values"]["optimizer.base_lr"] for run, line in found.items()}
    for run, line in found.items():
        assert line["metric"] == pytest.approx(1 - score(rates[run], line["epoch"]))
        assert epochs_trained(folder, run) == [*range(1, int(line["epoch"]) + 1)]  # none was trained twice
        epochs = [each["epoch"] for each in measurements(folder, run)]
        assert epochs == [3] * (1 + (run in faults)) + [9] * (line["epoch"] == 9)
        for each in measurements(folder, run):
            given = dict(zip(each["words"][::2], each["words"][1::2], strict=True))
            assert given.items() >= {"--labels": "20", "--mode": "linear", "--data": IMAGES}.items()
    best = json.loads(folder.search.read_text())["best"]
    assert best == max(found, key=lambda run: (found[run]["epoch"], found[run]["metric"]))
    assert folder.transfer(best, "classification+epoch=9").is_dir()
    shown = {run.name: (run.state.name, run.measured) for run in look(folder).runs}
    for run, line in found.items():
        assert shown[run] == (("finished", "2/2") if line["epoch"] == 9 else ("paused", "1/1"))
    before = folder.journal.read_bytes()
    assert main(command) == 0  # there is nothing left to do
    assert folder.journal.read_bytes() == before
    page, *_ = report(folder.path)
    assert "classification.top1 over trials" in page.read_text()
    assert f"measured at each comparison, with labels=20 mode=linear, on {IMAGES}." in page.read_text()


def test_a_protocol_measures_anew_what_has_trained_on(tmp_path: Path) -> None:
    words = ["--trials", "1", "--grace", "3", "--metric", "linear.top1"]
    folder, command = stub_search(tmp_path / "s", words)
    assert main(command) == 0
    (line,) = table(folder).values()
    assert [each["epoch"] for each in measurements(folder, "trial-0000")] == [3, 9]
    assert line["metric"] == pytest.approx(1 - score(line["values"]["optimizer.base_lr"], 9))


def test_a_transfer_that_diverges_is_the_worst_and_a_mistake_stops_the_search(tmp_path: Path) -> None:
    faults = {"trial-0000": "transfer diverged", "trial-0001": "unfit"}
    folder, command = stub_search(tmp_path / "s", ["--trials", "2", *TASK, *MEASURED], faults)
    with pytest.raises(UserError, match=r"^trial-0001 \(base_lr .*\): the images are unfit$"):
        main(command)
    assert [line["state"] for line in table(folder).values()] == ["diverged", "training"]
    (folder.path / "faults.json").unlink()  # mended
    assert main(command) == 0
    assert [line["state"] for line in table(folder).values()] == ["diverged", "finished"]
    assert epochs_trained(folder, "trial-0001") == [*range(1, 10)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metric", "clasification.top1"], "no task or protocol that has metrics; did you mean classif"),
        (["--metric", "classification."], "classification is no task or protocol that has metrics"),
        (["--measure", "labels=20"], "--measure labels=20 is of a task or protocol, and --metric score"),
        (["--eval-data", IMAGES], "--eval-data scenes:.* is of a task or protocol"),
        ([*TASK, "--measure", "lables=20"], "--measure: classification: unknown option --lables.*--labels"),
        ([*TASK, "--measure", "labels"], "--measure labels: give NAME=VALUE, such as labels=1000"),
        ([*TASK, "--measure", "mode=tuned"], "--measure: classification: invalid choice 'tuned'"),
        ([*TASK, "--measure", "out=there"], "--measure out=there: the search says out"),
        ([*TASK, *MEASURED, "labels=30"], "--measure labels=30: labels is given twice"),
        (["--metric", "linear.top1", "--measure", "eopchs=2"], "--measure: linear: unknown option --eopchs"),
        ([*TASK, "--measure", "labels=41"], "--labels 41: .* has 40 training images"),
        (["--metric", "segmentation.mIoU", "--eval-data", "/nowhere"], "no such folder or file: /nowhere"),
        (["--size", "64"], "unknown option --size, which is the runs' own .*--space size=VALUE"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.delattr("launchers.search.prepare")  # nothing begins
    with pytest.raises(UserError, match=told) as caught:
        main([*WORDS, *words, "--out", str(tmp_path / "s")])
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_images_without_the_labels_of_a_task_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path / "data" / "train", 2, seed=0)
    words = ["--metric", "segmentation.mIoU", "--eval-data", str(tmp_path / "data")]
    with pytest.raises(UserError, match=r"segmentation needs .*, and .*data has none"):
        main([*WORDS, *words, "--out", str(tmp_path / "s")])


def test_settings_are_as_the_command_line_has_them() -> None:
    settings = ["labels=20", "weight-decay=0", "searched_rates=1e-3,1e-2"]
    measure = measure_of("classification.top1", settings, "")
    assert measure is not None
    (task,) = measure.at(2.5)
    assert task.result == "classification+epoch=2.5"
    assert task.words == [
        *("classification", "--labels", "20", "--weight-decay", "0"),
        *("--searched-rates", "0.001", "0.01"),
    ]
    assert measure_of("knn_top1", [], "") is None
    protocol = measure_of("linear.top1", ["epochs=7"], "")
    assert protocol is not None
    assert protocol.protocol == "linear+epochs=7"


def test_another_measure_is_another_search(tmp_path: Path) -> None:
    _, command = stub_search(tmp_path / "s", [*TASK, *MEASURED])
    with pytest.raises(UserError, match=r"measure \(labels=20 .* became labels=10 mode=linear\): choose"):
        main(["labels=10" if word == "labels=20" else word for word in command])
    assert not defined_search(parse(command)[0]).logs_knn
