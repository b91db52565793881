"""Files and folders that systems and tools leave among a user's data: never data."""

from __future__ import annotations

# In lower case. What begins with a dot is hidden: .ipynb_checkpoints, ._IMG.jpg (macOS), .DS_Store.
_SERVICE = frozenset(
    [
        "@eadir",  # Synology: thumbnails
        "#recycle",
        "#snapshot",
        "$recycle.bin",  # Windows
        "system volume information",
        "thumbs.db",
        "desktop.ini",
        "lost+found",
        "__macosx",
    ]
)


def is_service(name: str) -> bool:
    """True if a file or folder of this name is hidden, or serves a system rather than its user."""
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in _SERVICE


def lies_in_service(path: str) -> bool:
    """True if any part of a path is of a service file or folder."""
    return any(map(is_service, path.split("/")))
