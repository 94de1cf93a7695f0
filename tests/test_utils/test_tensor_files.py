"""Files from strangers are data: nothing in them runs, nothing in them is believed that can be checked."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader

from mmmtl.apis.checkpoint import config_differences, read_checkpoint, write_state
from mmmtl.errors import CheckpointError, ConfigError, FileError
from mmmtl.evaluation.metrics import Records, TaskMetric
from mmmtl.evaluation.metrics.records import ImageTable
from mmmtl.registry import METRICS, look_up
from mmmtl.utils.stored_config import config_to_json, read_stored_config
from mmmtl.utils.tensor_files import digest_error, read_arrays, read_published, read_torch, with_digest

PROGRAM = "import os\nos.mkdir({!r})\nmodel = dict(type='MultiTaskModel')\ngpu_ids = [0]\n"


def protocol_4(module: str, name: str, argument: str, protocol: int = 4) -> bytes:
    """A pickle that calls ``module.name(argument)``, the name with dots as protocol 4 resolves them."""

    def text(value: str) -> bytes:
        return pickle.SHORT_BINUNICODE + bytes([len(value)]) + value.encode()

    return b''.join(
        [pickle.PROTO, bytes([protocol]), text(module), text(name), b'\x93', text(argument), pickle.TUPLE1, b'R.']
    )


def torch_file(path, data: bytes):
    """A file of ``torch.save`` with another pickle in it."""
    torch.save(dict(a=1), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, data if name.endswith('data.pkl') else content)
    return path


READERS = [read_torch, read_published, read_arrays, lambda p: CheckpointLoader.load_checkpoint(str(p), 'cpu')]


@pytest.mark.parametrize('read', READERS, ids=['checkpoint', 'published', 'label map', 'mmengine'])
class TestReaders:
    @pytest.mark.parametrize(
        ('module', 'name'),
        [
            ('os', 'mkdir'),
            ('torch._utils', '_rebuild_tensor.__globals__'),
            ('torch._utils', '_rebuild_tensor_v2.__builtins__.eval'),
            ('torch', 'os.mkdir'),
            ('torch._utils', '_rebuild_xla_tensor'),
            ('numpy', 'os.mkdir'),
            ('collections', 'OrderedDict.__init__.__globals__'),
        ],
    )
    def test_only_exact_names_count(self, read, tmp_path, module, name):
        place = tmp_path / 'made'
        path = torch_file(tmp_path / 'a.pth', protocol_4(module, name, str(place)))
        with pytest.raises(ValueError):
            read(path)
        assert not place.exists()

    def test_torchscript_is_refused_before_torch_sees_it(self, read, tmp_path, monkeypatch):
        path = tmp_path / 'a.pth'
        with pytest.warns(FutureWarning):
            torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
        monkeypatch.setattr(torch.jit, 'load', lambda *args, **kwargs: pytest.fail('torch.jit.load was called'))
        with pytest.raises(ValueError, match='TorchScript'):
            read(path)

    def test_tar_archives_are_refused(self, read, tmp_path):
        path = tmp_path / 'a.pth'
        with tarfile.open(path, 'w') as archive:
            archive.add(__file__, 'storages')
        with pytest.raises(ValueError, match='tar archive'):
            read(path)

    def test_compressed_members_are_refused(self, read, tmp_path):
        path = tmp_path / 'a.pth'
        torch.save(dict(a=torch.zeros(1 << 16)), path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        with pytest.raises(ValueError, match='compressed'):
            read(path)


def test_a_pickle_cannot_change_a_function(tmp_path):
    """BUILD on a function would set its attributes, ``__defaults__`` among them."""
    state = pickle.dumps((None, {'__defaults__': (1, 2)}), 2)[2:-1]
    path = torch_file(tmp_path / 'a.pth', b'\x80\x02ctorch._utils\n_rebuild_tensor\n' + state + b'b.')
    before = torch._utils._rebuild_tensor.__defaults__
    for read in (read_published, read_arrays):
        with pytest.raises(ValueError):
            read(path)
    assert torch._utils._rebuild_tensor.__defaults__ == before


def test_a_tensor_cannot_claim_more_than_the_file_holds(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'weight': torch.zeros(1).expand(10**9)}}, path)
    for read in (read_checkpoint, read_published):
        with pytest.raises(CheckpointError, match=r"'weight' claims \(1000000000,\)"):
            read(str(path))


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_every_flipped_bit_of_a_published_file_is_seen_or_harmless(tmp_path, suffix):
    path, state = str(tmp_path / f'a{suffix}'), {'a': torch.arange(4.0), 'n': torch.tensor(3)}
    write_state(path, state, dict(cfg='{}'))
    data, rng, seen = bytearray(open(path, 'rb').read()), np.random.default_rng(0), 0
    for position in rng.choice(len(data) * 8, 300, replace=False).tolist():
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        (tmp_path / f'b{suffix}').write_bytes(flipped)
        try:
            found = read_checkpoint(str(tmp_path / f'b{suffix}'))
        except CheckpointError:
            seen += 1
            continue
        assert found['state_dict'].keys() == state.keys()
        assert all(torch.equal(found['state_dict'][k], v) for k, v in state.items())
    assert seen > 250


def test_a_digest_is_of_all_bytes(tmp_path):
    buffer = io.BytesIO()
    torch.save({'a': torch.zeros(3)}, buffer)
    data = b''.join(with_digest(buffer.getvalue()))
    path = tmp_path / 'a.pth'
    path.write_bytes(data)
    assert digest_error(path) is None and torch.load(path, weights_only=True)['a'].tolist() == [0, 0, 0]
    path.write_bytes(data.replace(b'\0\0\0\0', b'\0\0\0\1', 1))
    assert digest_error(path) == 'its bytes do not match its digest'
    with pytest.raises(CheckpointError, match='do not match its digest'):
        read_torch(path)


class TestStoredConfig:
    def test_round_trip(self):
        cfg = Config(dict(model=dict(type='A', sizes=(1, 2), kind=torch.nn.ReLU), x=[None, 1e-3]))
        stored = read_stored_config(config_to_json(cfg))
        assert stored['model'] == dict(type='A', sizes=[1, 2], kind=str(torch.nn.ReLU)) and stored['x'] == [None, 1e-3]

    def test_older_files_hold_literals(self):
        cfg = Config(dict(model=dict(type='A', sizes=(1, 2), inner={'a.b': [-1.5, True]}), s='x'))
        assert read_stored_config(cfg.pretty_text) == cfg.to_dict()

    @pytest.mark.parametrize(
        'text',
        [
            PROGRAM.format('x'),
            'model = dict(type=__import__("os").getcwd())',
            'a = [x for x in (1,)]',
            'a = dict(**{})' * 0 + 'a = open("x")',
            'a = ' + '(' * 5000 + ')' * 5000,
            'a = ' + '[' * 100000,
            '[' * 100000,
            '{"a": ' * 100000,
            7,
            None,
            '{',
            '{"a": 1' + ' ' * 5_000_000 + '}',
        ],
    )
    def test_anything_else_is_nothing(self, text):
        assert read_stored_config(text) == {}


@pytest.mark.parametrize('key', ['cfg', 'config'])
def test_a_checkpoints_metadata_are_never_run(tmp_path, key):
    place = tmp_path / 'made'
    text = PROGRAM.format(str(place))
    path = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict={'a': torch.zeros(1)}, meta={key: text, 'iter': 1}), path)
    network = torch.nn.Linear(1, 1)
    network.cfg = Config(dict(model=dict(type='B')))
    assert config_differences(read_checkpoint(path), network) == []
    seen = CheckpointLoader.load_checkpoint(path, 'cpu')
    assert seen['meta'] == {'iter': 1}, 'mmengine would run it when it resumes'
    assert not place.exists()


class TestNamedTypes:
    def test_only_registered_classes_of_the_kind(self):
        assert look_up(METRICS, 'mmmtl.DepthError', TaskMetric) is look_up(METRICS, 'DepthError', TaskMetric)
        for name in ('os.system', 'subprocess.Popen', 'mmengine.evaluator.BaseMetric', 'MultiTaskMetric', None, ['x']):
            with pytest.raises(FileError, match='it names the type'):
                look_up(METRICS, name, TaskMetric)

    @pytest.mark.parametrize('kind', ['subprocess.Popen', 'pathlib.Path', 'MultiTaskMetric', 3])
    def test_records_name_metrics_alone(self, tmp_path, kind):
        records = Records({('depth', 0): ImageTable(['a'], {'n': np.ones(1)})}, {'depth': [dict(type=kind)]})
        records.save(str(tmp_path / 'records.npz'))
        with pytest.raises(ConfigError, match='it names the type'):
            Records.load(str(tmp_path / 'records.npz'))

    def test_their_arguments_name_none(self, tmp_path):
        config = dict(type='DepthError', max_depth=dict(type='os.system'))
        records = Records({('depth', 0): ImageTable(['a'], {'n': np.ones(1)})}, {'depth': [config]})
        records.save(str(tmp_path / 'records.npz'))
        with pytest.raises(ConfigError, match='name a type'):
            Records.load(str(tmp_path / 'records.npz'))


def test_object_arrays_stay_closed(tmp_path):
    place = tmp_path / 'made'

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(place),)

    np.save(tmp_path / 'a.npy', np.array({'depth': [Malice()]}, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match='it names'):
        read_arrays(tmp_path / 'a.npy')
    assert not place.exists()
    np.save(tmp_path / 'b.npy', np.array({'depth': ['x']}, dtype=object), allow_pickle=True)
    assert read_arrays(tmp_path / 'b.npy') == {'depth': ['x']}
    (tmp_path / 'c.json').write_text(json.dumps('x'))
