from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from fastssl.run import clock as clock_module
from fastssl.run.clock import Clock, rates


class Time:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Time:
    passed = Time()
    monkeypatch.setattr(clock_module, "time", SimpleNamespace(perf_counter=lambda: passed.now))
    return passed


def wait_for(clock: Clock, seconds: Time, wait: float) -> None:
    def batches() -> Iterator[str]:
        seconds.passes(wait)
        yield "batch"

    assert next(clock.waiting_for(batches())) == "batch"


def run_step(clock: Clock, seconds: Time, *, wait: float, work: float) -> None:
    wait_for(clock, seconds, wait)
    seconds.passes(work)
    clock.step(8)


def warm(clock: Clock, seconds: Time) -> None:
    for _ in range(Clock.WARM_UP_STEPS):
        run_step(clock, seconds, wait=50, work=50)


def test_steps_and_waits_add_up_after_the_first_steps(seconds: Time) -> None:
    clock = Clock()
    warm(clock, seconds)
    assert (clock.images, clock.train_seconds, clock.wait_seconds) == (0, 0, 0)
    run_step(clock, seconds, wait=0.25, work=0.75)
    wait_for(clock, seconds, 0.25)  # a step may wait several times
    run_step(clock, seconds, wait=0.5, work=1.5)
    assert clock.images == 16
    assert clock.train_seconds == pytest.approx(3.25)  # waiting is a part of it
    assert clock.wait_seconds == pytest.approx(1.0)


def test_pauses_are_not_training(seconds: Time) -> None:
    clock = Clock()
    warm(clock, seconds)
    run_step(clock, seconds, wait=0, work=1)
    with clock.pause("pictures"):
        seconds.passes(100)
    run_step(clock, seconds, wait=0, work=1)
    assert clock.train_seconds == pytest.approx(2.0)
    assert clock.images == 16


def test_restarting_forgets_the_time_since_the_last_step(seconds: Time) -> None:
    clock = Clock()
    warm(clock, seconds)
    wait_for(clock, seconds, 7)
    clock.restart()
    run_step(clock, seconds, wait=0.5, work=0.5)
    assert clock.train_seconds == pytest.approx(1.0)
    assert clock.wait_seconds == pytest.approx(0.5)


def test_a_resumed_clock_goes_on_and_warms_up_again(seconds: Time) -> None:
    clock = Clock()
    warm(clock, seconds)
    run_step(clock, seconds, wait=0.5, work=1.5)
    again = Clock()
    again.load_state_dict(clock.state_dict())
    warm(again, seconds)
    assert (again.images, again.train_seconds, again.wait_seconds) == (8, 2.0, 0.5)
    run_step(again, seconds, wait=0, work=1)
    assert (again.images, again.train_seconds, again.wait_seconds) == (16, 3.0, 0.5)


def test_a_lap_counts_from_the_one_before(seconds: Time) -> None:
    clock = Clock()
    warm(clock, seconds)
    run_step(clock, seconds, wait=1, work=3)
    assert clock.lap() == (2.0, 0.25)
    assert clock.lap() == (0.0, 0.0)
    run_step(clock, seconds, wait=0, work=2)
    again = Clock()
    again.load_state_dict(clock.state_dict())
    assert clock.lap() == (4.0, 0.0)
    assert again.lap() == (0.0, 0.0)  # the steps before it was resumed are not its own


def test_the_seconds_of_each_kind_of_work_are_told_apart(seconds: Time) -> None:
    clock = Clock()
    run_step(clock, seconds, wait=0.5, work=2)  # the first steps are work like any other here
    with clock.pause("evaluation"):
        seconds.passes(7)
    with clock.pause("checkpoint"):
        seconds.passes(3)
    with clock.pause("pictures"):
        seconds.passes(100)
    run_step(clock, seconds, wait=0.25, work=1)
    kinds = ("step_seconds", "data_seconds", "evaluation_seconds", "checkpoint_seconds")
    assert clock.spent() == pytest.approx(dict(zip(kinds, (3, 0.75, 7, 3), strict=True)))
    assert clock.spent() == dict.fromkeys(kinds, 0.0)
    again = Clock()
    again.load_state_dict(clock.state_dict())
    assert (again.seconds["evaluation"], again.seconds["checkpoint"]) == (7, 3)
    assert again.spent() == dict.fromkeys(kinds, 0.0)


class Device:
    """A GPU that comes to the marks of its stream later than the host makes them."""

    def __init__(self) -> None:
        self.marks = 0
        self.reached = 0
        self.lags = (1.0, 0.25)  # before a begin: waiting for data; before an end: work

    def event(self, enable_timing: bool) -> "Mark":
        return Mark(self)


class Mark:
    def __init__(self, device: Device) -> None:
        self.device, self.place = device, -1

    def record(self) -> None:
        self.place, self.device.marks = self.device.marks, self.device.marks + 1

    def query(self) -> bool:
        return self.place < self.device.reached

    def elapsed_time(self, other: "Mark") -> float:
        assert self.query()
        assert other.query()
        return 1e3 * sum(self.device.lags[place % 2] for place in range(self.place + 1, other.place + 1))


def test_a_gpu_s_steps_are_timed_by_events_that_nobody_waits_for(
    seconds: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    clock = Clock(torch.device("cuda"))
    for _ in range(3):
        wait_for(clock, seconds, 0.5)  # two micro-batches a step
        run_step(clock, seconds, wait=0.5, work=100)
    assert device.marks == 12
    assert clock.spent()["step_seconds"] == 0  # the device has come to nothing yet
    device.reached = 3
    assert clock.spent()["step_seconds"] == pytest.approx(0.25)  # one part, and half of the next
    device.reached = 12
    taken = clock.spent()
    assert taken["step_seconds"] == pytest.approx(5 * 0.25)
    assert taken["data_seconds"] == 0  # the host's, told before


def test_rates() -> None:
    assert rates(300, 2.0, 0.5) == (150.0, 0.25)
    assert rates(0, 0.0, 0.0) == (0.0, 0.0)
