"""The numbers that recipes carry: the papers', each typed anew from there, and those measured here."""

import datetime

import pytest

from fastssl.recipes import RECIPES

# Linear top-1 in percent.
LINEAR_TOP1: dict[str, float] = {
    # Huang et al. 2022: text of sections 1 and 4.1, tables 2 and 4, repository (MoCo v2)
    "moco-v2-imagenet": 67.2,
    "moco-v2-momentum-ascending-imagenet": 72.0 - 2.0,
    "moco-v2-plus-imagenet": 72.0,
    "moco-v2-plus-complex-imagenet": 72.4,
    "s-moco-v2-plus-imagenet": 71.2,
    "moco-v2-plus-lars-imagenet": 72.5,
    "byol-imagenet": 72.4,
    "byol-sgd-imagenet": 72.1,
    # its supplement, tables 6 and 7
    "moco-v2-plus-complex-100ep-imagenet": 69.1,
    "s-moco-v2-plus-100ep-imagenet": 69.3,
    "byol-sgd-100ep-imagenet": 69.4,
    "supervised-imagenet": 77.1,
    "supervised-artifact-imagenet": 9.2,
    "supervised-up-3-imagenet": 0.7,
    "supervised-up-2-imagenet": 10.6,
    "supervised-depth-6-imagenet": 45.4,
    "supervised-up-1-imagenet": 53.3,
    "moco-v2-r18-100ep-imagenet": 51.9,
    "moco-v2-r101-100ep-imagenet": 65.0,
    "moco-v2-plus-complex-r18-100ep-imagenet": 57.3,
    "moco-v2-plus-complex-r101-100ep-imagenet": 70.8,
    "byol-sgd-r18-100ep-imagenet": 57.8,
    "byol-sgd-r101-100ep-imagenet": 71.7,
    # Grill et al. 2020: section 5 (300 epochs), table 1
    "byol-asymmetric-imagenet": 72.5,
    "byol-asymmetric-1000ep-imagenet": 74.3,
    # Zbontar et al. 2021, table 1
    "barlow-twins-imagenet": 73.2,
    # Zhu et al. 2020: section 1, tables 2 to 7
    "moco-v1-imagenet": 60.6,
    "moco-v1-k256-imagenet": 54.7,
    "moco-v2-k256-imagenet": 67.0,
    "moco-v2-k1024-imagenet": 67.1,
    "moco-v2-k4096-imagenet": 67.6,
    "moco-v2-k16384-imagenet": 67.3,
    "moco-v2-k65536-imagenet": 67.5,
    "moco-v2-k262144-imagenet": 67.4,
    "simo-k16-a256-imagenet": 68.1,
    "simo-k256-a256-imagenet": 68.0,
    "simo-k256-a1024-imagenet": 68.1,
    "simo-k256-a4096-imagenet": 68.1,
    "simo-k256-a16384-imagenet": 68.4,
    "simo-k256-a65536-imagenet": 68.5,
    "simo-k256-a262144-imagenet": 68.3,
    "simo-k256-a256-800ep-imagenet": 71.8,
    "simo-k256-a65536-800ep-imagenet": 72.1,
    "simo-k256-a256-100ep-imagenet": 64.4,
    "simo-k256-a256-beta-0-100ep-imagenet": 62.1,
    "simo-k256-a256-shuffle-bn-100ep-imagenet": 58.8,
    "simo-k256-a256-r50-2x-imagenet": 70.2,
    "simo-k256-a65536-r50-2x-imagenet": 70.5,
    "simo-k256-a256-r50-4x-imagenet": 71.9,
    "simo-k256-a65536-r50-4x-imagenet": 72.3,
    "simclr-imagenet": 66.6,
    "simclr-100ep-imagenet": 64.0,  # "64+"
    "simclr-n256-100ep-imagenet": 57.5,
    # Moon et al. 2022, supplement, tables 3 to 5
    "msbreg-imagenet100": 81.6,
    "msbreg-4-views-imagenet100": 80.4,
    "msbreg-2-views-imagenet100": 72.8,
    "byol-imagenet100": 71.9,
    "byol-uniformity-imagenet100": 72.1,
    "msbreg-stl10": 91.4,
    "msbreg-layer-norm-stl10": 82.3,
    "byol-stl10": 89.5,
    "byol-layer-norm-stl10": 10.6,
    "byol-layer-norm-brownian-stl10": 75.3,
}
# Recipes' other metrics, as they stand in the recipe.
OTHERS: dict[str, dict[str, float]] = {
    # lightly's CIFAR-10 benchmark of 2022-02-18
    "moco-v2-plus-cifar10": {"kNN top-1": 0.850},
    "byol-cifar10": {"kNN top-1": 0.872},
    # DeVries and Taylor 2017, table 1
    "supervised-cifar10": {"top-1": 1 - 0.0472},
    # Moon et al. 2022, supplement, table 3
    "byol-imagenet100": {"alignment": 0.25, "uniformity": -1.52},
    "byol-uniformity-imagenet100": {"alignment": 0.27, "uniformity": -2.95},
    "msbreg-2-views-imagenet100": {"alignment": 0.26, "uniformity": -2.92},
    "msbreg-4-views-imagenet100": {"alignment": 0.36, "uniformity": -3.8},
    # table 2 there
    "msbreg-imagenet": {"COCO box AP": 0.418, "COCO mask AP": 0.378},
}
# Steps of figure 2 of Huang et al. 2022 and a point of figure 2 of Zhu et al. 2020: plots.
WITHOUT_NUMBER = {
    "moco-v2-sync-bn-imagenet",
    "moco-v2-predictor-imagenet",
    "simclr-eqco-imagenet",
    # a sentence of Huang et al. 2022, section 4.1; one of Moon et al. 2022, section 1.1
    "moco-v2-sync-bn-alone-imagenet",
    "msbreg-320ep-imagenet100",
    # Newell and Deng 2020: plots
    *(name for name in RECIPES if name.endswith(("-scenes64", "-scenes128", "-tiny"))),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_numbers_are_the_published_ones(name: str) -> None:
    paper = RECIPES[name]().paper
    expected = {"linear top-1": LINEAR_TOP1[name] / 100} if name in LINEAR_TOP1 else {}
    expected |= OTHERS.get(name, {})
    if paper is None:
        assert not expected
        return
    assert dict(paper.results) == pytest.approx(expected)
    assert [metric for metric, _ in paper.results] == list(expected)  # the leading one first
    assert (not paper.results) == (name in WITHOUT_NUMBER)
    assert paper.title
    assert paper.place


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_measured_says_how_when_and_at_what_cost(name: str) -> None:
    config = RECIPES[name]()
    measured = config.measured
    if measured is None:
        return
    assert measured.results
    assert all(0 < number < 1 for _, number in measured.results)
    learns = f"pytest -s -m slow tests/fastssl/methods/test_pretexts_learn.py -k {name}"
    assert measured.command in ("make demo", f"python -m fastssl.train {name} --data DIR", learns)
    assert measured.cost
    assert datetime.date.fromisoformat(measured.date).isoformat() == measured.date


def test_a_recipe_without_a_paper_has_been_measured() -> None:
    """Except on images that only a user has."""
    recipes = [recipe() for name, recipe in RECIPES.items() if name != "my-images"]
    assert all(config.paper or config.measured for config in recipes)
