"""Gradients over K: equation 10's norms, and those that the training logs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastssl.diagnostics.__main__ import main
from fastssl.diagnostics.gradients import gradient_norms
from fastssl.evaluate.features import open_views
from fastssl.evaluate.saved_run import saved_run
from fastssl.evaluate.subject import open_subject
from fastssl.methods import MoCo, SimCLR
from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan
from tests.fastssl.evaluate.conftest import write_run
from tests.helpers.figures_by_hand import query_gradient_norm
from tests.helpers.methods import narrow

CHANGES = {"loss.num_negatives": 16, "symmetric_loss": False, "predictor_on": "none"}


@pytest.fixture
def run(tmp_path: Path, own_cache: Path) -> Path:
    """An untrained MoCo v2 with a checkpoint of step 3 and a last one of step 9."""
    return write_run(tmp_path, narrow(MoCo, CHANGES, hidden_dim=8, out_dim=4))


def result(run: Path, *words: str) -> dict[str, Any]:
    assert main(["gradients", *words]) == 0
    (path,) = (run / "diagnostics").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return found


@pytest.mark.parametrize("alpha", [None, 300.0])
def test_norms_are_those_of_the_float64_formula(alpha: float | None) -> None:
    rows = np.random.default_rng(0).normal(size=(13, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, keys, negatives = rows[:3], rows[3:6], rows[6:]
    q, keys_of_q, pool = map(torch.from_numpy, (queries, keys, negatives))
    found = gradient_norms(q, keys_of_q, pool, 0.2, alpha)
    expected = [
        query_gradient_norm(q, key, negatives, 0.2, alpha or 7) for q, key in zip(queries, keys, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_every_checkpoint_k_and_alpha_has_mean_and_sigma(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(run, str(run), "--num-negatives", "4", "16", "--alpha", "16")
    rows = {(row["checkpoint"], row["num_negatives"], row["alpha"]): row for row in found["rows"]}
    assert list(rows) == [
        (checkpoint, size, alpha)
        for checkpoint in ("epoch-0001", "last")
        for alpha in (None, 16.0)
        for size in (4, 16)
    ]
    assert [row["step"] for row in found["rows"]] == [3] * 4 + [9] * 4
    assert rows["last", 16, None]["mean"] == pytest.approx(rows["last", 16, 16.0]["mean"], rel=1e-6)
    assert rows["last", 4, None]["mean"] < rows["last", 4, 16.0]["mean"]  # it grows with K, but for EqCo
    assert all(row["sigma"] > 0 for row in rows.values())
    assert found["settings"]["images"] == 36
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("gradients: without EqCo, step 9: mean |dL/dq| ")
    assert said[1].startswith("gradients: alpha 16, step 9: mean |dL/dq| ")


def test_at_the_run_s_own_k_they_are_what_its_training_logs(run: Path) -> None:
    """MoCo's ``forward`` of the same batch has the same mean and variance in its metrics."""
    found = result(run, str(run / "checkpoints/epoch-0001.pt"), "--images", "4", "--seed", "5")
    assert {(row["num_negatives"], row["alpha"]) for row in found["rows"]} == {
        *((4, None), (16, None), (4, 16.0), (16, 16.0)),
    }
    (row,) = (row for row in found["rows"] if row["num_negatives"] == 16 and row["alpha"] is None)
    subject = replace(open_subject(run), checkpoint="epoch-0001")
    saved = saved_run(subject, "gradients", "queue")
    plan = Plan(count=36, batch_size=4, batches_per_epoch=1, seed=5)
    method = saved.build().train()
    with open_views(subject.data.train, subject.feature_config, plan, 1, saved.experiment.views) as loader:
        (metrics,) = (method(batch, 0)[1] for batch in loader)
    assert row["mean"] == pytest.approx(float(metrics["query_gradient_mean"]), rel=1e-5)
    assert row["sigma"] ** 2 == pytest.approx(float(metrics["query_gradient_variance"]), rel=1e-4)


def test_mistakes_are_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--num-negatives 64 is more than the queue of .* holds \(16\)"):
        main(["gradients", str(run), "--num-negatives", "4", "64"])
    (tmp_path / "other").mkdir()
    other = write_run(tmp_path / "other", narrow(SimCLR, hidden_dim=8, out_dim=4))
    with pytest.raises(UserError, match="is of simclr, which has no queue: give MoCo's"):
        main(["gradients", str(other)])
