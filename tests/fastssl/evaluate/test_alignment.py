from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastssl.evaluate.alignment import Alignment, training_views
from fastssl.evaluate.subject import open_subject
from fastssl.methods import BarlowTwins, Supervised, build_method
from fastssl.models import ResNet9
from fastssl.run import checkpoint
from pipelines.command.errors import UserError
from pipelines.ops import CenterCrop, Flip
from pipelines.views import ViewGroup, ViewSpec
from tests.fastssl.evaluate.conftest import write_run
from tests.helpers.figures_by_hand import uniformity_by_hand
from tests.helpers.methods import narrow

STILL = ViewSpec(size=16, crop=CenterCrop(fraction=1.0), flip=Flip(p=0.0))


def unit(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=1)


@pytest.mark.usefixtures("own_cache")
def test_views_that_do_not_move_are_aligned_and_as_uniform_as_their_vectors(tmp_path: Path) -> None:
    run = write_run(tmp_path, narrow(BarlowTwins, hidden_dim=8, out_dim=4), STILL)
    subject = open_subject(run)
    subject = replace(subject, feature_config=replace(subject.feature_config, spec=STILL))
    features, _ = subject.features("test")
    found = Alignment(layer="encoder").measure(subject)
    assert found["alignment"] == 0
    assert found["uniformity"] == pytest.approx(uniformity_by_hand(unit(features).numpy()), rel=1e-4)
    config = narrow(BarlowTwins, hidden_dim=8, out_dim=4)
    method = build_method(config, ResNet9.Config(width=0.125), seed=7, total_steps=1, num_classes=None)
    method.load_state_dict(checkpoint.load(run / "checkpoints" / "last.pt")["method"])
    projector: Any = method.eval().student.projector
    with torch.no_grad():
        vectors = unit(projector(features))
    found = Alignment().measure(subject)
    assert found["settings"] == {"images": 18, "dim": 4}
    assert found["alignment"] == 0
    assert found["uniformity"] == pytest.approx(uniformity_by_hand(vectors.numpy()), rel=1e-4)


def test_two_crops_lie_apart_and_the_seed_draws_them(run: Path) -> None:
    subject = open_subject(run)
    first, again, other = (Alignment(layer="encoder", seed=seed).measure(subject) for seed in (0, 0, 1))
    assert first == again
    assert first["alignment"] != other["alignment"]
    assert 0 < first["alignment"] < 4
    few = Alignment(layer="encoder", images=7).measure(subject)
    assert few["settings"]["images"] == 7


@pytest.mark.usefixtures("own_cache")
def test_a_run_without_a_projector_is_one_line(tmp_path: Path) -> None:
    subject = open_subject(write_run(tmp_path, Supervised.Config()))
    with pytest.raises(UserError, match=r"supervised .* has no projector: add --layer encoder"):
        Alignment().measure(subject)
    assert Alignment(layer="encoder").measure(subject)["settings"]["images"] == 18
    with pytest.raises(UserError, match="is of no run"):
        Alignment().measure(replace(subject, run=None))


def views(*groups: ViewGroup) -> Any:
    """An experiment, as far as its views go."""
    return SimpleNamespace(views=groups)


def test_views_are_the_first_two_of_the_training() -> None:
    one, other = ViewGroup(spec=STILL), ViewGroup(spec=ViewSpec(size=16))
    twice = (replace(one, num_views=2),)
    assert training_views(views(one, other)) == (one, other)
    assert training_views(views(one, replace(other, num_views=3))) == (one, other)
    assert training_views(views(replace(one, num_views=4))) == twice
    assert training_views(views(one)) == twice
