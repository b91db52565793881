import json
from pathlib import Path

import pytest
import torch

from fastssl.distributed import precision
from fastssl.distributed.precision import AUTOCAST, bf16_instructions, resolve_precision
from tests.helpers.runs import SMALL, run, run_fresh

CPU = torch.device("cpu")
PLAIN, AVX512, AMX = "", "AVX512-BF16", "AMX"


@pytest.mark.parametrize(
    ("cpu", "environment", "expected"),
    [
        (PLAIN, {}, "fp32"),
        (AVX512, {}, "bf16"),
        (AMX, {}, "bf16"),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "fp32"),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, "fp32"),
        (AVX512, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "bf16"),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "avx512_core_amx"}, "bf16"),
        (AMX, {"ONEDNN_MAX_CPU_ISA": "DEFAULT"}, "bf16"),
        (AMX, {"DNNL_MAX_CPU_ISA": "AVX2"}, "fp32"),
        (PLAIN, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}, "fp32"),
    ],
)
def test_bf16_is_chosen_where_the_processor_and_its_bound_have_it(
    cpu: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "bf16_instructions", lambda: cpu)
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, why = resolve_precision("auto", CPU)
    assert found == expected
    assert why


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_a_precision_that_is_asked_for_stays(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_instructions", lambda: PLAIN)
    assert resolve_precision(asked, CPU) == (asked, "as told")  # type: ignore[arg-type]


def test_this_machine_has_an_answer() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    expected = AMX if "amx_tile" in flags else AVX512 if "avx512_bf16" in flags else PLAIN
    assert bf16_instructions() == expected
    found, _ = resolve_precision("auto", CPU)
    assert found in AUTOCAST


def test_a_device_nobody_tried_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bf16_instructions", lambda: AMX)
    assert resolve_precision("auto", torch.device("mps"))[0] == "fp32"


def recorded(out: Path) -> tuple[str, str]:
    about = json.loads((out / "config.json").read_text())
    return about["config"]["experiment"]["precision"], about["resolved"]["precision"]


def test_the_resolved_precision_is_printed_recorded_and_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    options = [*SMALL, "--data", str(data), "--out", str(out)]
    paused = run_fresh(*options, "--pause-after", "2")  # oneDNN may have read the variable before a fork
    assert paused.returncode == 0, paused.stderr
    before, why = recorded(out)
    assert before == "fp32"
    assert why
    # bf16 instructions or not: the run goes on as it began
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    resumed = run(*options, "--pause-after", "3")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step 14" in resumed.stderr
    assert "precision: fp32 (as the run began)" in resumed.stderr
    assert recorded(out) == (before, why)


def test_another_precision_than_the_folders_is_refused(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = [*SMALL, "--data", str(data), "--out", str(out), "--epochs", "1"]
    assert run(*options, "--precision", "bf16").returncode == 0
    assert recorded(out) == ("bf16", "as told")
    refused = run(*options, "--precision", "fp32")
    assert refused.returncode == 2
    assert "precision (bf16 became fp32)" in refused.stderr
