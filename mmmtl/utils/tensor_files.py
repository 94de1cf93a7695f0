"""Files of tensors from anywhere, read as data: the one place where the package opens what pickle wrote.

A pickle is a program. Here it may name only what stands in a table, which holds no function that could do anything but
build tensors, arrays and containers; names are looked up there and never imported.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import re
import tarfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmmtl.errors import CheckpointError

_MARK = b'sha256:'
_ZIP = b'PK\x03\x04'
_BLOCK = 1 << 22


# A digest within the file --------------------------------------------------------------------------------------------
def with_digest(data: bytes) -> list[bytes | memoryview]:
    """Add a digest of all bytes to what ``torch.save`` wrote, as the comment of its zip archive.

    Returns:
        The pieces of the file, one after the other; ``data`` is not copied.
    """
    body = memoryview(data)[:-2]  # up to the length of the comment, which is 0
    comment = _MARK + hashlib.sha256(body).hexdigest().encode()
    return [body, len(comment).to_bytes(2, 'little'), comment]


def takes_digest(data: bytes) -> bool:
    """Whether ``data`` is a zip archive without comment."""
    return data[:4] == _ZIP and data[-22:-18] == b'PK\x05\x06' and data[-2:] == b'\0\0'


def digest_error(path: str | os.PathLike) -> str | None:
    """Compare a file with the digest in it.

    Returns:
        What is wrong; None where all bytes are as they were written, and for files without a digest.
    """
    length = len(_MARK) + 64
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - length - 2))
        stored, comment = file.read(2), file.read()
        if not comment.startswith(_MARK) or stored != length.to_bytes(2, 'little'):
            return None
        file.seek(0)
        digest, left = hashlib.sha256(), size - length - 2
        while left and (block := file.read(min(_BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return None if digest.hexdigest().encode() == comment[len(_MARK) :] else 'its bytes do not match its digest'


def state_digest(state: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """SHA-256 of named tensors and of the text that goes with them, whatever the order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f'{name}\0{value.dtype}\0{tuple(value.shape)}\0'.encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    for name in sorted(meta):
        digest.update(f'{name}\0{meta[name]}\0'.encode())
    return digest.hexdigest()


# What a pickle may name ----------------------------------------------------------------------------------------------
class Inert:
    """Stands for an object of a class that is not restored: takes any arguments and state, does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Part of the protocol by which lists are restored."""

    def extend(self, items: Any) -> None:
        """Part of the protocol by which lists are restored."""


class _Function:
    """A function that a pickle may call and not change."""

    __slots__ = ('_call',)

    def __init__(self, call: Callable) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('it changes a function')


def _latin1(text: str, encoding: str = 'latin1') -> bytes:
    if encoding != 'latin1':
        raise pickle.UnpicklingError(f'it asks for the encoding {encoding!r}')
    return text.encode('latin1')


def _tensor_names() -> dict[tuple[str, str], Any]:
    rebuild = ('_rebuild_tensor', '_rebuild_tensor_v2', '_rebuild_parameter')
    dtypes = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
    containers = (set, frozenset, slice, complex, bytearray)
    return {
        ('collections', 'OrderedDict'): OrderedDict,
        ('collections', 'defaultdict'): defaultdict,
        **{('builtins', kind.__name__): kind for kind in containers},
        **{('torch', name): value for name, value in dtypes.items()},
        **{('torch._utils', name): _Function(getattr(torch._utils, name)) for name in rebuild},
        ('torch', 'Size'): torch.Size,
        ('torch', 'device'): torch.device,
        ('torch.serialization', '_get_layout'): _Function(torch.serialization._get_layout),
        ('_codecs', 'encode'): _Function(_latin1),
    }


def _array_names() -> dict[tuple[str, str], Any]:
    multiarray = (getattr(np, '_core', None) or np.core).multiarray
    functions = {name: _Function(getattr(multiarray, name)) for name in ('scalar', '_reconstruct')}
    return {
        **{(f'numpy.{core}.multiarray', n): f for core in ('core', '_core') for n, f in functions.items()},
        ('numpy', 'dtype'): np.dtype,
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'str_'): np.str_,
        ('numpy.dtypes', 'StrDType'): type(np.dtype('U1')),
        ('numpy.dtypes', 'ObjectDType'): type(np.dtype('O')),
    }


_TENSORS = _tensor_names()
_ARRAYS = {**_TENSORS, **_array_names()}


class _Strict(pickle.Unpickler):
    """Restores tensors, arrays and containers, and refuses a file that names anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise pickle.UnpicklingError(f'it names {module}.{name}, which no file of tensors or numbers needs')
        return _ARRAYS[module, name]


class _Tolerant(pickle.Unpickler):
    """Restores tensors and containers; any other name of the file becomes :class:`Inert`."""

    def find_class(self, module: str, name: str) -> Any:
        return _TENSORS.get((module, name), Inert)


class _Table(pickle.Unpickler):
    """Restores the table of contents of a sharded checkpoint: names, sizes, places; no bytes that torch would unpickle."""

    KINDS = 'Metadata TensorStorageMetadata TensorProperties ChunkStorageMetadata MetadataIndex StorageMeta'.split()

    def find_class(self, module: str, name: str) -> Any:
        if module == 'torch.distributed.checkpoint.metadata' and name in (*self.KINDS, '_MEM_FORMAT_ENCODING'):
            return getattr(importlib.import_module(module), name)
        if (module, name) == ('torch.distributed.checkpoint.filesystem', '_StorageInfo'):
            return importlib.import_module(module)._StorageInfo
        if module == 'pathlib' and name in ('PosixPath', 'WindowsPath', 'PurePosixPath', 'PureWindowsPath'):
            return Path
        if (module, name) not in _TENSORS:
            raise pickle.UnpicklingError(f'it names {module}.{name}, which no table of tensors needs')
        return _TENSORS[module, name]


def _module(unpickler: type[pickle.Unpickler]) -> Any:
    """What ``torch.load`` takes for the module ``pickle``."""
    return SimpleNamespace(
        Unpickler=unpickler, load=lambda file, **options: unpickler(file, **options).load(), __name__='mmmtl_restricted'
    )


class _Refused(ValueError):
    """What a file is refused for by its content; the message has the remedy."""


# Reading -------------------------------------------------------------------------------------------------------------
def _refuse_by_content(path: Path) -> None:
    """Refuse what torch would hand to a reader of programs, or of archives with folders, before it sees it.

    Raises:
        _Refused: A TorchScript archive, a tar archive, compressed members, or bytes that do not match the digest.
    """
    with path.open('rb') as file:
        if file.read(4) != _ZIP:
            if tarfile.is_tarfile(path):
                raise _Refused(
                    'it is a tar archive, a form that torch gave up in 2018; save it anew with a torch of today'
                )
            return
    wrong = digest_error(path)
    if wrong:
        raise _Refused(f'{wrong}; copy it again')
    if 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records():
        raise _Refused('it is a TorchScript archive, which holds a program; save its state_dict instead')
    with zipfile.ZipFile(path) as archive:
        packed = next((i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED), None)
    if packed:
        raise _Refused(f'its part {packed!r} is compressed, which torch never does; its size is not believed')


def _read(path: Path, load: Callable[[], Any]) -> Any:
    """Call ``load``; whatever goes wrong becomes a CheckpointError with the path and the remedy."""
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist")
    try:
        _refuse_by_content(path)
        return load()
    except _Refused as error:
        raise CheckpointError(f"checkpoint '{path}' can't be read: {error}") from error
    except Exception as error:  # torch raises pickle, zip, runtime, key and EOF errors for broken files
        named = re.search(r'GLOBAL ([\w.]+)', str(error))  # torch's own text advises to load the file without care
        text = str(error).partition('WeightsUnpickler error: ')[2] or str(error)
        text = f'it names {named[1]}' if named else text.strip().split('\n')[0][:200].partition('. In PyTorch 2.6')[0]
        remedy = (
            'It holds Python objects that are not loaded from files of unknown origin; the checkpoints of published '
            'code go through tools/model_converters/convert_upstream.py.'
            if named
            else 'It is broken or no checkpoint; copy it again.'
        )
        raise CheckpointError(
            f"checkpoint '{path}' can't be read ({type(error).__name__}: {text}). {remedy}"
        ) from error


def read_torch(path: str | os.PathLike, map_location: Any = 'cpu', mmap: bool | None = None) -> Any:
    """Read a file of ``torch.save`` that holds tensors, numbers, text and mmengine's log histories, nothing else.

    Args:
        path: The file.
        map_location: Where tensors go, as for ``torch.load``.
        mmap: Leave the tensors on disk until they are used.

    Raises:
        CheckpointError: Missing or damaged file, or one that names anything else; nothing in it has run.
    """
    path = Path(path)
    return _read(path, lambda: torch.load(path, map_location=map_location, weights_only=True, mmap=mmap))


def read_shard_table(path: str | os.PathLike) -> Any:
    """Read the table of contents of a checkpoint of ``torch.distributed.checkpoint`` (``.metadata``), tensors alone.

    Raises:
        CheckpointError: Missing or damaged, or one that names anything else; nothing in it has run.
    """
    try:
        with open(path, 'rb') as file:
            table = _Table(file).load()
        places = [info.relative_path for info in table.storage_data.values()]
        if not isinstance(table.state_dict_metadata, dict) or any(Path(place).name != place for place in places):
            raise ValueError('its tensors lie outside of its folder')
        return table
    except Exception as error:  # whatever the content raises
        raise CheckpointError(
            f"checkpoint '{Path(path).parent}' can't be read: its table of contents: {error}"
        ) from error


def read_safetensors(path: str | os.PathLike, device: str = 'cpu') -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and text metadata of a ``.safetensors`` file.

    Raises:
        CheckpointError: Missing or damaged file, also where the digest in its metadata does not match.
    """
    from safetensors import safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"'{path}' does not exist")
    try:
        with safe_open(str(path), framework='pt', device=device) as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = dict(file.metadata() or {})
    except Exception as error:  # the reader is written in Rust and has errors of its own
        raise CheckpointError(f"checkpoint '{path}' can't be read as safetensors: {error}") from error
    stored = meta.pop('sha256', None)
    if stored is not None and stored != state_digest(state, meta):
        raise CheckpointError(f"checkpoint '{path}' can't be read: its tensors do not match its digest; copy it again")
    return state, meta


def read_state(path: str | os.PathLike) -> dict[str, Tensor]:
    """State dict of a file of weights, ``.safetensors`` or of ``torch.save`` (bare, or under ``state_dict`` or ``model``).

    Raises:
        CheckpointError: Missing or damaged file, or no state dict in it.
    """
    if str(path).endswith('.safetensors'):
        return read_safetensors(path)[0]
    return find_state(read_torch(path), path)


def read_published(path: str | os.PathLike) -> dict[str, Tensor]:
    """State dict of a published checkpoint (``.pth``, ``.pth.tar``, ``.pt``, ``.bin`` or ``.safetensors``).

    The file's other contents (optimizer, scheduler, objects of the authors' classes) are read past without importing or
    running anything they name.

    Raises:
        CheckpointError: Missing or broken file, or no state dict in it.
    """
    if str(path).endswith('.safetensors'):
        return read_safetensors(path)[0]
    return find_state(_read(Path(path), lambda: _load(path, _Tolerant)), path)


def _load(path: str | os.PathLike, unpickler: type[pickle.Unpickler]) -> Any:
    return torch.load(path, map_location='cpu', pickle_module=_module(unpickler), weights_only=False)


def find_state(content: Any, path: str | os.PathLike) -> dict[str, Tensor]:
    """The state dict in what a file holds; no tensor in it may claim more elements than the file has stored.

    Raises:
        CheckpointError: None there.
    """
    places = ('state_dict', 'model', 'net', 'model_state_dict')
    for candidate in [content.get(key) for key in places] + [content] if isinstance(content, Mapping) else []:
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            for name in _expanded(candidate):
                raise CheckpointError(
                    f"checkpoint '{path}': '{name}' claims {tuple(candidate[name].shape)} and stores less"
                )
            return dict(candidate)
    found = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
    raise CheckpointError(
        f"checkpoint '{path}' has no state dict, itself or under any of {places}; it holds {found}. Checkpoints of "
        'published code go through tools/model_converters/convert_upstream.py.'
    )


def _expanded(state: Mapping[str, Tensor]) -> Iterator[str]:
    for name, value in state.items():
        if value.layout is torch.strided and value.numel() * value.element_size() > value.untyped_storage().nbytes():
            yield name


def read_arrays(path: str | os.PathLike) -> Any:
    """Read the numbers, texts and arrays in a pickle of ``numpy.save`` (dtype object) or ``torch.save``.

    Raises:
        ValueError: A file of another form, or one that names anything else.
    """
    path = Path(path)
    try:
        if path.suffix != '.npy':
            _refuse_by_content(path)
            return _load(path, _Strict)
        with path.open('rb') as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format
            shape, _, dtype = (header.read_array_header_1_0 if version == (1, 0) else header.read_array_header_2_0)(
                file
            )
            array = _Strict(file).load() if dtype.kind == 'O' else None
        if array is None or shape != () or getattr(array, 'shape', None) != ():
            raise ValueError(f'an array of {dtype}, {shape}')
        return array.item()
    except FileNotFoundError:
        raise
    except Exception as error:  # broken pickles raise errors of every kind
        raise ValueError(f'{type(error).__name__}: {str(error)[:200]}') from error


def without_programs(content: Any) -> Any:
    """Take the configurations out of a checkpoint's metadata, which mmengine would run as Python when it resumes."""
    if isinstance(content, dict) and isinstance(content.get('meta'), Mapping):
        content['meta'] = {k: v for k, v in content['meta'].items() if k not in ('cfg', 'config')}
    return content
