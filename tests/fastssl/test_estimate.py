"""Estimates of runs: steps and memory by hand, a measured step, words on devices that are not here."""

import re

import pytest
import torch

from fastssl.estimate import main
from pipelines.command.errors import UserError

TINY = ["quickstart", "--batch-size", "8", "--epochs", "2", "--pipeline", "fake", "--precision", "fp32"]


def test_a_run_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(TINY) == 0
    first, held, step, run = capsys.readouterr().out.splitlines()
    assert first == "quickstart: 2,500 steps of 8 images, 2 epochs of 10,000 images"
    assert held.startswith("held all the time: ")
    seconds = float(re.match(r"a step: (\S+) s \(median of [123], fp32, pipeline fake\)", step)[1])  # type: ignore[index]
    hours = float(re.match(r"the run: (\S+) hours", run)[1])  # type: ignore[index]
    assert hours == pytest.approx(2500 * seconds / 3600, rel=0.02)  # both are printed with 3 digits


def test_memory_that_is_held(capsys: pytest.CaptureFixture[str]) -> None:
    main([*TINY, "--gpus", "4"])
    first, held, unknown, *needs = capsys.readouterr().out.splitlines()
    assert first.endswith("steps of 8 images, 2 per GPU, 2 epochs of 10,000 images")
    total, parameters, averages, rest = (
        float(number.replace(",", "")) for number in re.findall(r"([\d.,]+) M", held)
    )
    assert total == pytest.approx(12 * parameters + averages + rest, abs=2)
    assert 0 < averages < 4 * parameters  # the teacher has no predictor
    if not torch.cuda.is_available():
        assert unknown.startswith("activations and hours on 4 GPUs: unknown")
        assert needs[0] == "for each 1,000 images/s of a GPU:"
        assert [line.partition(":")[0] for line in needs[1:]] == [
            "cores per GPU",
            "storage",
            "network",
            "limit",
        ]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--gpus", "3"], "--gpus 3 cannot share --batch-size 8: take a divisor"),
        (["--gpus"], "--gpus takes a number of at least 1, not nothing"),
        (["--gpus=few"], "--gpus takes a number of at least 1, not few"),
        (["--images", "9", "--pipeline", "cpu"], "--images stands for images that are elsewhere"),
        (["--gpus", "0"], "--gpus takes a number of at least 1, not 0"),
    ],
)
def test_bad_numbers_of_gpus(words: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        main([*TINY, *words])


ELSEWHERE = ["--pipeline", "fake", "--images"]


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (
            [*TINY, "--data", "no/such/folder", "--images", "1281167"],
            "quickstart: 320,290 steps of 8 images, 2 epochs of 1,281,167 images",
        ),
        (  # batch and queue are fitted: 500 // 8 is above 32
            ["my-images", *ELSEWHERE, "500", "--size", "32", "--gpus", "2"],
            "my-images: 1,500 steps of 32 images, 16 per GPU, 100 epochs of 500 images",
        ),
        (  # larger than any data set that is here
            ["quickstart", "--batch-size", "16384", "--epochs", "2", *ELSEWHERE, "1281167", "--gpus", "8"],
            "quickstart: 156 steps of 16384 images, 2048 per GPU, 2 epochs",
        ),
    ],
)
def test_images_that_are_elsewhere(words: list[str], begin: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(words)
    assert capsys.readouterr().out.startswith(begin)


def test_a_batch_larger_than_the_data_elsewhere_is_refused() -> None:
    with pytest.raises(UserError, match="the batch of 16384 is larger than the data set"):
        main(["quickstart", "--batch-size", "16384", *ELSEWHERE, "16383"])
