"""Needs of runs on paper, by hand: MoCo v2+'s ResNet-50 at 2,000 images/s per GPU."""

import pytest

from fastssl.estimate import main
from fastssl.needs import needs
from pipelines.command.errors import UserError

WORDS = ["moco-v2-plus-imagenet", "--pipeline", "fake", "--images", "1281167", "--gpus"]


def lines(gpus: int, cores: float) -> list[str]:
    return list(
        needs(
            gpus=gpus,
            images_per_s=2000,
            batch_size=1024,
            parameters=30_000_000,
            view_pixels=2 * 224 * 224,
            image_bytes=110_000,
            cores=cores,
        )
    )


def test_cores_storage_and_network_by_hand() -> None:
    cpu, storage, network, _ = lines(64, 16)
    assert f" {2000 * 1333e-6:.1f} with the views rendered on the GPU" in cpu
    assert f" {2000 * 1804e-6:.1f} with views;" in cpu
    assert storage.startswith(f"storage: {64 * 2000 * 110e3 / 1e9:.2f} GB/s in all at 110 KB per image")
    # a ring sends each of 64 parts of 120 MB 63 times, twice, in 8 ms
    assert network == (
        f"network: {2 * 63 / 64 * 0.12 / 0.008:.1f} GB/s each way per GPU for the gradients "
        "(30 M parameters, 125.0 steps per second)"
    )
    assert not any(line.startswith("network") for line in lines(1, 16))


@pytest.mark.parametrize(
    ("cores", "words"),
    [
        (2, "limit: decoding, to 1,500 images/s per GPU, with 2 cores per GPU as here"),
        (3, "limit: the GPU, if it renders the views; the 3 cores per GPU cannot do that too"),
        (16, "limit: the GPU; 16 cores per GPU as here do"),
    ],
)
def test_the_limit_is_named(cores: int, words: str) -> None:
    assert lines(8, cores)[-1] == words


def test_hours_at_a_rate_measured_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "64", "--images-per-s", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    hours = 200 * (1281167 // 1024 * 1024) / 64 / 2000 / 3600
    assert lines[2] == f"the run: {hours:.3g} hours, as told"
    assert lines[4].startswith("storage: 14.08 GB/s in all at 110 KB per image")


def test_a_rate_without_gpus_is_refused() -> None:
    with pytest.raises(UserError, match="--images-per-s is the rate of one GPU of several: add --gpus"):
        main([*WORDS[:-1], "--images-per-s", "2000"])
