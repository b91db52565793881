"""A visit to a GPU loses no step to another: real processes that end well, fail, hang, or are not there."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
import torch
import tyro

from benchmarks import gpu
from benchmarks.gpu import STEPS, Step, main, take, visit
from fastssl.command_line import parse
from pipelines.command.errors import UserError
from tests.helpers import ROOT

BAD = Step("y", "bad", 30, "json.tool no-such-file")
LATE = Step("z", "late", 1, "http.server 0")
ABSENT = Step("w", "absent", 9, "this", needs=("no_such_package", "os"))


def good(tmp_path: Path) -> Step:
    (tmp_path / "in.json").write_text('{"rows": [1]}')
    return Step("x", "good", 30, shlex.join(["json.tool", f"{tmp_path}/in.json", "JSON"]))


def test_each_step_leaves_its_result_and_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert visit([good(tmp_path), BAD, LATE, ABSENT], tmp_path) == 1
    found = json.loads((tmp_path / "results.json").read_text())
    assert {title: result["status"] for title, result in found.items()} == {
        "good": "done",
        "bad": f"failed with exit status {1 if sys.version_info >= (3, 13) else 2}",
        "late": "stopped at its limit of 1 s",
        "absent": "skipped: no no_such_package here",
    }
    assert found["good"]["result"] == {"rows": [1]}
    log = (tmp_path / "log.txt").read_text()
    assert log.index("==== good: done") < log.index("==== bad: failed") < log.index("==== late: stopped")
    assert "no-such-file" in log
    assert "late" in capsys.readouterr().out
    assert visit([good(tmp_path)], tmp_path) == 0


def test_a_killed_visit_keeps_the_steps_before(tmp_path: Path) -> None:
    code = (
        "import dataclasses, pathlib, sys; from benchmarks.gpu import visit;"
        "from tests.benchmarks.test_gpu_visit import LATE, good; out = pathlib.Path(sys.argv[1]);"
        "wait = 'timeit -n1 -r1 \"import time; time.sleep(60)\"';"  # outlives the visit, not the day
        "visit([good(out), dataclasses.replace(LATE, command=wait, limit_s=600)], out)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, start_new_session=True)
    try:
        for _ in range(600):
            time.sleep(0.1)
            if (tmp_path / "results.json").exists():
                break
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert json.loads((tmp_path / "results.json").read_text())["good"]["status"] == "done"


def test_a_stopped_step_leaves_no_process(tmp_path: Path) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"
    step = Step("p", "parent", 2, shlex.join(["timeit", "-n1", "-r1", code]))
    assert take(step, tmp_path, "")["status"] == "stopped at its limit of 2 s"
    left = subprocess.run(["pgrep", "-f", "time.sleep(600)"], capture_output=True, text=True, check=False)
    assert not left.stdout


def test_the_steps_are_commands_and_fit_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(step.limit_s for step in STEPS if step.letter in "abcdef") <= 4 * 60
    assert sum(step.limit_s for step in STEPS) <= 6.5 * 60
    assert gpu.LONG.limit_s + 2 * 10 <= 9 * 60 + 10
    assert [step.letter for step in STEPS] == list("abcdefghij")
    words = {"CORES": "2", "JSON": "result.json", "DATA": "cifar.beton"}
    for step in (*STEPS, gpu.LONG):
        module, *options = shlex.split(step.command)
        argv = [words.get(word, word) for word in options]
        if module == "fastssl.train":
            assert parse(argv).recipe == "byol-cifar10"
        elif module not in ("pytest", "benchmarks.smoke"):
            monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
            tyro.cli(import_module(module).Options, args=argv)


def test_bad_options_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match="no step q: --steps takes a,b,c,d,e,f,g,h,i,j"):
        main(["--out", out, "--steps", "c,q"])
    assert main(["--out", out, "--long", "--data", str(tmp_path / "none.beton")]) == 0
    assert "skipped: no data at" in capsys.readouterr().out
