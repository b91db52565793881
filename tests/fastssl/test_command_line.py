import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastssl.command_line import option_names, parse
from fastssl.config import Config
from fastssl.config_values import to_dict
from fastssl.methods import BYOL
from fastssl.models import Timm
from fastssl.optim import LARS, SGD
from fastssl.recipes import RECIPES
from pipelines.command.errors import UserError


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The options that the fields of a dataclass must have, and their values."""
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        name = f"{path}{field.name}"
        if dataclasses.is_dataclass(inner):
            yield from leaves(inner, f"{name}.")
        elif isinstance(inner, tuple) and inner and dataclasses.is_dataclass(inner[0]):
            for i, part in enumerate(inner):
                yield from leaves(part, f"{name}.{i}.")
        else:
            yield "--" + name.replace("_", "-"), inner


def all_leaves(config: Config) -> dict[str, Any]:
    return {**dict(leaves(config.experiment)), **dict(leaves(config.machine))}


# One recipe for each set of options: the others differ in defaults alone. One that takes its rate in steps.
SHAPES = ["moco-v1-imagenet", *{tuple(option_names(RECIPES[name]())): name for name in RECIPES}.values()]

# Values that fit beside every recipe's other values; what is not listed is nudged by its type.
SPECIAL: dict[str, list[str]] = {
    "--accumulation-steps": ["2"],
    "--batch-size": ["48"],
    "--backbone.size": ["64"],  # AMDIM's, whose last block has 8 times as many channels
    "--backbone.feature-dim": ["1024"],
    "--precision": ["fp32"],
    "--class-share": ["0.7"],
    "--taxonomy": ["depth-2"],
    "--batch-norm-group": ["8"],
    "--order": ["blocks"],
    "--logger": ["wandb"],
    "--device": ["cpu"],
    "--pipeline": ["resident"],
    "--cpu-output": ["crops"],
    "--max-bad-images": ["77"],
    "--center-fraction": ["0.9"],
    "--method.projector.out-dim": ["77"],
    "--method.predictor.out-dim": ["77"],
    "--method.enqueue": ["all"],
    "--method.loss.eqco-alpha": ["300"],
    "--method.loss.num-negatives": ["15"],
    "--optimizer-implementation": ["foreach"],
    "--optimizer.base-lr": ["0.7"],
    "--optimizer.momentum": ["0.8"],
    "--optimizer.schedule": ["steps"],
    "--optimizer.drops": ["0.3", "0.9"],
    "--optimizer.end-share": ["0"],  # the end of schedule linear alone
    "--data": ["elsewhere"],
    "--init": ["runs/other"],
    "--monitor-data": ["images"],
    "--out": ["there"],
}
# one value fits today; the numbers of views only change together
ONE_CHOICE = ("--method.kind", "--views.0.num-views", "--views.1.num-views", "--method.num-views")
CHOICES: dict[str, tuple[Any, Any]] = {
    "crop": ("random_resized", "center"),
    "depth": (50, 101),
    "stem": ("imagenet", "cifar"),
    "color-space": ("rgb", "lab"),
    "norm": ("batch", "layer"),
    "out-norm": ("batch", "layer"),
    "predictor-on": ("student", "both"),
    "output-size": (64, 32),
    "centroid": ("leave_one_out", "centroids"),
}


def another_value(option: str, value: Any) -> list[str]:
    """Words that give an option another value than ``value``."""
    if option in SPECIAL:
        return SPECIAL[option]
    last = option.rpartition(".")[2].removeprefix("--")
    if last in CHOICES:
        return [str(next(choice for choice in CHOICES[last] if choice != value))]
    if isinstance(value, tuple):
        return [f"{number * 0.9:.3f}" for number in value]
    if isinstance(value, int):
        return [str(value + 1)]
    return [f"{value / 2 + 0.01:.4f}"]  # stays within [0, 1] where that matters


@pytest.mark.parametrize("name", SHAPES)
def test_every_field_has_an_option_that_overrides_it(name: str) -> None:
    base = all_leaves(RECIPES[name]())
    assert len(base) > 50
    words, expected = [name], dict(base)
    for option, value in base.items():
        if isinstance(value, bool):
            without = re.sub(r"^(--(?:.*\.)?)([^.]+)$", r"\1no-\2", option)  # --a.b to --a.no-b
            words.append(without if value else option)
            expected[option] = not value
        elif option not in ONE_CHOICE and not option.endswith(".crop.kind"):
            given = another_value(option, value)
            words += [option, *given]
            kind = float if isinstance(value, tuple) else int if value is None else type(value)
            new = tuple(kind(word) for word in given)
            expected[option] = new if isinstance(value, tuple) else new[0]
            assert expected[option] != value or given in (["steps"], ["0"]), option
    assert all_leaves(parse(words)) == expected


def test_the_number_of_views_is_given_to_views_and_method() -> None:
    words = ["msbreg-imagenet100", "--method.num-views", "4", "--views.0.num-views", "4"]
    assert parse(words).experiment.method.num_views == 4


def test_an_optimizer_has_the_options_of_its_own_class() -> None:
    sgd = parse(["quickstart", "--optimizer.nesterov"]).experiment.optimizer
    assert isinstance(sgd, SGD.Config)
    assert sgd.nesterov
    lars = parse(["byol-imagenet", "--optimizer.trust-coefficient", "0.02"]).experiment.optimizer
    assert isinstance(lars, LARS.Config)
    assert lars.trust_coefficient == 0.02


def test_another_kind_of_component_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--optimizer", "lars", "--backbone=timm", "--backbone.name", "test_vit", "--epochs", "3"]
    experiment = parse(["quickstart", *words, "--optimizer.trust-coefficient", "0.02"]).experiment
    base = RECIPES["quickstart"]().experiment
    assert experiment.optimizer == LARS.Config(
        base_lr=base.optimizer.base_lr, weight_decay=5e-4, warmup_epochs=0.4, trust_coefficient=0.02
    )
    assert experiment.backbone == Timm.Config(name="test_vit")
    assert dataclasses.replace(experiment, optimizer=base.optimizer, backbone=base.backbone) == (
        dataclasses.replace(base, epochs=3)
    )
    text = printed(["quickstart", "--backbone", "timm", "--help"], capsys)
    assert "--backbone.drop-path" in text
    assert "--optimizer takes sgd, lars, adam." in " ".join(text.split())


def test_another_method_has_its_own_defaults_and_views() -> None:
    base = RECIPES["quickstart"]().experiment
    byol = parse(["quickstart", "--method", "byol"]).experiment
    assert byol == dataclasses.replace(base, method=BYOL.Config())
    same = parse(["quickstart", "--method", "moco"]).experiment
    assert same == base
    msbreg = parse(["quickstart", "--method", "msbreg"]).experiment
    assert [group.num_views for group in msbreg.views] == [4]
    (group,) = parse(["barlow-twins-imagenet", "--method=supervised"]).experiment.views
    assert group.num_views == 1
    groups = parse(
        ["barlow-twins-imagenet", "--method", "msbreg", "--method.num-views", "4"]
    ).experiment.views
    assert [group.num_views for group in groups] == [2, 2]


def test_further_options_may_make_another_method_fit() -> None:
    """SiMo has 256 negatives, and the batch 64 images."""
    method: Any = parse(["quickstart", "--method", "simo", "--num-negatives", "32"]).experiment.method
    assert method.loss.num_negatives == 32


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        (["--lr", "0.3"], "optimizer.base_lr", 0.3),
        (["--base-lr=0.3"], "optimizer.base_lr", 0.3),
        (["--base_lr", "0.3"], "optimizer.base_lr", 0.3),
        (["--blur-p", "0.25"], "views.0.spec.blur.p", 0.25),
        (["--num-negatives", "17"], "method.loss.num_negatives", 17),
        (["--nesterov"], "optimizer.nesterov", True),
        (["--no-symmetric-loss"], "method.symmetric_loss", False),
        (["--backbone", "resnet18"], "backbone.depth", 18),
    ],
)
def test_the_end_of_a_name_will_do(words: list[str], path: str, value: object) -> None:
    found: Any = parse(["quickstart", *words]).experiment
    for part in path.split("."):
        found = found[int(part)] if part.isdigit() else getattr(found, part)
    assert found == value


@pytest.mark.parametrize("name", ["my-images", "byol-asymmetric-imagenet", "msbreg-imagenet100"])
@pytest.mark.parametrize("words", [["--size", "96"], ["--size=96"]])
def test_size_is_that_of_all_views(name: str, words: list[str]) -> None:
    before = RECIPES[name]().experiment
    after = parse([name, *words, "--seed", "3"]).experiment
    views = tuple(
        dataclasses.replace(group, spec=dataclasses.replace(group.spec, size=96)) for group in before.views
    )
    assert after == dataclasses.replace(before, views=views, seed=3)


def test_data_given_twice_is_both() -> None:
    assert parse(["--data", "a", "--epochs", "2", "--data=b"]).machine.data == "a + b"


@pytest.mark.parametrize(
    ("recipe", "views", "some", "not_these"),
    [
        ("quickstart", 1, {"supervised"}, {"moco", "msbreg"}),  # MSBReg needs two at least
        ("quickstart", 3, {"msbreg"}, {"moco", "supervised"}),
        ("supervised-cifar10", 2, {"moco", "byol", "msbreg"}, {"supervised"}),
    ],
)
def test_a_wrong_number_of_views_names_the_methods_that_take_it(
    recipe: str, views: int, some: set[str], not_these: set[str]
) -> None:
    with pytest.raises(UserError, match=r", or take --method [\w, ]+$") as caught:
        parse([recipe, "--num-views", f"{views}"])
    named = set(str(caught.value).rpartition("--method ")[2].split(", "))
    assert some <= named
    assert not named & not_these


def test_a_number_of_views_that_no_method_takes() -> None:
    with pytest.raises(UserError, match=r"needs num_views 2 in all, not 0: change --views.0.num-views$"):
        dataclasses.replace(RECIPES["quickstart"]().experiment, views=())


MISTAKES = [
    (
        "moco",
        r"unknown recipe moco \(did you mean moco-v2-plus-cifar10-cpu or moco-v2-plus-ci.* --list shows",
    ),
    ("simclr", r"unknown recipe simclr \(did you mean simclr-imagenet"),
    ("byol-imagnet", "did you mean byol-imagenet"),
    ("runs/nothing", "there is no run folder runs/nothing"),
    ("--run runs/x", "unknown option --run: give it first and without --run: python"),
    ("tests", "tests is a folder and no run: images are given with --data"),
    ("--epochs 3 byol-cifar10", "byol-cifar10: a recipe comes first"),
    ("--optimizer adagrad", "--optimizer takes sgd, lars, adam, not adagrad"),
    ("--backbone", "--backbone needs a kind: resnet, resnet9, denseresnet, amdimencoder, timm"),
    ("--backbone timm --backbone.width 2", r"unknown option --backbone\.width"),
    ("--optimizer.trust-coefficient 0.02", r"unknown option --optimizer\.trust-coefficient"),
    ("--method simo", "num_negatives 256 but the batch holds 64 images"),
    ("--hidden-dim 3", r"--hidden-dim may mean --method\.projector\.hidden-dim or --m"),
    ("barlow-twins-imagenet --blur-p 1", r"--blur-p may mean --views\.0\.spec\.blur\.p or --views\.1\.spec"),
    ("moco-v1-imagenet --optimizer.schedule cosine", "drops belong to schedule steps, not to cosine"),
    (
        "msbreg-imagenet100 --method.num-views 4",
        r"msbreg needs num_views 4 in all, not 8: change --views\.0\.num",
    ),
    ("byol-asymmetric-imagenet --size", "size"),
    ("byol-asymmetric-imagenet --size large", "size"),
    ("byol-asymmetric-imagenet --size=", "size"),
    ("--qqqqqq", "--qqqqqq.*--help"),
    ("--epoch 3", r"did you mean --epochs\?"),
    ("--bath-size 3", r"did you mean --batch-size\?"),
    ("--optimizer.baselr=3", r"did you mean --optimizer\.base-lr\?"),
    ("--optimizer.lr 3", r"did you mean --optimizer\.base-lr\?"),
    ("--seed 1 --view.0.num-views 3", r"did you mean --views\.0\.num-views\?"),
    ("--method.loss.num_negativs 3", r"did you mean --method\.loss\.num-negatives\?"),
    ("--epochs many", "--epochs.*python -m fastssl.train quickstart --help"),
    ("--batch-size 3.5", "--batch-size.*python -m fastssl.train quickstart --help"),
    ("--precision fp8", "--precision.*python -m fastssl.train quickstart --help"),
    ("--epochs", "--epochs.*python -m fastssl.train quickstart --help"),
    (
        "--views.0.spec.crop.scale 1",
        r"--views\.0\.spec\.crop\.scale.*python -m fastssl.train quickstart --help",
    ),
]


@pytest.mark.parametrize(("words", "reason"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_was_meant(words: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"^[^\n]*{reason}[^\n]*$"):
        parse(words.split())


def test_a_run_folder_is_resumed_and_its_config_copied(tmp_path: Path) -> None:
    config = parse(["byol-cifar10", "--seed", "9", "--views.0.spec.jitter.hue", "0.3", "--out", "elsewhere"])
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": to_dict(config), "started": "today"}))
    resumed = parse([str(tmp_path), "--workers", "2"])
    assert resumed.out == tmp_path
    assert resumed.experiment == config.experiment
    copied = parse([str(path), "--seed", "10"])
    machine = dataclasses.replace(config.machine, out="")
    experiment = dataclasses.replace(config.experiment, seed=10)
    assert copied == dataclasses.replace(config, machine=machine, experiment=experiment)


def printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        parse(argv)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", SHAPES)
def test_help_shows_an_option_for_each_field(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = set(re.findall(r"--[\w.-]+", printed([name, "--help"], capsys)))
    fields = set(all_leaves(RECIPES[name]()))
    assert fields <= shown
    assert set(option_names(RECIPES[name]())) == fields
    assert not any("experiment" in option or "machine" in option for option in shown)


def test_help_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(["--help"], capsys)
    assert max(map(len, text.splitlines())) <= 120
    words = " ".join(text.replace("│", " ").split())
    assert "quickstart" in words
    assert "--list shows the recipes" in words
    assert "Length of the run" in words
    assert "(default: scenes)" in words


def test_without_a_recipe_it_is_quickstart() -> None:
    assert parse([]) == RECIPES["quickstart"]()
    assert parse(["--seed", "5"]).recipe == "quickstart"


def test_a_recipe_keeps_what_is_not_overridden() -> None:
    config = parse(["byol-imagenet", "--optimizer.base-lr=0.2", "--data", "here", "--epochs", "285.7"])
    base = RECIPES["byol-imagenet"]()
    assert config.paper == base.paper
    assert config.experiment.optimizer == dataclasses.replace(base.experiment.optimizer, base_lr=0.2)
    assert config.machine == dataclasses.replace(base.machine, data="here")
    assert config.experiment.epochs == 285.7


@pytest.mark.parametrize("name", ["absent.json", "folder.json"])
def test_a_config_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(UserError, match=re.escape(str(tmp_path / name))):
        parse([str(tmp_path / name)])


@pytest.mark.parametrize("words", [["--list"], ["byol-imagenet", "--list"]])
def test_the_list_is_plain_lines_in_a_pipe(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(words, capsys).splitlines()
    assert lines[0].split() == ["recipe", "method", "backbone", "data", "epochs", "%", "here", "place"]
    shown = {line.split()[0]: line for line in lines[1:] if line}
    assert set(RECIPES) <= set(shown)
    place = lines[0].index("place")
    for name, method, backbone, data, epochs, number, row in [
        ("moco-v2-plus-imagenet", "moco", "resnet50", "imagenet", "200", "72.0", "table 2, MoCo v2+, SGD"),
        ("supervised-up-3-imagenet", "supervised", "resnet50", "imagenet", "100", "0.7", ""),
        ("msbreg-imagenet100", "msbreg", "resnet18", "imagenet100", "300", "81.6", "table 5, K 8"),
        ("quickstart", "moco", "resnet9 0.25x", "scenes", "7", "39.3", ""),
    ]:
        words = [name, method, *backbone.split(), data, epochs, *number.split()]
        assert shown[name][:place].split() == words
        assert shown[name][place:].startswith(row)
    papers = [line for line in lines if "(2022): linear top-1" in line]
    assert len(papers) == 1
    assert all(line == line.rstrip() and "\x1b" not in line for line in lines)


@pytest.mark.parametrize("columns", [72, 80, 100, 120, 200])
def test_the_list_fits_the_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = printed(["--list"], capsys).splitlines()
    assert max(map(len, lines)) <= columns
    starts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert set(RECIPES) <= set(starts)
    place = next(i for i, line in enumerate(lines) if line.split()[:1] == ["byol-stl10"])
    row = " ".join(" ".join(lines[place : place + 4]).split())
    assert row.startswith("byol-stl10 byol resnet18 stl10 320 89.5 table 4, BYOL, BN ")


def test_steps_become_a_cosine_without_drops() -> None:
    words = ["moco-v1-imagenet", "--optimizer.schedule", "cosine"]
    assert parse([*words, "--optimizer.drops"]).experiment.optimizer.drops == ()


def test_a_command_starts_without_what_only_a_run_needs() -> None:
    heavy = {"torchvision", "timm", "torch._dynamo", "matplotlib", "nvidia.dali", "triton"}
    program = (
        f"import sys, fastssl.train, launchers.sweep, launchers.status; print({heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
