"""Checkpoint files that are whole or absent: written beside and renamed, verified before they are trusted."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer

from mmmtl.engine.run_state import find_fault
from mmmtl.errors import ConfigError
from mmmtl.utils.files import PARTIAL, read_json, write_atomically
from mmmtl.utils.tensor_files import digest_error, read_torch, takes_digest, with_digest

REST, DIGESTS = 'rest.pth', 'digests.json'
"""In the folder of a checkpoint in parts: what is no tensor, and the SHA-256 of every file."""
_MAX_ENTRIES = 2_000_000
_PLAIN = (bool, int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.device, torch.Size, HistoryBuffer)


def remove_partial(folder: str | os.PathLike) -> list[str]:
    """Remove what an interrupted :func:`~mmmtl.utils.files.write_atomically` left in ``folder``; return the names."""
    left = sorted(Path(folder).glob(f'.*{PARTIAL}'))
    for path in left:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return [path.name for path in left]


class AtomicLocalBackend(LocalBackend):
    """mmengine's file backend for local disks, writing whole files or none; checkpoints carry a digest of their bytes.

    It takes the place of mmengine's own, so that whatever saves through mmengine (runners, strategies of sharded training)
    writes like this.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`~mmmtl.utils.files.write_atomically`."""
        write_atomically(filepath, with_digest(obj) if takes_digest(obj) else obj, durable=True)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :func:`~mmmtl.utils.files.write_atomically`."""
        write_atomically(filepath, obj.encode(encoding), durable=True)


register_backend('AtomicLocalBackend', AtomicLocalBackend, force=True)
register_backend('local', AtomicLocalBackend, force=True, prefixes='')


def find_corruption(path: str | os.PathLike) -> str | None:
    """Say what is wrong with the bytes of a checkpoint, or None where every one checks out.

    Checkpoints written here carry a digest of all their bytes. Those of others have a checksum for each member of their zip
    archive. Of a folder (sharded states) all files are looked at.
    """
    path = Path(path)
    if (path / DIGESTS).is_file():
        return _damaged_part(path)
    if path.is_dir():
        parts = ((part, find_corruption(part)) for part in sorted(path.iterdir()) if part.is_file())
        return next((f'{part.name}: {reason}' for part, reason in parts if reason), None)
    if not path.is_file():
        return 'there is no such file'
    if path.stat().st_size == 0:
        return 'the file is empty'
    try:
        wrong = digest_error(path)
        if wrong is None:
            with zipfile.ZipFile(path) as archive:
                broken = None if archive.comment else archive.testzip()
            wrong = broken and f'its part {broken!r} does not match its checksum'
    except Exception as error:  # damage in a name or a length raises errors of any kind
        return f'the file is truncated or not a checkpoint ({error})'
    return wrong


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _damaged_part(folder: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint in parts."""
    try:
        for name, digest in read_json(folder / DIGESTS).items():
            path = folder / Path(name).name
            if not path.is_file():
                return f'{name} is missing'
            if file_digest(path) != digest:
                return f'{name}: its bytes do not match its digest'
    except (ValueError, OSError, AttributeError) as error:
        return f'{DIGESTS}: {error}'
    return None


def why_not_resumable(path: str | os.PathLike) -> str | None:
    """Say why a run cannot be resumed from a checkpoint, or None where it can."""
    reason = find_corruption(path)
    if reason or (Path(path).is_dir() and not (Path(path) / REST).is_file()):
        return reason
    try:
        whole = not Path(path).is_dir()
        content = read_torch(path if whole else Path(path) / REST, mmap=True)
        if not whole:  # the tensors are elsewhere
            content['state_dict'] = {'': torch.empty(0)}
        if _unfolds(content):
            return f'its containers hold one another over and over, more than {_MAX_ENTRIES} entries'
        fault = find_fault(content)
        return fault and f'it holds no run that could go on ({fault})'
    except Exception as error:  # whatever the content raises
        return f'it holds no run that could go on ({type(error).__name__}: {error})'


def _unfolds(content: Any) -> bool:
    """Whether nested containers have too many entries to be walked through; a file may name one of them many times."""
    waiting, count = [content], 0
    while waiting and count <= _MAX_ENTRIES:
        value = waiting.pop()
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple, set)) else ()
        count += len(inner)
        waiting.extend(inner)
    return count > _MAX_ENTRIES


def checkpoint_folder(work_dir: str | os.PathLike, out_dir: str | None) -> Path:
    """Where the checkpoints of a run go, by its work dir and ``out_dir`` of its hook."""
    return Path(work_dir) if out_dir is None else Path(out_dir) / Path(work_dir).name


def saved_checkpoints(cfg: Mapping[str, Any]) -> list[Path]:
    """The checkpoints that there are of a config's run, the latest step first."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    epochs = hook.get('by_epoch', str(hook.get('type')).rpartition('.')[2] == 'CheckpointHook')
    template = hook.get('filename_tmpl') or ('epoch_{}.pth' if epochs else 'iter_{}.pth')
    return newest_first(checkpoint_folder(cfg['work_dir'], hook.get('out_dir')), template)


def newest_first(folder: str | os.PathLike, template: str = 'iter_{}.pth') -> list[Path]:
    """List the checkpoints of a run, the latest step first.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` or a form of it (``{:06d}``) for the step.

    Raises:
        ConfigError: A name without a place for the step, or with several.
    """
    pattern = re.compile(re.sub(r'\\\{.*?\\\}', r'(\\d+)', re.escape(template)))
    if pattern.groups != 1:
        raise ConfigError(
            f"default_hooks.checkpoint.filename_tmpl='{template}': expected one place for the step, like iter_{{}}.pth"
        )
    found = [(int(match.group(1)), path) for path in Path(folder).glob('*') if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def plain(value: Any) -> Any:
    """Replace what a checkpoint cannot hold safely (an object of any class) by the name of its class.

    Tensors, arrays, numbers, strings, None, log histories and containers of them stay as they are, so that a file
    written with the result loads with ``weights_only=True``.
    """
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in 'biufcUS':
        return value
    if isinstance(value, Mapping):
        items = {
            key if isinstance(key, (str, int, float, tuple)) else str(key): plain(item) for key, item in value.items()
        }
        return OrderedDict(items) if isinstance(value, OrderedDict) else items
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = type(value) if type(value) in (list, tuple, set) else list
        return kind(plain(item) for item in value)
    return f'{type(value).__module__}.{type(value).__qualname__}'
