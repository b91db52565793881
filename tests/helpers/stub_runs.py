"""Sweeps whose jobs are real processes of a stand-in for fastssl: --data names what happens."""

from __future__ import annotations

import shutil
from pathlib import Path

from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from tests.helpers import ROOT

TRAIN = '''
"""Steps of 0.02 s; a checkpoint of the step at the end, or at TERM, as fastssl.train does it."""
import json, os, signal, sys, time
from pathlib import Path

options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
out, (kind, _, steps) = Path(options["--out"]), options["--data"].partition("-")
total = int(steps or 10)
out.mkdir(parents=True, exist_ok=True)
path, stopped = out / "summary.json", []
step = json.loads(path.read_text())["steps_done"] if path.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))


def save(status):
    values = {"status": status, "steps_done": step, "total_steps": total, "images_per_s": 50.0}
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(values))
    aside.rename(path)


save("running")
print("starts at step", step, flush=True)
while step < total:
    if stopped:
        save("interrupted")
        print("stopped")
        sys.exit(143)
    time.sleep(0.02)
    step += 1
    if kind == "crash" and step == 3:
        raise RuntimeError("the loss went away")
    if kind == "once" and step == 3 and not (out / "crashed").exists():
        (out / "crashed").touch()
        raise RuntimeError("the node is haunted")
    if kind == "mistake" and step == 3:
        print("error: no such folder", file=sys.stderr)
        sys.exit(2)
    if kind == "killed" and step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
save("finished")
'''

EVALUATE = """
import json, sys
from pathlib import Path

folder = Path(sys.argv[2])
folder = folder if folder.is_dir() else folder.parent.parent
assert json.loads((folder / "summary.json").read_text())["status"] == "finished"
(folder / "eval").mkdir(exist_ok=True)
(folder / "eval" / f"{sys.argv[1]}.json").write_text("{}")
"""


TRANSFER = """
import json, signal, sys, time
from pathlib import Path

task, encoder, *words = sys.argv[1:]
options = dict(zip(words[::2], words[1::2]))
if encoder == "scratch":
    assert Path(options["--like"]).name
else:
    assert json.loads((Path(encoder) / "summary.json").read_text())["status"] == "finished"
out, total, stopped = Path(options["--out"]), int(options["--steps"]), []
path = out / "summary.json"
out.mkdir(parents=True, exist_ok=True)
step = json.loads(path.read_text())["steps_done"] if path.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
print("starts at step", step, flush=True)
while step < total:
    if stopped:
        sys.exit(143)
    time.sleep(0.02)
    step += 1
    path.write_text(json.dumps({"status": "running", "steps_done": step}))
    if options["--labels"] == "7" and step == 3:
        raise RuntimeError("the node is haunted")
result = json.dumps({"protocol": task, "step": 10, "top1": int(options["--labels"]) / 1000})
for folder in {out, out if encoder == "scratch" else Path(encoder)}:
    (folder / "eval").mkdir(exist_ok=True)
    (folder / "eval" / f"{task}+labels={options['--labels']}@data-12345678.json").write_text(result)
"""


def write_stub(code: Path) -> None:
    """A snapshot of this project with stand-ins for the three commands that jobs run."""
    for package in ("launchers", "pipelines", "fastssl"):
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    (code / "fastssl" / "train.py").write_text(TRAIN)
    (code / "fastssl" / "evaluate" / "__main__.py").write_text(EVALUATE)
    (code / "fastssl" / "transfer" / "__main__.py").write_text(TRANSFER)


def stub_sweep(path: Path) -> SweepFolder:
    """A sweep folder whose jobs run the stand-in."""
    folder = SweepFolder(path)
    write_stub(folder.code)
    folder.jobs.mkdir()
    return folder


def outcomes(folder: SweepFolder, job: Job | str) -> list[str]:
    """Outcome of each attempt of a job, which may be told by its name."""
    name = job if isinstance(job, str) else job.name
    return [attempt.outcome for attempt in read_attempts(folder.attempts(name))]


def stub_job(folder: SweepFolder, data: str, evaluation: str = "", retries: int = 1) -> Job:
    """A job; its run is called as its data."""
    return Job(sweep=folder.path, run=data, data=data, evaluation=evaluation, retries=retries)
