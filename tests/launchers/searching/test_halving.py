import math

from launchers.searching.halving import Standing, best_trial, promoted, rungs


def test_rungs_grow_by_the_reduction_to_the_end() -> None:
    assert rungs(20, 3, 100) == (20, 60, 100)
    assert rungs(1, 2, 8) == (1, 2, 4, 8)
    assert rungs(20, 3, 7) == (7,)  # the run is shorter than the grace
    assert rungs(0, 3, 100) == (100,)
    assert rungs(1, 3, 2.5) == (1, 2.5)


def standing(values: dict[str, list[float]], under_way: int = 0) -> Standing:
    """Each trial's values at rungs 0, 1, ..."""
    by_rung = {trial: dict(enumerate(own)) for trial, own in values.items()}
    reached = {trial: len(own) - 1 for trial, own in values.items()}
    return Standing(values=by_rung, reached=reached, under_way=under_way)


def test_one_of_three_goes_on() -> None:
    two = standing({"a": [0.1], "b": [0.2]})
    assert promoted(two, 3, 3, may_draw=True) is None
    three = standing({"a": [0.1], "b": [0.3], "c": [0.2]})
    assert promoted(three, 3, 3, may_draw=True) == ("b", 1)


def test_a_trial_that_was_paused_goes_on_once_it_is_among_the_best() -> None:
    five = {"a": [0.1], "b": [0.3, 0.4], "c": [0.2], "d": [0.1], "e": [0.05]}
    assert promoted(standing(five), 3, 3, may_draw=True) is None  # b is the best third
    assert promoted(standing({**five, "f": [0.0]}), 3, 3, may_draw=True) == ("c", 1)


def test_the_highest_rung_comes_first() -> None:
    values = {f"t{i}": [i / 10, i / 10] for i in range(3)} | {f"u{i}": [0.9 + i / 100] for i in range(6)}
    assert promoted(standing(values), 3, 3, may_draw=True) == ("t2", 2)


def test_the_last_trials_are_too_few_and_yet_one_is_trained_to_its_end() -> None:
    values = {"a": [0.1], "b": [0.2]}
    assert promoted(standing(values, under_way=1), 3, 3, may_draw=False) is None  # one is still to come
    assert promoted(standing(values), 3, 3, may_draw=False) == ("b", 1)
    assert promoted(standing({"a": [0.1], "b": [0.2, 0.3]}), 3, 3, may_draw=False) == ("b", 2)
    assert promoted(standing({"a": [0.1], "b": [0.2, 0.3, 0.4]}), 3, 3, may_draw=False) is None


def test_the_next_best_takes_the_place_of_one_that_failed() -> None:
    failed = Standing(values={"a": {0: 0.1}, "b": {0: 0.2}}, reached={"a": 0, "b": 1})
    assert promoted(failed, 2, 3, may_draw=False) == ("a", 1)


def test_a_trial_that_diverged_counts_and_never_goes_on() -> None:
    values = {"a": [0.1], "b": [math.nan], "c": [math.nan]}
    assert promoted(standing(values), 2, 3, may_draw=True) == ("a", 1)
    assert promoted(standing({"b": [math.nan]}), 2, 3, may_draw=False) is None


def test_the_best_trial_is_of_the_highest_rung() -> None:
    assert best_trial({"a": {0: 0.9}, "b": {0: 0.5, 1: 0.6}, "c": {0: 0.5, 1: 0.55}}) == "b"
    assert best_trial({"a": {0: math.nan}}) is None
    assert best_trial({}) is None
