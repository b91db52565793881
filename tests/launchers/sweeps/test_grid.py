import dataclasses

import pytest

from fastssl.methods import BYOL, MSBReg, SiMo
from fastssl.optim import LARS
from fastssl.recipes import find_recipe, quickstart
from fastssl.recipes.variant import with_changes
from launchers.sweeps.fields import Change, assign, parse_value, resolve, split_values
from launchers.sweeps.grid import applied, file_name, grid_study
from launchers.sweeps.study import Study, to_plan, with_seeds
from pipelines.command.errors import UserError

RECIPE = "simo-k256-a256-imagenet"


def of_recipe(*grid: str) -> Study:
    return grid_study(RECIPE, find_recipe(RECIPE), grid)


def test_every_combination_is_a_run() -> None:
    study = of_recipe("num_negatives=4,16", "eqco_alpha=256,None", "epochs=100,200")
    assert study.axes == ("num_negatives", "eqco_alpha", "epochs")
    assert len(study.runs) == 8
    first = study.runs[0]
    assert first.name == "num-negatives-4-eqco-alpha-256-epochs-100"
    assert first.row == "num_negatives=4, eqco_alpha=256, epochs=100"
    assert first.values == {"num_negatives": 4, "eqco_alpha": 256, "epochs": 100}
    base = find_recipe(RECIPE).experiment
    assert isinstance(base.method, SiMo.Config)
    method = with_changes(base.method, {"loss.num_negatives": 4, "loss.eqco_alpha": 256})
    assert first.config.experiment == dataclasses.replace(base, epochs=100, method=method)
    last = study.runs[-1].config.experiment
    assert (last.method.loss.num_negatives, last.method.loss.eqco_alpha) == (16, None)  # type: ignore[attr-defined]
    assert last.epochs == 200


def test_a_grid_is_named_after_what_varies() -> None:
    base = quickstart()
    assert grid_study("quickstart", base, ["temperature=0.1,0.2"]).name == "quickstart-by-temperature"
    assert (
        grid_study("quickstart", base, ["epochs=1"], ["base_lr=0.1"]).name == "quickstart-by-epochs-base-lr"
    )
    assert grid_study("quickstart", base, []).name == "quickstart"
    assert grid_study("mine/../x", base, ["epochs=1"]).name == "mine-..-x-by-epochs"  # no folder but its own
    many = ["num_negatives=8", "eqco_alpha=256", "temperature=0.1", "weight_decay=0", "nesterov=true"]
    name = grid_study("quickstart", base, many).name
    assert name == "quickstart-by-num-negatives-eqco-alpha-and-3-more"
    assert len(name) <= 60


def test_long_names_are_told_apart() -> None:
    """255 bytes are the most of a file system, and an evaluation's name follows."""
    one, other = (file_name("x/" * 200 + end) for end in ("a", "b"))
    assert one != other
    assert len(one) == len(other) == 150
    assert one.startswith("x-x-")
    assert file_name("base_lr=0.1") == "base-lr-0.1"


def test_the_papers_number_stays_with_the_papers_experiment() -> None:
    study = of_recipe("eqco_alpha=256,65536")
    papers = [run.paper and run.paper.results for run in study.runs]
    assert papers == [(("linear top-1", 0.68),), None]
    assert all(run.paper is None for run in applied(study, ["epochs=10"], "").runs)
    assert applied(study, ["workers=4"], "/data").runs[0].paper == study.runs[0].paper


def test_seeds() -> None:
    study = with_seeds(of_recipe("eqco_alpha=1024"), 3)
    assert [run.name for run in study.runs] == [f"eqco-alpha-1024-s{seed}" for seed in range(3)]
    assert [run.config.experiment.seed for run in study.runs] == [0, 1, 2]
    assert len({run.row for run in study.runs}) == 1
    assert study.axes[-1] == "seed"
    assert to_plan(study)["runs"][2]["values"] == {"eqco_alpha": 1024, "seed": 2}


def test_figures_of_a_grid() -> None:
    figure = of_recipe("num_negatives=4,16,256", "epochs=100,200").figures[0]
    assert (figure.x, figure.y, figure.series, figure.log_x) == (
        "num_negatives",
        "linear.top1",
        "epochs",
        True,
    )
    words = of_recipe("precision=fp32,bf16", "epochs=100").figures[0]  # side by side
    assert (words.x, words.series, words.log_x) == ("precision", None, False)
    assert of_recipe("precision=fp32").figures == ()


def test_fields_that_change_together() -> None:
    base = find_recipe(RECIPE)
    study = grid_study(RECIPE, base, ["epochs=100,200"], ["batch_size=256,512", "base_lr=0.1,0.2"])
    assert study.axes == ("epochs", "batch_size", "base_lr")
    found = [(run.values["epochs"], run.values["batch_size"], run.values["base_lr"]) for run in study.runs]
    assert found == [(100, 256, 0.1), (100, 512, 0.2), (200, 256, 0.1), (200, 512, 0.2)]
    assert study.runs[1].config.experiment.optimizer.base_lr == 0.2
    with pytest.raises(UserError, match="as many values of each field: batch_size has 2, base_lr has 1"):
        grid_study(RECIPE, base, [], ["batch_size=128,256", "base_lr=0.1"])
    with pytest.raises(UserError, match="--zip names epochs twice"):
        grid_study(RECIPE, base, ["epochs=1"], ["epochs=2"])


def test_names_of_fields() -> None:
    config = find_recipe(RECIPE)
    assert resolve("num_negatives", config, "--grid") == "method.loss.num_negatives"
    assert resolve("base-lr", config, "--grid") == "optimizer.base_lr"
    assert resolve("spec.blur.p", config, "--grid") == "views.0.spec.blur.p"
    assert resolve("lr", config, "--grid") == "optimizer.base_lr"  # as on the command line of a training
    assert resolve("blur_p", config, "--grid") == "views.0.spec.blur.p"
    assert resolve("epochs", config, "--grid") == "epochs"  # though warmup_epochs ends so too
    changed = assign(config, [Change("views.0.spec.blur.p", 0.1, "x"), Change("workers", 3, "y")])
    assert changed.experiment.views[0].spec.blur.p == 0.1
    assert changed.machine.workers == 3


def test_values_that_only_fit_together() -> None:
    settings = ["num_negatives=999", "batch_size=1024"]
    by_grid = of_recipe(*settings).runs[0].config.experiment
    by_set = applied(of_recipe(), settings, "").runs[0].config.experiment
    assert by_grid == by_set
    assert by_grid.batch_size == 1024


def test_values() -> None:
    assert [parse_value(text) for text in ("4", "0.5", "true", "None", "null", "bf16")] == [
        *(4, 0.5, True, None, None, "bf16")
    ]
    assert split_values("4,16") == [4, 16]
    assert split_values("[[0.2, 1.0], [0.08, 1.0]]") == [[0.2, 1.0], [0.08, 1.0]]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["num_negative=4"], r"no such field; did you mean num_negatives\?"),
        (["num_negatives"], r"--grid num_negatives: give FIELD=VALUE"),
        (["num_negatives=four"], r"^--grid num_negatives=four: 'four' is no int"),
        (["num_negatives=0"], r"^--grid num_negatives=0: "),
        (["epochs=1,1"], r"gives the run epochs-1 twice"),
        (["epochs=1", "epochs=2"], r"--grid names epochs twice"),
        (["seed=1,2"], r"--seeds N"),
        (["precision=fp8"], r"^--grid precision=fp8: "),
        (["num_negatives=999"], r"^--grid num_negatives=999: simo: .* the batch holds 256 images: lower"),
        (["epochs=5", "num_negatives=999"], r"^--grid num_negatives=999: simo: "),
        (["num_negatives=999", "batch_size=1024", "precision=fp8"], r"^--grid precision=fp8: "),
        (["num_negatives=0", "epochs=0"], r"^--grid num_negatives=0, --grid epochs=0: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(grid: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        of_recipe(*grid)
    assert "\n" not in str(raised.value)


def test_a_name_that_two_fields_end_in_is_refused() -> None:
    both = r"views\.0\.spec\.jitter\.hue or views\.1\.spec\.jitter\.hue"
    with pytest.raises(UserError, match=f"hue may mean {both}: give more of it"):
        grid_study("byol-asymmetric-imagenet", find_recipe("byol-asymmetric-imagenet"), ["hue=0.2"])


def test_a_component_can_be_of_another_kind() -> None:
    runs = of_recipe("optimizer=sgd,lars", "optimizer.base_lr=0.3").runs
    assert [run.name for run in runs] == ["optimizer-sgd-base-lr-0.3", "optimizer-lars-base-lr-0.3"]
    sgd, lars = (run.config.experiment.optimizer for run in runs)
    assert (sgd.kind, lars.kind, sgd.base_lr, lars.base_lr) == ("sgd", "lars", 0.3, 0.3)
    settings = ["optimizer.trust_coefficient=0.02", "optimizer=lars"]
    (run,) = applied(of_recipe(), settings, "").runs
    assert run.config.experiment.optimizer == LARS.Config(base_lr=0.03, trust_coefficient=0.02)
    with pytest.raises(UserError, match="--grid optimizer=adagrad: --optimizer takes sgd, lars, adam, not "):
        of_recipe("optimizer=adagrad")
    with pytest.raises(UserError, match=r"^--set optimizer\.trust_coefficient=0\.02: .*trust_coefficient"):
        applied(of_recipe(), settings[:1], "")


def test_size_is_that_of_all_views_as_on_the_command_line_of_a_training() -> None:
    recipe = find_recipe("byol-asymmetric-imagenet")
    study = grid_study(recipe.recipe, recipe, ["size=24,40"])
    sizes = [[group.spec.size for group in run.config.experiment.views] for run in study.runs]
    assert sizes == [[24, 24], [40, 40]]
    assert [run.name for run in study.runs] == ["size-24", "size-40"]


def test_another_method_comes_with_its_own_defaults_and_views() -> None:
    byol, msbreg = (run.config.experiment for run in of_recipe("method=byol,msbreg").runs)
    assert byol.method == BYOL.Config()
    assert msbreg.method == MSBReg.Config()
    assert [group.num_views for group in msbreg.views] == [4]
