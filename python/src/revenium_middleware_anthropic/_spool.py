"""Writing a spool file: whole or not at all.

A file has the lines of one producer, its hello first, under the name `<producer>-<first number>.jsonl`. It is
written under a name that begins with a dot, flushed, renamed, and its folder flushed; only then its events leave
memory. The agent takes such files in and removes them. Taking them in is not done here.
"""

import os
import stat
from typing import Dict, List, Optional

from ._place import SYSTEM_SPOOL

# Largest file; the agent refuses larger ones. A kibibyte is left for the hello.
HELLO_BYTES_MAX = 1024
FILE_BYTES_MAX = (16 << 20) - HELLO_BYTES_MAX

# What one process may have in files that are still there, and what all may have in a folder that can be listed.
OWN_BYTES_MAX = 256 << 20
OWN_FILES_MAX = 1024
FOLDER_BYTES_MAX = 4 * OWN_BYTES_MAX
FOLDER_FILES_MAX = 10_000


class Writer:
    """Writes the spool files of one process."""

    def __init__(self) -> None:
        self._own: Dict[str, int] = {}

    def write(self, folder: str, producer: str, first: int, lines: List[bytes]) -> None:
        """Writes `lines`, the hello first. Once it returns they are flushed; if it raises, none of them counts."""
        size = sum(map(len, lines))
        name = "%s-%d.jsonl" % (producer, first)
        opened = _open(folder)
        try:
            self._check_room(folder, size)
            _write(opened, folder, name, lines)
        finally:
            os.close(opened)
        self._own[os.path.join(folder, name)] = size

    def left(self) -> List[str]:
        """Files that no agent has taken in yet."""
        return [path for path in self._own if os.path.lexists(path)]

    def _check_room(self, folder: str, size: int) -> None:
        if len(self._own) >= OWN_FILES_MAX or sum(self._own.values()) + size > OWN_BYTES_MAX:
            self._own = {path: kept for path, kept in self._own.items() if os.path.lexists(path)}
        if len(self._own) >= OWN_FILES_MAX or sum(self._own.values()) + size > OWN_BYTES_MAX:
            raise OSError("this process has spooled %d files, which is its limit" % len(self._own))
        sizes = _sizes(folder)
        if sizes is not None and (len(sizes) >= FOLDER_FILES_MAX or sum(sizes) + size > FOLDER_BYTES_MAX):
            raise OSError("it holds %d files of %d bytes in all, which is its limit" % (len(sizes), sum(sizes)))


def _open(folder: str) -> int:
    """Opens the folder, which is made if it is missing. Others' folders are not written to."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(folder, os.O_RDONLY | flags)
    except FileNotFoundError:
        # The machine's is made with the agent, with a mode that only root can give it.
        if folder == SYSTEM_SPOOL:
            raise
        _make(folder)
        opened = os.open(folder, os.O_RDONLY | flags)
    except PermissionError:
        # Members of the agent's group may write to the machine's spool and may not list it.
        opened = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | flags)
    owner = os.fstat(opened).st_uid
    if owner not in (0, os.geteuid()):
        os.close(opened)
        raise PermissionError("it belongs to user %d, who could read and remove what is in it" % owner)
    return opened


def _make(folder: str) -> None:
    """Makes a folder and those above it, with a mode for their owner alone."""
    above = os.path.dirname(folder)
    if not os.path.isdir(above):
        _make(above)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass


def _write(opened: int, folder: str, name: str, lines: List[bytes]) -> None:
    # In a folder that passes its group on, the group may read: it is the agent's.
    mode = 0o640 if os.fstat(opened).st_mode & stat.S_ISGID else 0o600
    unfinished = "." + name
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(unfinished, flags, mode, dir_fd=opened)
        try:
            os.fchmod(file, mode)
            _write_all(file, b"".join(lines))
            # Not everywhere there is the cheaper one.
            getattr(os, "fdatasync", os.fsync)(file)
            os.rename(unfinished, name, src_dir_fd=opened, dst_dir_fd=opened)
            try:
                os.fsync(opened)
            except OSError:
                # The folder may not be opened to be flushed. A rename changes the file itself as well, and flushing
                # that takes the journal up to and with the rename (ext4, xfs, btrfs).
                os.fsync(file)
        finally:
            os.close(file)
    except BaseException:
        for left in (unfinished, name):
            try:
                os.unlink(left, dir_fd=opened)
            except OSError:
                pass
        raise


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _sizes(folder: str) -> Optional[List[int]]:
    """Sizes of the finished files in a folder, whoever's they are; `None` if it may not be listed."""
    sizes = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".jsonl") and not entry.name.startswith("."):
                    try:
                        sizes.append(entry.stat(follow_symlinks=False).st_size)
                    except OSError:
                        pass
    except OSError:
        return None
    return sizes
