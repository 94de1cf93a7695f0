"""Checkpoints in parts: every process writes the shards it holds, any number of processes reads them.

A checkpoint is a folder in the layout of ``torch.distributed.checkpoint`` with tensors alone, ``rest.pth`` with
everything else, and ``digests.json``. It is written beside its place and renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from mmengine.dist import all_gather_object, barrier, get_rank, is_main_process
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader

from mmmtl.engine.checkpoint_files import DIGESTS, REST, file_digest
from mmmtl.engine.fully_shard import MODEL
from mmmtl.errors import CheckpointError
from mmmtl.utils.files import PARTIAL, write_atomically, write_json
from mmmtl.utils.tensor_files import read_shard_table, read_torch, with_digest


class _Reader(FileSystemReader):
    """Reads the table of a checkpoint's tensors without running what is in it."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        table = read_shard_table(Path(self.path) / '.metadata')
        if getattr(table, 'storage_meta', None) is not None:
            table.storage_meta.load_id = self.load_id
        return table


def save_shards(folder: str | os.PathLike, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Write a checkpoint; every process calls this.

    Args:
        folder: Its place; what is there is replaced when all is written.
        tensors: ``{name: tensor or DTensor}``, of which every process holds its shards.
        rest: Everything else, of the first process; must load with ``weights_only=True``.
    """
    place = Path(folder)
    partial = place.with_name(f'.{place.name}{PARTIAL}')
    if is_main_process():
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    barrier()
    dcp.save(dict(tensors), checkpoint_id=str(partial))
    own = {path.name: file_digest(path) for path in partial.glob(f'__{get_rank()}_*')}
    gathered = all_gather_object(own)
    if is_main_process():
        import io

        buffer = io.BytesIO()
        torch.save(dict(rest), buffer)
        write_atomically(partial / REST, with_digest(buffer.getvalue()))
        digests = {name: digest for part in gathered for name, digest in part.items()}
        digests.update({name: file_digest(partial / name) for name in ('.metadata', REST)})
        write_json(partial / DIGESTS, digests)
        old = place.with_name(f'.{place.name}.old{PARTIAL}')
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        partial.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    barrier()


def load_shards(folder: str | os.PathLike, tensors: dict[str, Any]) -> None:
    """Fill tensors of any sharding from a checkpoint, in place.

    Raises:
        CheckpointError: The folder does not hold them.
    """
    try:
        dcp.load(tensors, storage_reader=_Reader(str(folder)))
    except CheckpointError:
        raise
    except Exception as error:  # torch wraps what went wrong in every process into an error of its own
        raise CheckpointError(
            f'checkpoint {folder} does not hold the tensors of this run: {str(error)[:400]}'
        ) from error


def read_rest(folder: str | os.PathLike) -> dict[str, Any]:
    """What a checkpoint holds besides tensors."""
    return read_torch(Path(folder) / REST)


def read_whole(folder: str | os.PathLike) -> dict[str, Any]:
    """The weights of a checkpoint in parts, put together in one process, with everything but the optimiser's state.

    Returns:
        ``state_dict`` and what a checkpoint in one file has besides.

    Raises:
        CheckpointError: No such checkpoint, or a damaged one.
    """
    table = read_shard_table(Path(folder) / '.metadata').state_dict_metadata
    state = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in table.items()
        if name.startswith(MODEL)
    }
    try:
        dcp.load(state, storage_reader=_Reader(str(folder)), no_dist=True)
    except Exception as error:
        raise CheckpointError(f"checkpoint '{folder}' can't be read: {str(error)[:300]}") from error
    rest = {key: value for key, value in read_rest(folder).items() if key != 'optimizer_numbers'}
    return {**rest, 'state_dict': {name[len(MODEL) :]: value for name, value in state.items()}}
