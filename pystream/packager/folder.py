"""A presentation as a folder of files, published whole or not at all.

Everything is written into a temporary folder beside the target and put in its place by one rename;
an existing target is exchanged with it, so at any moment one complete output is visible. A mount
point cannot be renamed: there, files are renamed one by one, playlists last, and what no longer
belongs is removed after that. An interrupted run removes what it wrote and leaves the rest as it was.
"""

from __future__ import annotations

import errno
import os
import threading

from pystream import _core
from pystream.errors import OutputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pystream.packager.presentation import Presentation

PLAYLIST = "index.m3u8"
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def write(
    presentation: Presentation,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    key_dir: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a presentation's playlists, segments and keys into `folder`; returns the bytes written.

    `key_dir`: where key files go; without it, beside their playlists. `jobs`: threads, as many as
    there are processors by default. `progress` is called a few times a second with bytes written
    and bytes in all.

    Raises `OutputError` where the folder may not be written, `OSError` where it cannot, `MediaError`
    or `SourceError` for the inputs. After any of these, and after `KeyboardInterrupt`, the folder is
    what it was before.
    """
    target = os.path.realpath(folder)
    _check(target, overwrite)
    keys = _key_files(presentation, target, key_dir, overwrite)
    mounted = os.path.ismount(target)
    parent = target if mounted else os.path.dirname(target)
    made = _make_parents(parent)
    # Hidden, and on the same file system, which a rename asks for.
    work = os.path.join(parent, f".{os.path.basename(target)}.{os.urandom(6).hex()}.partial")
    try:
        os.mkdir(work)
        try:
            total = _fill(presentation, work, jobs, progress, beside=key_dir is None)
            _publish_keys(keys, key_dir)
            if mounted:
                _publish_files(work, target)
            else:
                _publish_folder(work, target)
        finally:
            _remove(work)
    except BaseException:
        for path in reversed(made):
            try:
                os.rmdir(path)
            except OSError:
                break
        raise
    return total


def _check(target: str, overwrite: bool) -> None:
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise OutputError(f"{target} exists and is no folder")
    if os.listdir(target) and not overwrite:
        raise OutputError(f"{target} is not empty; --overwrite replaces all that is in it")


def _key_files(
    presentation: Presentation,
    target: str,
    key_dir: str | os.PathLike[str] | None,
    overwrite: bool,
) -> list[tuple[str, bytes]]:
    if key_dir is None:
        return []
    folder = os.path.realpath(key_dir)
    if os.path.commonpath([folder, target]) == target:
        raise OutputError(
            f"the key folder {folder} lies in the output folder, where keys must not be"
        )
    files = [
        (os.path.join(folder, name), key)
        for rendition in presentation.renditions
        for name, key in rendition.key_files()
    ]
    for path, _ in files:
        if os.path.lexists(path) and not overwrite:
            raise OutputError(f"{path} exists; --overwrite replaces it")
    return files


def _make_parents(folder: str) -> list[str]:
    """Makes a folder and those above it; returns what was made, outermost first."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    missing.reverse()
    for path in missing:
        os.mkdir(path)
    return missing


def _fill(
    presentation: Presentation,
    work: str,
    jobs: int | None,
    progress: Callable[[int, int], None] | None,
    beside: bool,
) -> int:
    files = []
    for rendition in presentation.renditions:
        folder = os.path.join(work, rendition.name)
        os.mkdir(folder)
        files += rendition.work(folder)
        for index, init in enumerate(rendition.inits()):
            _write(os.path.join(folder, rendition.init_uri(index)), init)
        if beside:
            for name, key in rendition.key_files():
                _write(os.path.join(folder, name), key, 0o600)
    total = sum(sum(rendition.lengths()) for rendition in presentation.renditions)
    jobs = max(1, min(jobs or len(os.sched_getaffinity(0)), len(files)))
    _run(_core.Work(files, jobs), jobs, total, progress)
    for rendition in presentation.renditions:
        text = presentation.media_playlist(rendition).text()
        _write(os.path.join(work, rendition.name, PLAYLIST), text.encode())
    _write(os.path.join(work, PLAYLIST), presentation.multivariant_playlist().text().encode())
    return total


def _write(path: str, data: bytes, mode: int = 0o666) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _run(
    work: _core.Work,
    jobs: int,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    failures: list[BaseException] = []

    def one() -> None:
        try:
            work.run()
        except BaseException as error:
            failures.append(error)

    # Never in this thread: it has to be free for Ctrl-C.
    threads = [threading.Thread(target=one) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            if progress is None:
                thread.join()
            else:
                while thread.is_alive():
                    thread.join(0.05)
                    progress(work.written, total)
    finally:
        work.stop()
        for thread in threads:
            thread.join()
    for failure in failures:
        # Threads that were told to stop are no cause.
        if not isinstance(failure, KeyboardInterrupt):
            raise failure


def _publish_keys(keys: list[tuple[str, bytes]], key_dir: str | os.PathLike[str] | None) -> None:
    if key_dir is not None:
        os.makedirs(key_dir, mode=0o700, exist_ok=True)
    for path, key in keys:
        partial = f"{path}.{os.urandom(6).hex()}.partial"
        try:
            _write(partial, key, 0o600)
            os.replace(partial, path)
        except BaseException:
            _remove(partial)
            raise


def _publish_folder(work: str, target: str) -> None:
    os.chmod(work, 0o777 & ~_umask())
    try:
        # Also where the target is an empty folder.
        os.rename(work, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        _exchange(work, target)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _exchange(work: str, target: str) -> None:
    """Puts `work` in the place of `target` and the other way round, in one step where possible."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(work), os.fsencode(target)
    if libc.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), target)
    # A file system without exchange: two renames, with a moment between them.
    aside = f"{work}.old"
    os.rename(target, aside)
    try:
        os.rename(work, target)
    except BaseException:
        os.rename(aside, target)
        raise
    os.rename(aside, work)


def _publish_files(work: str, target: str) -> None:
    fresh = sorted(_files(work), key=lambda path: (path.endswith(".m3u8"), path.count(os.sep) == 0))
    for path in fresh:
        os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
        os.replace(os.path.join(work, path), os.path.join(target, path))
    keep = {*fresh, *(os.path.dirname(path) for path in fresh)}
    hidden = os.path.basename(work)
    for name in os.listdir(target):
        if name != hidden and name not in keep:
            _remove(os.path.join(target, name))
    for path in list(_files(target)):
        if path not in keep and not path.startswith(hidden):
            os.unlink(os.path.join(target, path))


def _files(folder: str) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(root, name), folder)


def _remove(path: str) -> None:
    """Removes a file or a folder with all that is in it, if it is there."""
    if os.path.islink(path) or os.path.isfile(path):
        os.unlink(path)
    elif os.path.isdir(path):
        for name in os.listdir(path):
            _remove(os.path.join(path, name))
        os.rmdir(path)
