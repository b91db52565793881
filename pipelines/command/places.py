"""Several places of images as one word: ``A + B`` is what ``--data A --data B`` stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pipelines.command.errors import UserError
from pipelines.command.options import user_path

BETWEEN, SEPARATE = " + ", "?classes=separate"
COLUMNS = re.compile(r"\?((?:image|label)=[^&]+(?:&(?:image|label)=[^&]+)*)$")
"""End of a place of Parquet files that names columns of them."""
_URL = re.compile(r"(?:s3|gs|https?)://")
_SECRET = re.compile(
    r"[a-z0-9]+://[^/]*@|[?&](?:x-amz-|x-goog-|awsaccesskeyid|signature|sig|token|access_token)[^/]*=", re.I
)


def is_url(place: str) -> bool:
    """True if a place is in object storage or on the web."""
    return _URL.match(place) is not None


def refuse_secrets(where: str) -> None:
    """Refuse addresses with a password or a signature: they would stand in config.json, logs and reports.

    Raises:
        UserError: there is one; the message does not repeat it.
    """
    for place in where.split(BETWEEN):
        if _SECRET.search(place):
            raise UserError(
                f"an address ({place.partition(':')[0]}://...) holds a password or a signature, which would "
                "stand in config.json: leave it out, and give credentials as the storage's own tools take "
                "them (environment, ~/.aws, gcloud auth)"
            )


def places(where: str) -> list[str]:
    """The places that are named; one, where a file or folder has the whole for its name."""
    if BETWEEN not in where or user_path(where).exists():
        return [where]
    return where.removesuffix(SEPARATE).split(BETWEEN)


def on_disk(place: str) -> tuple[str, str]:
    """A file or folder, and what of it is named: ``VOC2012`` and ``:trainval``, ``?image=x``, or nothing."""
    columns = COLUMNS.search(place)
    if columns is not None:
        return place[: columns.start()], columns[0]
    path, colon, part = place.rpartition(":")
    if path and not user_path(place).exists() and user_path(path).exists():
        return path, colon + part
    return place, ""


def is_elsewhere(place: str) -> bool:
    """True for what is on no disk: the built-in scenes, and object storage."""
    return place.partition(":")[0] == "scenes" or is_url(place)


def require_place(place: str, option: str) -> None:
    """Check that the file or folder of a place is there. Patterns pass, and what is elsewhere.

    Raises:
        UserError: it is not.
    """
    path = on_disk(place)[0]
    if not is_elsewhere(place) and not set(path) & set("*?{") and not user_path(path).exists():
        raise UserError(f"no such folder or file: {place}; say with {option} where the images are")


def map_places(where: str, change: Callable[[str], str]) -> str:
    """The same places under other names, such as absolute ones."""
    named = places(where)
    end = SEPARATE if len(named) > 1 and where.endswith(SEPARATE) else ""
    return BETWEEN.join(map(change, named)) + end


def join_repeated(words: Sequence[str]) -> list[str]:
    """The words of a command line, the values of a repeated ``--data`` joined to one."""
    rest: list[str] = []
    values: list[str] = []
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name != "--data":
            rest.append(word)
        elif equals or (value := next(waiting, "")):
            values.append(value)
        else:
            return list(words)  # a value is missing, as will be said
    return [*rest, "--data", BETWEEN.join(values)] if len(values) > 1 else list(words)
