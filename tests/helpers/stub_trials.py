"""Searches whose trials are real processes of a stand-in for fastssl.train, without torch: ms per epoch.

A trial's score after e epochs is known: ``score`` below, best at a rate of 1e-3.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launchers.search import defined_search, prepare
from launchers.searching.folder import SearchFolder
from launchers.searching.options import parse
from tests.helpers.stub_runs import write_stub

TRAIN = '''
"""Epochs of 0.05 s; score.py's arithmetic again, as this process has no tests."""
import json, math, os, signal, sys, time
from pathlib import Path

experiment = json.loads(Path(sys.argv[1]).read_text())["config"]["experiment"]
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
out, stop = Path(options["--out"]), float(options.get("--pause-after", 0))
out.mkdir(parents=True, exist_ok=True)
total, path, stopped = experiment["epochs"], out / "summary.json", []
faults = out.parent.parent / "faults.json"
fault = json.loads(faults.read_text()).get(out.name, "") if faults.exists() else ""
epoch = int(json.loads(path.read_text())["epochs_done"]) if path.exists() else 0
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))


def save(status):
    values = {"status": status, "steps_done": epoch, "epochs_done": epoch, "pause_after": stop}
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(values))
    aside.rename(path)


save("running")
while epoch < min(stop or total, total):
    if stopped:
        save("interrupted")
        sys.exit(143)
    time.sleep(0.05)
    epoch += 1
    if fault == "crash":
        raise RuntimeError("the loss went away")
    if fault == "diverged":
        (out / "diverged.json").write_text("{}")
        print("error: the loss is not finite at step 1", file=sys.stderr)
        sys.exit(2)
    if fault == "mistake":
        print("error: no such folder", file=sys.stderr)
        sys.exit(2)
    if fault == "killed" and not (out / "killed").exists():
        (out / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    rate = experiment["optimizer"]["base_lr"]
    score = 1 - 0.1 * abs(math.log10(rate) + 3) - 0.5 / epoch
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": epoch, "epoch": float(epoch), "score": score}) + "\\n")
    save("running")
save("finished" if epoch >= total else "paused")
'''

MEASURE = '''
"""A task or protocol: top1 is 1 less the score of the trial's last epoch; each one is written down."""
import json, os, signal, sys
from pathlib import Path

name, run, *words = sys.argv[1:]
run, options = Path(run), dict(zip(words[::2], words[1::2]))
summary = json.loads((run / "summary.json").read_text())
assert summary["status"] in ("paused", "finished"), summary
out = Path(options.get("--out", run))
(out / "eval").mkdir(exist_ok=True, parents=True)
with (run / "measured.jsonl").open("a") as file:
    file.write(json.dumps({"epoch": summary["epochs_done"], "words": words}) + "\\n")
faults = run.parent.parent / "faults.json"
fault = json.loads(faults.read_text()).get(run.name, "") if faults.exists() else ""
if fault == "unmeasured" and not (run / "killed").exists():
    (run / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if fault == "unfit":
    print("error: the images are unfit", file=sys.stderr)
    sys.exit(2)
if fault == "transfer diverged":
    print("error: the loss is not finite at step 3, the training has diverged: start anew", file=sys.stderr)
    sys.exit(2)
score = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["score"]
result = {"protocol": name, "step": summary["steps_done"], "top1": 1 - score}
(out / "eval" / f"{name}.json").write_text(json.dumps(result))
'''

WORDS = (
    "quickstart",
    *("--space", "optimizer.base_lr=log:1e-5:1e-1", "--metric", "score", "--set", "epochs=9"),
)


def score(rate: float, epoch: int) -> float:
    """Value of a trial's metric after an epoch."""
    return 1 - 0.1 * abs(math.log10(rate) + 3) - 0.5 / epoch


def stub_search(
    path: Path, words: Sequence[str] = (), faults: Mapping[str, str] | None = None
) -> tuple[SearchFolder, list[str]]:
    """A search folder whose trials run the stand-in, and the words of the command that conducts it.

    Args:
        path: of the folder.
        words: further words of the command.
        faults: what goes wrong, by trial: crash, diverged, mistake, killed (once); where it is measured,
            unmeasured (once), unfit, transfer diverged.
    """
    folder = SearchFolder(path)
    command = [*WORDS, *words, "--out", str(path)]
    prepare(folder, defined_search(parse(command)[0]), command)
    shutil.rmtree(folder.code)
    write_stub(folder.code)
    (folder.code / "fastssl" / "train.py").write_text(TRAIN)
    for measuring in ("transfer", "evaluate"):
        (folder.code / "fastssl" / measuring / "__main__.py").write_text(MEASURE)
    if faults:
        (path / "faults.json").write_text(json.dumps(faults))
    return folder, command


def table(folder: SearchFolder) -> dict[str, dict[str, Any]]:
    """Lines of search.json's table, by trial."""
    return {line["trial"]: line for line in json.loads(folder.search.read_text())["table"]}


def measurements(folder: SearchFolder, run: str) -> list[dict[str, Any]]:
    """Each measurement of a run: epochs that it had been trained for, and the words of the command."""
    lines = (folder.run(run) / "measured.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def epochs_trained(folder: SearchFolder, run: str) -> list[int]:
    """Epochs in the order in which they were trained; one that was trained twice stands twice."""
    lines = (folder.run(run) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]
