"""Shims for the versions around us. Each looks first, does nothing where not needed, and returns whether it acted.

===  ================================  ==================================================================
S1   :func:`register_safe_globals`     mmengine's checkpoints load with ``weights_only=True``
S2   :func:`replace_pkg_resources`     mmengine's package look-ups where setuptools >= 82 has no ``pkg_resources``
S3   :func:`init_cpu_dist`             distributed runs without an accelerator, on gloo
S4   :func:`read_as_data`              mmengine's checkpoint files go through the package's restricted reader
S5   :func:`stub_mmcv_ops`             mmsegmentation on mmcv-lite, which has no compiled operators
S6   :func:`replace_find_loader`       mmengine's look for mmcv on Python 3.14, which has no ``pkgutil.find_loader``
S7   :func:`name_package`              mmengine's ``PACKAGE::CONFIG`` names, which know OpenMMLab's packages alone
===  ================================  ==================================================================

S1, S2, S6 and S7 run when ``mmmtl`` is imported; S4 with ``mmmtl.registry``, which every part that builds or loads a model
imports (mmengine's runner takes longer to import than the rest); S3 is for whoever starts a run, S5 for whoever is about
to import mmsegmentation.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import HistoryBuffer
from mmengine.utils import package_utils

_BUFFER_METHODS = ('min', 'max', 'current', 'mean', 'statistics', 'update')
_DTYPES = (
    'bool',
    'int8',
    'int16',
    'int32',
    'int64',
    'uint8',
    'uint16',
    'uint32',
    'uint64',
    'float16',
    'float32',
    'float64',
    'complex64',
    'complex128',
    'U1',
    'S1',
)


def apply_shims() -> None:
    """Run the shims that every use of mmengine needs (S1, S2, S6, S7); cheap, and safe to repeat."""
    register_safe_globals()
    replace_pkg_resources()
    name_package()
    replace_find_loader()


# S1 ---------------------------------------------------------------------------------------------------------------
def _history_buffer_getattr(owner: Any, name: str) -> Any:
    """Answer for ``builtins.getattr`` in a checkpoint: only the statistics of a ``HistoryBuffer``, nothing else."""
    if owner is not HistoryBuffer or name not in _BUFFER_METHODS:
        raise ValueError(
            f'a checkpoint asked for {getattr(owner, "__name__", owner)!r}.{name!r}; only the statistics '
            f'of mmengine.logging.HistoryBuffer are given out. The file was not written by mmengine.'
        )
    return getattr(HistoryBuffer, name)


def register_safe_globals() -> bool:
    """Allow what mmengine writes into checkpoints, so that ``torch.load(weights_only=True)`` reads them (S1).

    mmengine's checkpoints hold log histories (``HistoryBuffer``, numpy arrays and scalars) beside tensors. Only these
    are allowed; ``getattr``, which their pickles name, is answered by a stand-in for ``HistoryBuffer`` alone. A file
    that names anything else is refused before any of its code runs.

    Returns:
        Whether anything was registered; False in a torch without allow-lists and on a second call.
    """
    add = getattr(torch.serialization, 'add_safe_globals', None)
    if add is None or HistoryBuffer in torch.serialization.get_safe_globals():
        return False
    multiarray = getattr(np, '_core', None) or np.core
    pieces: list = [HistoryBuffer, np.ndarray, np.dtype, *{type(np.dtype(name)) for name in _DTYPES}]
    for package in ('numpy._core', 'numpy.core'):  # numpy 2 writes the one, numpy 1 the other
        pieces.append((multiarray.multiarray._reconstruct, f'{package}.multiarray._reconstruct'))
        pieces.append((multiarray.multiarray.scalar, f'{package}.multiarray.scalar'))
    pieces.append((_history_buffer_getattr, 'builtins.getattr'))
    add(pieces)
    return True


# S2 ---------------------------------------------------------------------------------------------------------------
def _is_installed(package: str) -> bool:
    """Tell whether a distribution, or an importable module that is not a namespace, has this name."""
    try:
        importlib.metadata.distribution(package)
        return True
    except importlib.metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None


def _package2module(package: str) -> str:
    """Return the first top-level module of a distribution."""
    distribution = importlib.metadata.distribution(package)
    named = (distribution.read_text('top_level.txt') or '').split()
    if not named:  # wheels without top_level.txt: read it off the list of files
        firsts = {file.parts[0] for file in distribution.files or () if file.suffix == '.py' and len(file.parts) > 1}
        named = sorted(first for first in firsts if first.isidentifier())
    if not named:
        raise ValueError(f'cannot tell which module the package {package!r} provides')
    return named[0]


def _get_installed_path(package: str) -> str:
    """Return the folder of an installed package, given by its distribution's or its module's name."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None:
        spec = importlib.util.find_spec(_package2module(package))
    if spec is None or spec.origin is None:
        raise RuntimeError(f'{package} is a namespace package, which has no single installed path')
    return str(Path(spec.origin).parent)


def replace_pkg_resources() -> bool:
    """Give mmengine package look-ups that need no ``pkg_resources``, which setuptools 82 removed (S2).

    Without it ``_base_ = 'mmseg::...'`` and ``read_base`` imports from a package end in ``ModuleNotFoundError``.

    Returns:
        Whether mmengine's functions were replaced; False where ``pkg_resources`` exists or mmengine does not use it.
    """
    if 'pkg_resources' not in package_utils.is_installed.__code__.co_names:
        return False
    if importlib.util.find_spec('pkg_resources') is not None:
        return False
    replacements = {
        'is_installed': _is_installed,
        'package2module': _package2module,
        'get_installed_path': _get_installed_path,
    }
    users = ['mmengine.utils.package_utils', 'mmengine.utils', 'mmengine.config.config']
    users += ['mmengine.hub.hub'] if 'mmengine.hub.hub' in sys.modules else []
    for module in (importlib.import_module(user) for user in users):
        for name, function in replacements.items():
            if hasattr(module, name):
                setattr(module, name, function)
    return True


# S4 ---------------------------------------------------------------------------------------------------------------
def name_package() -> bool:
    """Let ``mmengine.hub.get_config('mmmtl::...')`` and bases of other packages' configs find this package's configs (S7)."""
    return MODULE2PACKAGE.setdefault('mmmtl', 'mmmtl') == 'mmmtl'


def _load_from_local(filename: str, map_location: Any) -> Any:
    """Read a checkpoint file for mmengine."""
    from mmmtl.utils.tensor_files import read_safetensors, read_torch  # not before the first checkpoint is read

    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{filename} can not be found.')
    if path.endswith('.safetensors'):
        state, meta = read_safetensors(path, str(map_location or 'cpu'))
        return {'state_dict': state, 'meta': meta}
    return read_torch(path, map_location)


def _load_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True) -> Any:
    """Read a checkpoint at an address for mmengine, once it is in torch's cache, where files have names of their own here.

    torch's own function runs what is pickled, and takes any earlier file of the same last name for this one.
    """
    from mmmtl.utils.seeding import stable_hash

    folder = Path(model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints'))
    path = folder / f'{stable_hash(url):016x}-{os.path.basename(urlparse(url).path)}'
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=progress)
    return _load_from_local(str(path), map_location)


def read_as_data() -> bool:
    """Let mmengine read checkpoints with the package's restricted reader (S4), those at addresses included.

    ``load_from``, ``resume`` and every ``init_cfg=dict(type='Pretrained')`` go through it. The configurations in a
    checkpoint's metadata are taken out, which mmengine runs as Python when it resumes.

    Returns:
        Whether anything was replaced; False on a second call.
    """
    from mmengine.runner import checkpoint

    CheckpointLoader = checkpoint.CheckpointLoader
    load = CheckpointLoader.load_checkpoint
    if getattr(load, 'as_data', False):
        return False
    CheckpointLoader.register_scheme(prefixes='', loader=_load_from_local, force=True)
    checkpoint.load_url = _load_url

    def load_checkpoint(cls: type, filename: str, map_location: Any = None, logger: Any = 'current') -> Any:
        from mmmtl.utils.tensor_files import without_programs

        return without_programs(load(filename, map_location, logger))

    load_checkpoint.as_data = True  # type: ignore[attr-defined]
    CheckpointLoader.load_checkpoint = classmethod(load_checkpoint)
    return True


# S6 ---------------------------------------------------------------------------------------------------------------
def replace_find_loader() -> bool:
    """Give mmengine ``pkgutil.find_loader``, which Python 3.14 removed, and without which no runner starts (S6).

    Returns:
        Whether it was put there; False where Python has it.
    """
    if hasattr(pkgutil, 'find_loader'):
        return False

    def find_loader(name: str) -> Any:
        """The loader of a module, or None where there is none."""
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # of the package that it would be in
            return None
        return None if spec is None else spec.loader

    pkgutil.find_loader = find_loader  # type: ignore[assignment, attr-defined]
    return True


# S3 ---------------------------------------------------------------------------------------------------------------
def _rank_from_launcher(launcher: str) -> None:
    """Set the environment variables of ``env://`` from those of slurm or Open MPI; torchrun sets them itself."""
    names = {
        'pytorch': {},
        'slurm': {'RANK': 'SLURM_PROCID', 'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'},
        'mpi': {
            'RANK': 'OMPI_COMM_WORLD_RANK',
            'WORLD_SIZE': 'OMPI_COMM_WORLD_SIZE',
            'LOCAL_RANK': 'OMPI_COMM_WORLD_LOCAL_RANK',
        },
    }
    if launcher not in names:
        raise ValueError(f"launcher={launcher!r}: must be 'none', 'pytorch', 'slurm' or 'mpi'")
    for name, source in names[launcher].items():
        if source not in os.environ:
            raise RuntimeError(
                f'launcher={launcher!r}: the environment variable {source} is not set; '
                f'start the command with {"srun" if launcher == "slurm" else "mpirun"}'
            )
        os.environ[name] = os.environ[source]
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        hosts = subprocess.run(
            ['scontrol', 'show', 'hostname', os.environ['SLURM_NODELIST']], check=True, capture_output=True, text=True
        )
        os.environ['MASTER_ADDR'] = hosts.stdout.split()[0]
    os.environ.setdefault('MASTER_PORT', '29500')
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise RuntimeError(
            f'launcher={launcher!r}: the environment variables {missing} are not set; start the '
            f'command with torchrun (tools/dist_train.sh, tools/dist_test.sh)'
        )


def init_cpu_dist(cfg: Any, launcher: str) -> bool:
    """Start a distributed run on gloo where there is no accelerator (S3). Call it before building the Runner.

    mmengine would set a CUDA device whatever the backend, and hand DistributedDataParallel a device id. Here the
    process group is started first, which mmengine respects, and ``cfg`` gets a wrapper without device ids.

    Args:
        cfg: The run's configuration; ``model_wrapper_cfg`` and ``sync_bn`` are changed in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Returns:
        Whether a process group was started; False without launcher, with an accelerator, or when one is running.

    Raises:
        ValueError: The launcher is unknown.
        RuntimeError: The launcher's environment variables are missing.
    """
    from mmengine.device import get_device

    if launcher == 'none' or get_device() != 'cpu':
        return False
    wrapper = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    wrapper['device_ids'] = None
    cfg['model_wrapper_cfg'] = wrapper
    if cfg.get('sync_bn') is not None:  # torch's needs a GPU; mmcv's needs compiled operators
        cfg['sync_bn'] = None
    if torch.distributed.is_initialized():
        return False
    _rank_from_launcher(launcher)
    timeout = (cfg.get('env_cfg') or {}).get('dist_cfg', {}).get('timeout')
    torch.distributed.init_process_group('gloo', timeout=None if timeout is None else timedelta(seconds=float(timeout)))
    return True


# S5 ---------------------------------------------------------------------------------------------------------------
class _MissingOps(types.ModuleType):
    """Stands in for ``mmcv._ext`` while ``mmcv.ops`` is imported; every operator raises when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)

        def operator(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError(
                f'the mmcv operator {name!r} is compiled code, and mmcv-lite has none. Install a full '
                f'mmcv (with operators, for your torch) in place of mmcv-lite to use it.'
            )

        return operator


def stub_mmcv_ops() -> bool:
    """Make ``import mmcv.ops`` work with mmcv-lite, which ships the Python half without the compiled one (S5).

    mmsegmentation imports ``mmcv.ops`` unguarded. The stand-in is taken out again afterwards, so that mmcv keeps
    reporting that it has no operators.

    Returns:
        Whether the stand-in was used; False with compiled operators, without mmcv, or when ``mmcv.ops`` is loaded.
    """
    if 'mmcv.ops' in sys.modules or importlib.util.find_spec('mmcv') is None:
        return False
    if importlib.util.find_spec('mmcv._ext') is not None:
        return False
    sys.modules['mmcv._ext'] = _MissingOps('mmcv._ext')
    try:
        importlib.import_module('mmcv.ops')
    finally:
        del sys.modules['mmcv._ext']
    return True


def enable_mmseg() -> None:
    """Make mmsegmentation importable; call it before the first ``import mmseg`` or ``type='mmseg.X'``.

    Raises:
        ImportError: mmsegmentation or mmcv is not installed; the message has the install line.
    """
    missing = [name for name in ('mmseg', 'mmcv') if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'{" and ".join(missing)} not found. Install them with '
            f"`pip install 'mmmtl[mmseg]'`, or 'mmsegmentation>=1.2.2,<1.3' 'mmcv-lite>=2.1.0,<2.2.0' ftfy regex."
        )
    stub_mmcv_ops()
