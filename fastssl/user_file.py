"""A user's own Python file of recipes and components, such as ``mine.py``: executed once, kept with the run.

Only two files are ever executed: the one that the user names on a command line (``mine.py:my_recipe``), and
its copy in the folder of the config.json that a command is told to open. The JSON holds a bare file name and
a digest: it can point to no other folder, and a file of other contents is refused. Whoever opens somebody
else's run folder that holds such a copy runs that person's code, as with any program.

A file is a module of its own: what else it imports must be installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastssl.component import Component
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_atomically

_SOURCE = "__source__"  # of a module: the bytes that were executed


@dataclass(frozen=True, kw_only=True)
class UserFile:
    """A file of the user's, as it was read. Equal contents are equal, wherever they lie."""

    path: str = field(compare=False)
    """Absolute."""
    digest: str
    """BLAKE2b of its bytes, 32 hexadecimal digits."""

    @property
    def name(self) -> str:
        """Its name without the folder: the copy in a run folder bears it too."""
        return Path(self.path).name


def read_user_file(path: Path) -> UserFile:
    """Execute a file, unless one of the same contents was executed before.

    Raises:
        UserError: there is no such file, or it raises: FILE:LINE and the reason.
    """
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    file = UserFile(path=str(path.absolute()), digest=_digest(source))
    if _module_name(file.digest) not in sys.modules:
        _execute(file, source)
    return file


def from_entry(entry: Any, folder: Path | None, where: str) -> UserFile:
    """The file of ``to_entry``: the copy is executed, unless its contents were before.

    Args:
        entry: ``user_file`` of the JSON.
        folder: folder of the JSON, in which the copy lies; None: nothing more may be executed.
        where: the JSON, for messages.

    Raises:
        UserError: the entry is damaged, or there is no such copy, or its contents are others.
    """
    if not (
        isinstance(entry, dict)
        and entry.keys() == {"name", "digest"}
        and all(isinstance(value, str) for value in entry.values())
        and re.fullmatch(r"[^/\\\0]+\.py", entry["name"])
    ):
        raise UserError(f"{where}: user_file must have the name of a .py file and its digest")
    known = sys.modules.get(_module_name(entry["digest"]))
    if known is not None:
        return UserFile(path=str(known.__file__), digest=entry["digest"])
    if folder is None:
        raise UserError(f"{where} needs {entry['name']}, which this command was not told to execute")
    path = folder / entry["name"]
    try:
        same = _digest(path.read_bytes()) == entry["digest"]
    except OSError:
        raise UserError(f"{where} needs {path}, which is not there: put it back") from None
    if not same:
        raise UserError(f"{path} has changed since {where} was written: put the file of then back")
    return read_user_file(path)


def to_entry(file: UserFile) -> dict[str, str]:
    """Entry of a file in config.json; a copy must lie beside that JSON (``keep_copy``)."""
    return {"name": file.name, "digest": file.digest}


def keep_copy(file: UserFile, folder: Path) -> None:
    """Write a file, as it was executed, into the folder of a config.json that names it.

    Raises:
        UserError: another file lies in its place.
    """
    copy = folder / file.name
    if not copy.exists():
        write_atomically(copy, vars(sys.modules[_module_name(file.digest)])[_SOURCE])
    elif _digest(copy.read_bytes()) != file.digest:
        raise UserError(f"{copy} is not the file that was executed: choose another --out")


def recipe_function(file: UserFile, name: str) -> Callable[[], Any]:
    """A function of a file, which tells a mistake as FILE:LINE and the reason.

    Raises:
        UserError: the file has no such function, or it takes arguments.
    """
    module, path = sys.modules[_module_name(file.digest)], Path(file.path)
    functions = {
        own: value
        for own, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not own.startswith("_")
    }
    if name not in functions:
        known = f"its functions are {', '.join(functions)}" if functions else "it has no function"
        what = f"{path} has no function {name}" if name else f"{path}: name a recipe, as {path}:FUNCTION"
        raise UserError(f"{what}; {known}")
    function = functions[name]
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise UserError(f"{path}:{name} is no recipe: it is called without arguments, {error}") from None
    return lambda: _in_one_line(file.path, function)


def components(file: UserFile, base: type[Component]) -> tuple[type[Component], ...]:
    """The classes of one family with a Config of their own that a file defines."""
    module = sys.modules[_module_name(file.digest)]
    return tuple(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and "Config" in vars(value)
    )


def _digest(source: bytes) -> str:
    return hashlib.blake2b(source, digest_size=16).hexdigest()


def _module_name(digest: str) -> str:
    """A name that no other module bears: equal contents are one module, wherever they lie."""
    return f"_user_file_{digest}"


def _execute(file: UserFile, source: bytes) -> None:
    name = _module_name(file.digest)
    spec = importlib.util.spec_from_file_location(name, file.path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    vars(module)[_SOURCE] = source
    sys.modules[name] = module  # dataclasses look up there what their annotations mean
    try:
        _in_one_line(file.path, lambda: exec(compile(source, file.path, "exec"), vars(module)))
    except BaseException:
        del sys.modules[name]
        raise


def _in_one_line(path: str, function: Callable[[], Any]) -> Any:
    """Call into a user's file; whatever it raises becomes FILE:LINE and the reason."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path
        ]
        reason = " ".join(str(error).split())
        if isinstance(error, SyntaxError) and error.filename == path:
            lines, reason = [error.lineno], error.msg
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(f"{path}{f':{lines[-1]}' if lines else ''}: {kind}{reason}") from None
