"""A whole run with --compile: the compiler's own kernels beside probes, the monitor, and what comes after."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import run_command
from tests.helpers.runs import SMALL, start_fresh, summary, weights, write_images

SHORT = [
    *(*SMALL, "--epochs", "1", "--log-every", "1"),
    *("--monitor-every", "1", "--precision", "fp32", "--probes"),
]


def rows_of_steps(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if "loss" in row]


@pytest.mark.slow  # compiles for minutes
@pytest.mark.skipif(shutil.which("g++") is None, reason="--compile on a CPU needs a C++ compiler")
def test_a_compiled_run_with_probes_and_the_monitor_is_the_eager_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the rounding of fused operations, which grows with the steps; and both are measured alike."""
    data, eager, compiled = (tmp_path / name for name in ("data", "eager", "compiled"))
    write_images(data / "train", 20, seed=0)
    write_images(data / "test", 10, seed=1)
    kernels = tmp_path / "kernels"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(kernels))
    for out, words in ((eager, ()), (compiled, ("--compile",))):
        process = start_fresh(*SHORT, *words, "--data", data, "--out", out)
        _, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors
        assert any(kernels.rglob("*.so")) == (out == compiled)
    ours, theirs = rows_of_steps(compiled), rows_of_steps(eager)
    assert len(theirs) == 3
    for row, wanted in zip(ours, theirs, strict=True):
        assert row.keys() == wanted.keys()
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-4)
        assert row["probe_linear_top1"] == pytest.approx(wanted["probe_linear_top1"], abs=2 / 16)
    for name in ("knn_top1", "knn_top1_untrained", "knn_top1_pixels"):
        assert summary(compiled)[name] == pytest.approx(summary(eager)[name], abs=2 / 30)
    assert weights(compiled).keys() == weights(eager).keys()
    measured = run_command("fastssl.evaluate", "knn", compiled, "--data", data)
    assert measured.returncode == 0, measured.stderr
