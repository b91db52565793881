"""What torchrun's and SLURM's environments say of a process's place."""

import os
import socket

import pytest

from fastssl.distributed.dist_env import DistEnv, dist_env, first_host
from fastssl.distributed.processes import own_cores

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
}


def test_alone_without_any_variables() -> None:
    assert dist_env({}) == (DistEnv(), {})


def test_torchrun() -> None:
    environment = {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "h",
        "MASTER_PORT": "29500",
    }
    place = DistEnv(rank=3, world_size=4, local_rank=1, local_world_size=2)
    assert dist_env(environment) == (place, {})
    assert dist_env(SLURM | environment) == (place, {})  # torchrun inside a job


def test_slurm() -> None:
    place, more = dist_env(SLURM)
    assert place == DistEnv(rank=5, world_size=8, local_rank=1, local_world_size=4)
    assert (more["RANK"], more["WORLD_SIZE"], more["MASTER_ADDR"]) == ("5", "8", "gpu03")
    assert 20000 <= int(more["MASTER_PORT"]) < 40000
    other, more_of_other = dist_env(SLURM | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    assert other.is_main
    assert more_of_other["MASTER_PORT"] == more["MASTER_PORT"]
    assert dist_env(SLURM | {"SLURM_STEP_ID": "1"})[1]["MASTER_PORT"] != more["MASTER_PORT"]


def test_slurm_variables_of_an_address_are_kept() -> None:
    _, more = dist_env(SLURM | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "12345"})
    assert (more["MASTER_ADDR"], more["MASTER_PORT"]) == ("10.0.0.1", "12345")


def test_a_batch_script_and_a_step_of_one_task_are_one_process() -> None:
    batch = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}
    assert dist_env(batch) == (DistEnv(), {})
    assert dist_env(SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == (DistEnv(), {})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[03-05,9],login1", "gpu03"),
        ("gpu[7,9]", "gpu7"),
        ("rack[1-2]-node[01-10].cluster,x", "rack1-node01.cluster"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("cores_of_each", "mine"),
    [
        ([{0, 1, 2, 3}], 4),
        ([{0, 1, 2, 3}, {0, 1, 2, 3}], 2),  # torchrun
        ([{0, 1}, {2, 3}], 2),  # SLURM deals them out
        ([{0, 1, 2}, {2, 3}], 2),  # two and a half
        ([{0}, {0}, {0}], 1),
    ],
)
def test_cores_are_shared_by_those_who_may_run_there(
    cores_of_each: list[set[int]], mine: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other processes are played: their lists come from ``all_gather_objects``."""
    host = socket.gethostname()
    everyone = [(host, cores) for cores in cores_of_each] + [("elsewhere", {0, 1, 2, 3})]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores_of_each[0])
    monkeypatch.setattr("fastssl.distributed.processes.all_gather_objects", lambda _: everyone)
    assert own_cores() == mine
