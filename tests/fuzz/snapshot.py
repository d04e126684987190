"""What is in a folder: kinds, permissions, contents and links, to be compared with what is there later."""

import os
import stat
from hashlib import sha256
from pathlib import Path

Snapshot = dict[str, tuple[object, ...]]
"""Path relative to the folder -> kind, mode, and sha256 of the content or target of the link."""
WHOLE_BYTES = 2**26
"""Larger files, which are sparse ones of ours, are known by size and time."""


def snapshot(root: Path) -> Snapshot:
    """All that is below a folder; links aren't followed."""
    found: Snapshot = {}
    todo = [str(root)]
    while todo:
        folder = todo.pop()
        for entry in os.scandir(folder):
            info = entry.stat(follow_symlinks=False)
            found[os.path.relpath(entry.path, root)] = _entry(entry.path, info)
            if stat.S_ISDIR(info.st_mode):
                todo.append(entry.path)
    return found


def _entry(path: str, info: os.stat_result) -> tuple[object, ...]:
    kind = stat.S_IFMT(info.st_mode)
    if stat.S_ISDIR(info.st_mode):
        return (kind, stat.S_IMODE(info.st_mode))
    if stat.S_ISLNK(info.st_mode):
        return (kind, os.readlink(path))
    if stat.S_ISREG(info.st_mode) and info.st_size <= WHOLE_BYTES:
        with open(path, "rb") as file:
            return (kind, stat.S_IMODE(info.st_mode), sha256(file.read()).hexdigest())
    return (kind, stat.S_IMODE(info.st_mode), info.st_size, info.st_mtime_ns)


def changes(before: Snapshot, after: Snapshot) -> dict[str, str]:
    """Path -> `gone`, `new` or `changed`."""
    said = {path: "gone" for path in before if path not in after}
    said |= {path: "new" for path in after if path not in before}
    return said | {path: "changed" for path in before if path in after and before[path] != after[path]}
