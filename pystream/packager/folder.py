"""A presentation as a folder of files, published whole or not at all.

Everything is written into a temporary folder beside the target and put in its place by one rename;
an earlier output is exchanged with it, so at any moment one complete output is visible. A mount
point cannot be renamed, and the current folder and those above it are not to be: there, files are
renamed one by one, playlists last, and what is left of the earlier output is removed after that. What
may be replaced is seen to before the work, and again before it is put in place; where nothing may be,
the renaming itself replaces nothing. An interrupted run removes what it wrote and leaves the rest as
it was; an interrupt that comes while things are being put in place is heard when they are.

A run that is killed cannot remove anything. So each holds a lock (flock(2)) on its temporary folder,
which ends with the process; a folder for the same target whose lock can be had is nobody's, and the
same user's next run removes it. Where there are no such locks (NFS, for one), leftovers stay.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import threading
from contextlib import contextmanager, suppress

from pystream import _core
from pystream.errors import OutputError
from pystream.playlist import MediaPlaylist, MultivariantPlaylist, PlaylistError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pystream.packager.presentation import Presentation

PLAYLIST = "index.m3u8"
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# What `mkfs` puts into the root of a file system, which may well be a mount point to write to.
_NOT_OURS = "lost+found"
_PARTIAL = ".partial"
# What a temporary folder's name begins with: in the target no name, beside it the target's, of which
# so many characters, as the name must not have more than 255 bytes.
_INSIDE = ".pystream.."
_MARK_LENGTH = 40


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
    and bytes in all. `overwrite` replaces an earlier output, and nothing else: a folder that holds
    what no output has is refused. Of the keys in `key_dir`, those that only the earlier output's
    playlists name are removed, unless they hold a key of the new one.

    Raises `OutputError` where the folder may not be written or its file system surely has no room,
    `OSError` where it cannot be written, `MediaError` or `SourceError` for the inputs. After any of
    these, and after `KeyboardInterrupt`, the folder is what it was before.
    """
    if not os.fspath(folder):
        raise OutputError("the output folder's name is empty")
    target = real_path(folder)
    fixed = _is_mount_point(target) or _is_current(target)
    parent = target if fixed else os.path.dirname(target)
    # Hidden, and on the same file system, which a rename asks for.
    mark = _INSIDE if fixed else f".pystream.{os.path.basename(target)[:_MARK_LENGTH]}."
    _check(target, overwrite, fixed)
    keys = _key_files(presentation, target, key_dir, overwrite)
    stale = _stale_keys(presentation, target, key_dir, keys)
    _remove_leftovers(parent, mark)
    # Of runs for which it was a mount point, or the current folder.
    _remove_leftovers(target, _INSIDE)
    _check_room(presentation, target, parent)
    made: list[str] = []
    work = os.path.join(parent, f"{mark}{os.urandom(8).hex()}{_PARTIAL}")
    done = False
    lock = -1
    try:
        _make_folders(parent, made)
        _make_work(work, parent)
        lock = _lock(work)
        total = _fill(presentation, work, jobs, progress, beside=key_dir is None)
        with _uninterrupted():
            _publish(work, target, fixed, overwrite, keys, key_dir, made)
            done = True
            _remove(work)
            for path in stale:
                _remove(path)
    except BaseException as error:
        if done and isinstance(error, OSError):
            raise OutputError(
                f"{target} is the new output, but what was there before cannot be removed from"
                f" {error.filename}: {error.strerror}"
            ) from None
        if not done:
            with _uninterrupted():
                _remove(work)
                _remove_empty(made)
        # The place where it was to be says more than the one where it was being made.
        if isinstance(error, OSError) and isinstance(error.filename, str):
            error.filename = error.filename.replace(work, target, 1)
        raise
    finally:
        if lock >= 0:
            os.close(lock)
    return total


def real_path(path: str | os.PathLike[str]) -> str:
    """The absolute path without links. Raises `OutputError` where it leads from no folder on."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError:
        raise OutputError(
            f"{os.fspath(path)} cannot be found from the current folder, which has been removed:"
            " change to another one, or give an absolute path"
        ) from None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Holds back, in this thread, the signals that end a command."""
    # Asked for first: the call that blocks may itself raise what came before it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check(target: str, overwrite: bool, fixed: bool) -> None:
    """Refuses a target that holds anything, but for an earlier output that is to be replaced."""
    if not os.path.lexists(target):
        return
    if not os.path.isdir(target):
        raise OutputError(f"{target} exists and is no folder")
    entries, killed = [], False
    with os.scandir(target) as found:
        for entry in found:
            folder = entry.is_dir(follow_symlinks=False)
            if folder and _is_partial(entry.name, _INSIDE):
                # A run that was killed has passed this check: what it left is no reason to fail it.
                killed = True
            elif not (
                folder
                and entry.name == _NOT_OURS
                and (fixed or (overwrite and not os.listdir(entry)))
            ):
                entries.append(entry)
    if not entries:
        return
    if not overwrite:
        raise OutputError(f"{target} is not empty; --overwrite replaces an earlier output")
    if killed or any(entry.name == PLAYLIST for entry in entries):
        foreign = min(_foreign(entries), default=None)
        if foreign is None:
            return
        reason = f"{foreign} in it is not what package writes"
    else:
        reason = f"it holds no {PLAYLIST}"
    raise OutputError(
        f"{target} is no earlier output, since {reason}, so --overwrite does not replace it:"
        " choose another folder, or empty this one"
    )


def _foreign(entries: Iterable[os.DirEntry[str]]) -> Iterator[str]:
    """What no output has, of a folder's entries and of what is in them, as paths from there."""
    for entry in entries:
        if entry.name == PLAYLIST:
            if not (entry.is_file(follow_symlinks=False) and _is_multivariant(entry.path)):
                yield entry.name
        elif not (_is_rendition(entry.name) and entry.is_dir(follow_symlinks=False)):
            yield entry.name
        else:
            # Another run may be removing what it has replaced.
            with suppress(FileNotFoundError), os.scandir(entry) as inside:
                for each in inside:
                    if not (
                        _is_of_rendition(each.name, entry.name)
                        and each.is_file(follow_symlinks=False)
                    ):
                        yield f"{entry.name}/{each.name}"


def _is_multivariant(path: str) -> bool:
    """Whether a file is a multivariant playlist that names renditions where outputs have them."""
    found = _parsed(path)
    if not isinstance(found, MultivariantPlaylist):
        return False
    uris = [variant.uri for variant in found.variants]
    uris += [rendition.uri or "" for rendition in found.renditions]
    parts = [uri.partition("/") for uri in uris]
    return all(_is_rendition(name) and rest == PLAYLIST for name, _, rest in parts)


# The names that `Rendition` gives: a folder of so many segments has as many of them to look at.


def _is_rendition(name: str) -> bool:
    return name[:1] in ("v", "a") and _is_number(name[1:])


def _is_of_rendition(name: str, rendition: str) -> bool:
    stem, _, suffix = name.rpartition(".")
    if suffix in ("ts", "m4s"):
        return _is_number(stem)
    if suffix == "mp4":
        return stem == "init" or (stem.startswith("init-") and _is_number(stem[5:]))
    if suffix == "key":
        begin = f"{rendition}-"
        return stem.startswith(begin) and _is_number(stem.removeprefix(begin))
    return name == PLAYLIST


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and (text == "0" or text[0] != "0")


def _is_partial(name: str, mark: str) -> bool:
    """Whether a name is that of a temporary folder for the target whose mark is given."""
    random = name.removeprefix(mark).removesuffix(_PARTIAL)
    return name == f"{mark}{random}{_PARTIAL}" and len(random) == 16


def _remove_leftovers(parent: str, mark: str) -> None:
    """Removes what killed runs left, as far as it can be removed."""
    with suppress(OSError):
        for name in os.listdir(parent):
            if _is_partial(name, mark):
                with suppress(OSError):
                    _remove_leftover(os.path.join(parent, name))


def _remove_leftover(path: str) -> None:
    folder = os.open(path, _FOLDER)
    try:
        # Others may put folders of such names into one that they share with us.
        if os.fstat(folder).st_uid != os.geteuid():
            return
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An empty one may be so new that its run is only about to lock it.
        if names := os.listdir(folder):
            for name in names:
                _remove(name, folder)
            os.rmdir(path)
    finally:
        os.close(folder)


def _lock(work: str) -> int:
    """A descriptor whose closing, at the latest by the end of the process, ends the lock."""
    folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(OSError):  # a file system without locks
        # Nobody has it for longer than it takes to see that the folder is empty.
        fcntl.flock(folder, fcntl.LOCK_EX)
    return folder


def _check_room(presentation: Presentation, target: str, parent: str) -> None:
    """Refuses what surely does not fit: playlists, keys and what blocks waste are not counted."""
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    try:
        system = os.statvfs(parent)
    except OSError:
        return  # whoever writes there gets the same error, and says it
    # Some have no blocks to count. What is kept back for the superuser is his.
    if system.f_blocks == 0:
        return
    room = (system.f_bavail if os.geteuid() else system.f_bfree) * system.f_frsize
    needed = _total(presentation)
    if needed > room:
        old = os.path.exists(os.path.join(target, PLAYLIST))
        stays = " beside the old output, which stays until the new one is whole" if old else ""
        raise OutputError(
            f"{target} needs {needed:,} bytes, and its file system has room for {room:,}{stays}"
        )


def _total(presentation: Presentation) -> int:
    return sum(sum(rendition.lengths()) for rendition in presentation.renditions)


def _key_files(
    presentation: Presentation,
    target: str,
    key_dir: str | os.PathLike[str] | None,
    overwrite: bool,
) -> list[tuple[str, bytes]]:
    if key_dir is None:
        return []
    folder = real_path(key_dir)
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


def _stale_keys(
    presentation: Presentation,
    target: str,
    key_dir: str | os.PathLike[str] | None,
    fresh: list[tuple[str, bytes]],
) -> list[str]:
    """Key files that the output in `target` names, and the new one, whose are `fresh`, does not.

    One that holds a key of the new output is none of them: it may be where that key was taken from.

    A folder of keys may hold other things, and other films' keys. So only what the playlists there
    name counts, under the names that key files have (`Rendition.key_name`), and where the new ones
    look for keys, too: then the folder is the one of which they are served.
    """
    if key_dir is None or presentation.encryption is None or not os.path.isdir(target):
        return []
    folder, base = real_path(key_dir), presentation.encryption.key_uri
    named = set()
    for name in os.listdir(target):
        for uri in _key_uris(os.path.join(target, name, PLAYLIST)):
            key = uri.removeprefix(base)
            period = key.removeprefix(f"{name}-").removesuffix(".key")
            if uri == f"{base}{name}-{period}.key" and period.isdecimal():
                named.add(os.path.join(folder, key))
    used = {key for _, key in fresh}
    others = sorted(named - {path for path, _ in fresh})
    return [path for path in others if _is_key(path) and _read(path) not in used]


def _key_uris(path: str) -> set[str]:
    """What a media playlist names as keys; nothing where there is none that can be read."""
    found = _parsed(path)
    if not isinstance(found, MediaPlaylist):
        return set()
    return {segment.key.uri for segment in found.segments if segment.key}


def _parsed(path: str) -> MediaPlaylist | MultivariantPlaylist | None:
    """A playlist; None where there is none that can be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse(file.read())
    except (OSError, UnicodeDecodeError, PlaylistError):
        return None


def _is_key(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) == 16


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_mount_point(path: str) -> bool:
    if os.path.ismount(path):
        return True
    # A folder that is bound into its own file system: only the kernel's list tells (proc(5)).
    escaped = os.fsencode(path)
    for byte in (b"\\", b" ", b"\t", b"\n"):
        escaped = escaped.replace(byte, b"\\%03o" % ord(byte))
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return any(line.split(b" ")[4] == escaped for line in file)
    except OSError:
        return False


def _is_current(path: str) -> bool:
    """Whether it is the current folder or one above it: renamed, it would take that along, and who
    called us would be left in a folder that is then removed."""
    try:
        return os.path.commonpath([os.getcwd(), path]) == path
    except FileNotFoundError:
        return False  # it has been removed already


def _make_folders(folder: str, made: list[str], mode: int = 0o777) -> None:
    """Makes a folder and those above it; adds what was made to `made`, outermost first."""
    missing = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise OutputError(f"{folder} is no folder, so there can be none in it")
    for path in reversed(missing):
        os.mkdir(path, mode)
        made.append(path)


def _remove_empty(folders: list[str]) -> None:
    for path in reversed(folders):
        try:
            os.rmdir(path)
        except OSError:
            # Somebody else has put something there meanwhile.
            return


def _make_work(work: str, parent: str) -> None:
    try:
        os.mkdir(work)
    except OSError as error:
        # The folder's own permissions are not in question.
        error.filename = parent
        raise


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
    total = _total(presentation)
    jobs = max(1, min(jobs or len(os.sched_getaffinity(0)), len(files)))
    _run(_core.Work(files, jobs), jobs, total, progress)
    for rendition in presentation.renditions:
        text = presentation.media_playlist_text(rendition)
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

    def one(ended: threading.Event) -> None:
        try:
            work.run()
        except BaseException as error:
            failures.append(error)
        finally:
            ended.set()

    # Never in this thread: it has to be free for Ctrl-C. And an event each, since a thread whose
    # join() was interrupted is taken for an ended one (CPython up to 3.12).
    ends = [threading.Event() for _ in range(jobs)]
    threads = [threading.Thread(target=one, args=(ended,)) for ended in ends]
    started: list[threading.Thread] = []
    try:
        # They inherit that they get no signals; one of them might be the last to die, and the one to
        # get a signal that this thread holds back.
        with _uninterrupted():
            for thread in threads:
                thread.start()
                started.append(thread)
        for ended in ends:
            over = False
            while not over:
                over = ended.wait(None if progress is None else 0.05)
                if progress is not None:
                    progress(work.written, total)
    finally:
        with _uninterrupted():
            work.stop()
            for thread in started:
                thread.join()
    # A thread that was told to stop is no cause, as long as there is another one.
    failures.sort(key=lambda failure: isinstance(failure, KeyboardInterrupt))
    if failures:
        raise failures[0]


def _publish(
    work: str,
    target: str,
    fixed: bool,
    overwrite: bool,
    keys: list[tuple[str, bytes]],
    key_dir: str | os.PathLike[str] | None,
    made: list[str],
) -> None:
    """Puts keys and folder in place; where the folder cannot be, the keys are what they were.

    What came into their places while the work was done is replaced on the same terms as what was
    there before.
    """
    placed: list[tuple[str, str | None]] = []
    try:
        if key_dir is not None:
            _make_folders(real_path(key_dir), made, 0o700)
        for path, key in keys:
            partial = f"{path}.{os.urandom(8).hex()}.partial"
            try:
                _write(partial, key, 0o600)
                if overwrite and os.path.lexists(path):
                    _exchange(partial, path)
                    placed.append((path, partial))
                else:
                    _rename_new(partial, path)
                    placed.append((path, None))
            except BaseException:
                _remove(partial)
                raise
        if fixed:
            _publish_files(work, target, overwrite)
        else:
            _publish_folder(work, target, overwrite)
    except BaseException:
        for path, old in placed:
            if old is None:
                os.unlink(path)
            else:
                os.replace(old, path)
        raise
    for _, old in placed:
        if old is not None:
            os.unlink(old)


def _publish_folder(work: str, target: str, overwrite: bool) -> None:
    if os.path.isdir(target):
        os.chmod(work, os.stat(target).st_mode & 0o7777)
    try:
        # Also where the target is an empty folder.
        os.rename(work, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        _check(target, overwrite, False)
        if not overwrite:
            raise OutputError(
                f"{target} holds a folder {_INSIDE}*{_PARTIAL}, in which another run writes: wait for"
                " that, or remove it"
            ) from None
        _exchange(work, target)


def _exchange(work: str, target: str) -> None:
    """Puts `work` in the place of `target` and the other way round, in one step where possible."""
    if _renameat2(work, target, _RENAME_EXCHANGE):
        return
    # Two renames, with a moment between them.
    aside = f"{work}.old"
    os.rename(target, aside)
    try:
        os.rename(work, target)
    except BaseException:
        os.rename(aside, target)
        raise
    os.rename(aside, work)


def _rename_new(work: str, target: str) -> None:
    """Renames a file to where there is none, in one step where possible."""
    try:
        try:
            os.link(work, target)
        except OSError as error:
            # A file system without second names, as FAT is.
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            if not _renameat2(work, target, _RENAME_NOREPLACE):
                if os.path.lexists(target):
                    raise FileExistsError from None
                os.rename(work, target)
        else:
            os.unlink(work)
    except FileExistsError:
        raise OutputError(f"{target} exists; --overwrite replaces it") from None


def _renameat2(work: str, target: str, flags: int) -> bool:
    """Renames in the way that the flags ask for; False where that cannot be done."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    # Not every C library has it, and not every file system knows the flags.
    rename = getattr(libc, "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code), target)
    return False


def _publish_files(work: str, target: str, overwrite: bool) -> None:
    _check(target, overwrite, True)
    fresh = sorted(_files(work), key=lambda path: (path.endswith(".m3u8"), path.count(os.sep) == 0))
    folders = {os.path.dirname(path) for path in fresh} - {""}
    made: list[str] = []
    try:
        for name in folders:
            path = os.path.join(target, name)
            if not (overwrite and os.path.isdir(path)):
                _make_new(path)
                made.append(path)
        for name in fresh:
            path = os.path.join(target, name)
            if overwrite:
                os.replace(os.path.join(work, name), path)
            else:
                _rename_new(os.path.join(work, name), path)
                made.append(path)
    except BaseException:
        if not overwrite:
            _take_back(made)
        raise
    if overwrite:
        _remove_stale(target, {*fresh}, folders)


def _make_new(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        raise OutputError(f"{path} exists; --overwrite replaces it") from None


def _take_back(made: list[str]) -> None:
    for path in reversed(made):
        # A folder stays where somebody else has put something in it.
        with suppress(OSError):
            if os.path.isdir(path):
                os.rmdir(path)
            else:
                os.unlink(path)


def _remove_stale(target: str, fresh: set[str], folders: set[str]) -> None:
    """Removes what an earlier output has, and the new one has not; what no output has stays."""
    for folder in filter(_is_rendition, os.listdir(target)):
        path = os.path.join(target, folder)
        for name in os.listdir(path):
            if _is_of_rendition(name, folder) and f"{folder}/{name}" not in fresh:
                _remove(os.path.join(path, name))
        if folder not in folders and not _is_current(path):
            with suppress(OSError):
                os.rmdir(path)


def _files(folder: str) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(root, name), folder)


def _remove(path: str, parent: int | None = None) -> None:
    """Removes a file or a folder with all that is in it, as far as it is there.

    Relative to `parent`, an open folder, where there is one. What is in a folder is always looked up
    in the one that was opened: somebody who puts a link in its place leads nowhere.
    """
    # Another run for the same target may be removing the same leftover; and what was never made may
    # be so because a file is where its folder was to be.
    with suppress(FileNotFoundError, NotADirectoryError):
        found = os.stat(path, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(path, dir_fd=parent)
            return
        folder = os.open(path, _FOLDER, dir_fd=parent)
        try:
            for name in os.listdir(folder):
                _remove(name, folder)
        except OSError as error:
            inside = error.filename if isinstance(error.filename, str) else ""
            error.filename = os.path.join(path, inside)
            raise
        finally:
            os.close(folder)
        os.rmdir(path, dir_fd=parent)
