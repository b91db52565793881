"""Defaults of a site: which count, and what wins over them."""

from pathlib import Path

import pytest

from launchers import site
from launchers.options import parse
from pipelines.command.errors import UserError

SITE = """
cluster = "slurm"
partition = "gpu"
cpus-per-gpu = 8
gpus_per_node = 4
setup = ["module load cuda", "ulimit -n 4096"]
watch = true
max_parallel = 6
"""


@pytest.fixture
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    monkeypatch.setattr(site, "USUAL", str(path))
    return path


@pytest.mark.usefixtures("defaults")
def test_a_site_s_defaults_count_and_the_command_line_wins() -> None:
    options, cluster = parse(["tiny", "--partition", "low", "--setup", "conda activate"])
    assert cluster.kind == "slurm"
    assert (cluster.config.partition, cluster.config.cpus_per_gpu) == ("low", 8)  # type: ignore[attr-defined]
    assert cluster.config.setup == (  # type: ignore[attr-defined]
        "module load cuda",
        "ulimit -n 4096",
        "conda activate",
    )
    assert (options.watch, cluster.max_parallel, cluster.resources().processes) == (True, 6, 4)


def test_a_list_that_ends_the_file_takes_no_word_of_the_command(defaults: Path) -> None:
    defaults.write_text('cluster = "slurm"\nsetup = ["module load cuda"]')
    options, cluster = parse(["tiny"])
    assert options.study == "tiny"
    assert cluster.config.setup == ("module load cuda",)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("defaults")
def test_options_of_another_cluster_do_not_count() -> None:
    _, cluster = parse(["tiny", "--cluster", "local"])
    assert (cluster.kind, cluster.max_parallel) == ("local", 6)


def test_a_named_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("retries = 5")
    assert parse(["tiny", f"--site={path}"])[0].retries == 5
    for text, message in (
        ("partiton = 'gpu'", r"mine\.toml: unknown option partiton; did you mean partition\?"),
        ("partition = gpu", r"mine\.toml is no TOML file: "),
        ("study = 'tiny'", r"unknown option study"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            parse(["tiny", "--site", str(path)])
    with pytest.raises(UserError, match="--site nowhere: no such file"):
        parse(["tiny", "--site", "nowhere"])
