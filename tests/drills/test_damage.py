"""Flipped bits and fuzzed headers: seen, or harmless, and never a crash without a message."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmtl.apis.checkpoint import read_checkpoint, write_state
from mmmtl.datasets.io.arrays import read_flo, read_hdf5, read_npy
from mmmtl.datasets.io.exr import read_exr
from mmmtl.datasets.io.matlab import read_mat
from mmmtl.datasets.io.pictures import read_image
from mmmtl.datasets.label_samplers import read_label_map
from mmmtl.engine.checkpoint_files import AtomicLocalBackend, why_not_resumable
from mmmtl.evaluation.metrics.references import read_metrics
from mmmtl.utils.files import write_png
from tests.drills.processes import fork, wait

TRIES = 200


def test_flipped_bits(tmp_path, drill):
    """600 single bits of a checkpoint of a run."""
    content = dict(
        state_dict={'w': torch.arange(300.0), 'running_mean': torch.ones(7)},
        optimizer=dict(state={0: dict(step=3)}),
        meta=dict(iter=3, epoch=0, cfg='{}'),
        message_hub=dict(log_scalars={}, runtime_info=dict(iter=3), resumed_keys={}),
    )
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path, flipped = tmp_path / 'a.pth', tmp_path / 'b.pth'
    AtomicLocalBackend().put(buffer.getvalue(), str(path))
    data = path.read_bytes()
    for position in np.random.default_rng(0).choice(len(data) * 8, 600, replace=False).tolist():
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        flipped.write_bytes(changed)
        seen = why_not_resumable(flipped) is not None
        if not seen:
            found = torch.load(flipped, weights_only=True)
            seen = repr(found) == repr(content)
        drill('a flipped bit is seen or harmless', seen)


def image(path: Path) -> None:
    write_png(path, np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def mat(path: Path) -> None:
    from scipy.io import savemat

    savemat(path, {'a': np.arange(12.0).reshape(3, 4)})


def exr(path: Path) -> None:
    openexr = pytest.importorskip('OpenEXR')
    header = {'compression': openexr.ZIP_COMPRESSION, 'type': openexr.scanlineimage}
    openexr.File(header, {'RGB': np.ones((4, 5, 3), np.float32)}).write(str(path))


def hdf5(path: Path) -> None:
    h5py = pytest.importorskip('h5py')
    with h5py.File(path, 'w') as file:
        file['dataset'] = np.arange(12.0).reshape(3, 4)


def weights(path: Path) -> None:
    write_state(str(path), {'w': torch.arange(6.0)}, {'cfg': '{}'})


READERS = {
    'PNG': ('a.png', image, read_image),
    'NPY': ('a.npy', lambda path: np.save(path, np.arange(12.0)), read_npy),
    'MAT': ('a.mat', mat, lambda path: read_mat(path, 'a')),
    'EXR': ('a.exr', exr, read_exr),
    'HDF5': ('a.hdf5', hdf5, read_hdf5),
    'FLO': (
        'a.flo',
        lambda path: path.write_bytes(b'PIEH' + struct.pack('<ii', 2, 3) + np.ones(12, np.float32).tobytes()),
        read_flo,
    ),
    'safetensors': ('a.safetensors', weights, lambda path: read_checkpoint(str(path))),
    'pth': (
        'a.pth',
        lambda path: torch.save({'state_dict': {'w': torch.arange(6.0)}}, path),
        lambda p: read_checkpoint(str(p)),
    ),
    'JSON': (
        'a.json',
        lambda path: path.write_text(json.dumps({'depth/RMSE': 1.5})),
        lambda path: read_metrics(str(path)),
    ),
    'CSV': ('a.csv', lambda path: path.write_text('sample_id,depth\na,1\nb,0\n'), read_label_map),
}


def read_fuzzed(name: str, folder: Path) -> None:
    """Read one file over and over, each time with other bytes in its first 512; note what comes of each."""
    file, write, read = READERS[name]
    path = folder / file
    write(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    read(path)
    notes = (folder / 'notes').open('w')
    for _ in range(TRIES):
        changed = bytearray(data)
        for position in rng.integers(0, min(512, len(data)), rng.integers(1, 9)).tolist():
            changed[position] = int(rng.choice([0, 0xFF, 0x7F, 0x80, rng.integers(256)]))
        path.write_bytes(changed[: rng.integers(1, len(data))] if rng.random() < 0.2 else changed)
        try:
            read(path)
            outcome = 'read'
        except (ValueError, OSError) as error:
            outcome = 'told' if str(error) else 'without a word'
        except BaseException as error:
            outcome = f'{type(error).__name__}: {error}'.replace('\n', ' ')[:200]
        print(outcome, file=notes, flush=True)


@pytest.mark.parametrize('name', READERS)
def test_fuzzed_headers(tmp_path, drill, name):
    READERS[name][1](tmp_path / READERS[name][0])  # a missing library skips the test here
    pid = fork(read_fuzzed, name, tmp_path)
    status = wait(pid, 300)
    outcomes = (tmp_path / 'notes').read_text().splitlines()
    for outcome in outcomes:
        drill(f'fuzzed header, {name}', outcome in ('read', 'told'))
    assert status == 0 and len(outcomes) == TRIES, f'status {status} after {len(outcomes)} files: a crash'
    assert 'told' in outcomes, 'nothing was found to be wrong'
    assert not [outcome for outcome in outcomes if outcome not in ('read', 'told')], set(outcomes)
