import pytest

from fastssl.recipes import find_recipe
from launchers.searching.ready import READY
from launchers.searching.space import changes, read_space
from launchers.sweeps.fields import Change, assign, parse_value
from pipelines.command.errors import UserError

QUICKSTART = find_recipe("quickstart")


def test_a_space_is_read_and_set() -> None:
    space = read_space(
        [
            "base_lr=log:1e-4:1e-2",  # the end of a name will do
            "method.loss.temperature=0.07,0.1,0.2",
            "batch_size=int:16:128",
            "views.0.spec.crop.scale=[[0.2, 1.0], [0.5, 1.0]]",
        ],
        QUICKSTART,
    )
    assert [each.path for each in space] == [
        "optimizer.base_lr",
        "method.loss.temperature",
        "batch_size",
        "views.0.spec.crop.scale",
    ]
    values = {
        "optimizer.base_lr": space[0].value(1e-3),
        "method.loss.temperature": space[1].value(0.1),
        "batch_size": space[2].value(32.0),
        "views.0.spec.crop.scale": space[3].value("[0.5, 1.0]"),
    }
    experiment = assign(QUICKSTART, changes(space, values)).experiment
    assert (experiment.optimizer.base_lr, experiment.batch_size) == (1e-3, 32)
    assert getattr(experiment.views[0].spec.crop, "scale", None) == (0.5, 1.0)
    assert [each.share(values[each.path]) for each in space] == pytest.approx([0.5, 0.5, 1 / 7, 1.0])
    assert all(each.value(each.kept(values[each.path])) == values[each.path] for each in space)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("optimizer.base_lrr=log:1e-4:1e-2", "quickstart has no such field; did you mean .*base_lr"),
        ("base_lr=log:1e-2:1e-4", "the lower bound comes first"),
        ("base_lr=lin:0.1:0.1", "the lower bound comes first"),
        ("base_lr=log:0:1e-2", "0 has no logarithm"),
        ("base_lr=log:-1:1e-2", "-1 has no logarithm"),
        ("base_lr=log:1e-2", "give two numbers, as in log:1e-4:1e-2"),
        ("base_lr=log:a:b", "give two numbers"),
        ("base_lr=lin:1:inf", "the bounds must be finite"),
        ("batch_size=int:16:64.5", "the bounds must be whole numbers"),
        ("batch_size=lin:16:64", "16.0 is no int"),
        ("optimizer.momentum=lin:0.5:1.5", "1.5"),
        ("temperature=0.1,-1", "temperature=-1.*must be"),
        ("temperature=0.1", "give two values or more"),
        ("temperature=0.1,0.1", "each once"),
        ("workers=int:1:4", "no say in the result"),
        ("epochs=int:1:4", "all trials are of one length"),
        ("base_lr", "give FIELD=VALUE"),
    ],
)
def test_a_bad_dimension_is_one_line(setting: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        read_space([setting], QUICKSTART)
    assert len(str(caught.value).splitlines()) == 1


def test_a_field_is_named_once_and_a_space_is_not_empty() -> None:
    with pytest.raises(UserError, match=r"names optimizer\.base_lr twice"):
        read_space(["base_lr=log:1e-4:1e-2", "optimizer.base_lr=0.1,0.2"], QUICKSTART)
    with pytest.raises(UserError, match="give --space FIELD=VALUES"):
        read_space([], QUICKSTART)


def test_ready_spaces_fit_a_recipe() -> None:
    for ready in READY.values():
        config = QUICKSTART
        for setting in ready.settings:
            path, _, text = setting.partition("=")
            config = assign(config, [Change(path, parse_value(text), setting)])
        assert len(read_space(ready.space, config)) == len(ready.space)
        assert 0 < ready.grace < config.experiment.epochs
