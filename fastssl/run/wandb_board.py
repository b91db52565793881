"""A run on Weights & Biases: its config, its metrics beside their baselines, its pictures."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastssl.config import Config
from fastssl.config_values import to_dict
from fastssl.fields import leaves
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_atomically

_INIT_SECONDS, _FINISH_SECONDS = 30.0, 60.0  # that a server which does not answer may cost


def check_wandb() -> None:
    """Check that the library is there.

    Raises:
        UserError: it is not.
    """
    try:
        import wandb
    except ImportError:
        found = False
    else:
        found = hasattr(wandb, "init")  # a folder wandb/ of runs can be imported, too
    if not found:
        raise UserError("--logger wandb needs the library: pip install -e '.[wandb]'")


class WandbBoard:
    """The W&B run of a run folder: its id is kept in ``wandb/id``, so that a resumed run goes on in it.

    The first failure of W&B is a line, after which nothing more is sent: it never stops a training. Nothing
    is asked: without a login the line says so. The library's variables hold, WANDB_MODE=offline,
    WANDB_PROJECT, WANDB_ENTITY and WANDB_RUN_GROUP for instance.
    """

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        self._say = say
        self._run: Any = None
        with self._told():
            self._run = _opened(config)
            say(f"W&B: {self._run.url or f'offline in {self._run.settings.sync_dir}, for `wandb sync`'}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of one step; a step that the run has already, of before it was resumed, stands."""
        with self._told():
            if self._run is not None and step >= self._run.step:
                self._run.log(dict(values), step=step)

    def picture(self, path: Path) -> None:
        """Show a picture of the run folder under its name without the extension."""
        with self._told():
            if self._run is not None:
                import wandb

                self._run.log({path.stem: wandb.Image(str(path))}, commit=False)

    def close(self, *, finished: bool) -> None:
        """Send the rest, and whether the training is ``finished``; after a minute it stays on the disk."""
        with self._told():
            if self._run is not None:
                self._run.finish(exit_code=0 if finished else 1)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make a line of any failure."""
        try:
            yield
        except Exception as error:  # the library's own, the network's, the disk's
            self._run = None
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            self._say(f"warning: W&B failed, and the run goes on without it: {reason}")


def _opened(config: Config) -> Any:
    """The W&B run of a run folder: a new one, or its own."""
    import wandb

    path = config.out / "wandb" / "id"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, secrets.token_hex(8).encode())
    settings = wandb.Settings(
        silent=True,
        console="off",  # the terminal is the run's own
        init_timeout=_INIT_SECONDS,
        finish_timeout=_FINISH_SECONDS,
    )
    wandb.setup(settings)  # silent before a run is there
    fields = dict(leaves(to_dict(config)["experiment"]))
    return wandb.init(
        id=path.read_text().strip(),
        resume="allow",
        reinit="create_new",  # whatever run this process has of its own
        dir=str(config.out),
        project=wandb.setup().settings.project or "fastssl",
        name=wandb.setup().settings.run_name or config.out.absolute().name,
        config={"recipe": config.recipe, "data": config.machine.data, **fields},
        allow_val_change=True,  # data may have moved
        settings=settings,
    )
