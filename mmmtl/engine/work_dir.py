"""One run at a time in a work dir, and no run over another one's checkpoints without being told to."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from mmmtl.errors import ConfigError, UserError
from mmmtl.utils.files import write_atomically

try:
    import fcntl
except ImportError:  # not on Windows, where the lock holds by its content alone
    fcntl = None  # type: ignore[assignment]

LOCK = '.lock'
SETTINGS = 'settings.json'
LAUNCH = '.launch'
HEARTBEAT = 60.0
"""Seconds between two signs of life of the owner of a lock."""
_ASIDE = ('resume', 'load_from', 'work_dir', 'launcher', 'filename')


class BusyError(UserError):
    """Another run is at work in the work dir."""


@contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Hold the lock of a work dir: the file ``.lock`` in it, with host, process and time.

    The lock of a process that has ended, however, is taken over: the system gives it back with the process. Where the file
    system knows no locks, or the owner is on another host, the content counts: a process that is gone, or that has
    not been heard of for five minutes, does not hold it.

    Raises:
        BusyError: A living process holds it.
    """
    path = Path(folder) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a+', encoding='utf-8')  # noqa: SIM115 - open as long as the lock is held
    owner = _read_owner(path)
    free = True
    if fcntl is not None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            free = error.errno not in (errno.EACCES, errno.EAGAIN)
    if not free or _lives(path, owner):
        file.close()
        raise BusyError(
            f'{folder} is in use by process {owner.get("pid", "?")} on {owner.get("host", "another host")} since '
            f'{owner.get("time", "?")}: wait for it, stop it, or give another --work-dir'
        )
    own = dict(
        host=socket.gethostname(),
        pid=os.getpid(),
        time=time.strftime('%Y-%m-%d %H:%M:%S'),
        started=_start_of(os.getpid()),
        job=os.environ.get('SLURM_JOB_ID'),
    )
    file.truncate(0)
    file.write(json.dumps(own))
    file.flush()
    ended = threading.Event()
    threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        with contextlib.suppress(OSError):
            file.truncate(0)
        file.close()


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT):
        with contextlib.suppress(OSError):
            os.utime(path)


def _read_owner(path: Path) -> dict[str, Any]:
    try:
        owner = json.loads(path.read_text(encoding='utf-8'))
        return owner if isinstance(owner, dict) else {}
    except (OSError, ValueError):
        return {}


def _start_of(pid: int) -> str | None:
    """When a process started, which tells it from a later one of the same number; None where nobody knows."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]
    except (OSError, IndexError):
        return None


def _lives(path: Path, owner: Mapping[str, Any]) -> bool:
    """Whether the content of a lock that the system would give away says that its owner is alive."""
    pid = owner.get('pid')
    if not isinstance(pid, int):
        return False
    if owner.get('host') != socket.gethostname():
        again = owner.get('job') is not None and owner.get('job') == os.environ.get('SLURM_JOB_ID')  # requeued
        return not again and time.time() - path.stat().st_mtime < 5 * HEARTBEAT
    if pid == os.getpid():
        return False
    start = _start_of(pid)
    if start is not None or os.path.isdir('/proc/self'):
        return start is not None and start == owner.get('started')
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _launch() -> str | None:
    """What torchrun calls this launch, where it has a name of its own."""
    name = os.environ.get('TORCHELASTIC_RUN_ID')
    return None if name in (None, 'none') else name


def restarted(folder: str | os.PathLike) -> bool:
    """Whether torchrun started this process in place of one that failed, or because machines came or went.

    Args:
        folder: The work dir, in which :func:`note_launch` has left the name of the launch.
    """
    if int(os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')) > 0:
        return True
    with contextlib.suppress(OSError):
        return _launch() is not None and (Path(folder) / LAUNCH).read_text(encoding='utf-8') == _launch()
    return False


def after_restart(
    folder: str | os.PathLike, found: Sequence[Path], resume: bool | str, overwrite: bool
) -> tuple[bool | str, bool]:
    """``resume`` and ``overwrite`` of a run, which goes on from the newest of its checkpoints where it was started again."""
    if not restarted(folder):
        return resume, overwrite
    return (resume if isinstance(resume, str) and not found else True), False


def note_launch(folder: str | os.PathLike) -> None:
    """Leave the name of this launch in the work dir; called by all processes when every one has asked :func:`restarted`."""
    if _launch() is not None and is_main_process():
        write_atomically(Path(folder) / LAUNCH, str(_launch()))


def settle(
    folder: str | os.PathLike, settings: Mapping[str, Any], resume: bool, overwrite: bool, found: Sequence[Path]
) -> str | None:
    """See to it that a new run does not mix with what an earlier one left in the work dir.

    Args:
        folder: The work dir.
        settings: The run's config.
        resume: The run goes on from an earlier one.
        overwrite: The run takes the place of an earlier one, whose checkpoints are deleted.
        found: Checkpoints that are there, the latest first.

    Returns:
        A line for the log where something was moved or deleted, or where a run goes on with other settings. A run with
        the same settings that starts anew puts the earlier checkpoints aside, into ``earlier/TIME``.

    Raises:
        ConfigError: Checkpoints of other settings are there, and the run neither resumes nor overwrites.
    """
    folder = Path(folder)
    own = json.loads(json.dumps({k: v for k, v in settings.items() if k not in _ASIDE}, default=str))
    note, line = folder / SETTINGS, None
    changes = _differences(_read_owner(note), own) if found else []
    if found and resume and changes and note.is_file():
        line = (
            f'The run goes on with other settings than before: {"; ".join(changes[:8])}{", ..." * (len(changes) > 8)}.'
        )
    if found and not resume:
        best = list(found[0].parent.glob('best_*.pth'))
        if overwrite:
            for path in [*found, *best]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            line = f'{len(found) + len(best)} checkpoints of an earlier run are deleted (--overwrite).'
        else:
            if changes:
                raise ConfigError(
                    f'{found[0].parent} holds {found[0].name} of a run with other settings ({"; ".join(changes[:3])}): --resume '
                    f'goes on from it, --overwrite deletes its checkpoints, another --work-dir leaves it alone'
                )
            aside = found[0].parent / 'earlier' / time.strftime('%Y%m%d_%H%M%S')
            aside.mkdir(parents=True, exist_ok=True)
            for path in [*found, *best]:
                path.rename(aside / path.name)
            line = f'{len(found) + len(best)} checkpoints of an earlier run with these settings now lie in {aside}.'
        with contextlib.suppress(FileNotFoundError):
            (folder / 'last_checkpoint').unlink()
    write_atomically(note, json.dumps(own, indent=1))
    return line


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any], path: str = '') -> list[str]:
    """The leaves in which two settings differ, as text."""
    if not theirs and not path:
        return ['they are not known']
    found = []
    for key in dict.fromkeys([*theirs, *ours]):
        one, other = theirs.get(key), ours.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f'{path}{key}.')
        elif one != other:
            found.append(f'{path}{key} was {one!r:.40}, is {other!r:.40}')
    return found
