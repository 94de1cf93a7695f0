"""Shims: each does what it is for, does nothing where it is not needed, and opens no door."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.config import config as mmengine_config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import load_checkpoint
from mmengine.utils import package_utils

from mmmtl import compat
from mmmtl.errors import CheckpointError


class TestSafeGlobals:
    @pytest.fixture()
    def checkpoint(self, tmp_path):
        """A file with everything that mmengine's runner saves beside tensors."""
        hub = MessageHub.get_instance('compat')
        for step in range(3):
            hub.update_scalar('train/loss', 0.5 * step)
        hub.update_info('best', np.float64(0.25))
        hub.update_info('palette', np.arange(6, dtype=np.uint8).reshape(2, 3))
        path = tmp_path / 'iter_1.pth'
        torch.save(
            dict(state_dict=torch.nn.Linear(2, 2).state_dict(), meta=dict(iter=1), message_hub=hub.state_dict()), path
        )
        return path

    def test_mmengines_files_load_safely(self, checkpoint):
        loaded = torch.load(checkpoint, weights_only=True)
        buffer = loaded['message_hub']['log_scalars']['train/loss']
        assert isinstance(buffer, HistoryBuffer) and buffer.mean() == 0.5 and buffer.statistics('max') == 1.0
        info = loaded['message_hub']['runtime_info']
        assert info['best'] == 0.25 and info['palette'].tolist() == [[0, 1, 2], [3, 4, 5]]
        load_checkpoint(torch.nn.Linear(2, 2), str(checkpoint))

    def test_without_the_shim_they_do_not(self, checkpoint, root_dir):
        code = f'import torch, mmengine; torch.load({str(checkpoint)!r}, weights_only=True)'
        done = subprocess.run([sys.executable, '-c', code], cwd=root_dir, capture_output=True, text=True)
        assert 'HistoryBuffer was not an allowed global' in done.stderr

    def test_names_of_numpy_1(self, tmp_path):
        """The same file as numpy 1 would have written it."""
        path = tmp_path / 'old.pth'
        torch.save(dict(best=np.float64(0.25), palette=np.arange(3)), path, _use_new_zipfile_serialization=False)
        data = path.read_bytes().replace(b'numpy._core', b'numpy.core')
        assert data.count(b'numpy.core.multiarray') == 2
        path.write_bytes(data)
        loaded = torch.load(path, weights_only=True)
        assert loaded['best'] == 0.25 and loaded['palette'].tolist() == [0, 1, 2]

    @pytest.mark.parametrize('command', ['os.system', 'builtins.eval', 'builtins.exec', 'subprocess.Popen'])
    def test_a_malicious_pickle_does_not_run(self, tmp_path, command):
        """By torch and by mmengine's loader alike, which is the one that commands use."""
        module, name = command.rsplit('.', 1)
        function, mark = getattr(__import__(module), name), tmp_path / 'owned'
        argument = f'touch {mark}' if 'eval' not in name and 'exec' not in name else f'open({str(mark)!r}, "w").close()'

        class Malice:
            def __reduce__(self):
                return function, ((['touch', str(mark)] if name == 'Popen' else argument),)

        path = tmp_path / 'bad.pth'
        torch.save(dict(state_dict=dict(weight=torch.zeros(2)), extra=Malice()), path)
        for load in (torch.load, lambda p: load_checkpoint(torch.nn.Linear(2, 2), str(p))):
            with pytest.raises((pickle.UnpicklingError, CheckpointError), match='Weights only load failed|it names'):
                load(path)
        assert not mark.exists()

    def test_getattr_answers_for_histories_only(self, tmp_path):
        """A pickle that asks for an attribute of anything else, by way of the stand-in."""

        class Reach:
            def __reduce__(self):
                return getattr, (HistoryBuffer, '__init__')

        path = tmp_path / 'bad.pth'
        torch.save(Reach(), path)
        with pytest.raises((ValueError, pickle.UnpicklingError), match="'HistoryBuffer'.'__init__'"):
            torch.load(path)
        with pytest.raises(ValueError, match='was not written by mmengine'):
            compat._history_buffer_getattr(os, 'system')
        assert compat._history_buffer_getattr(HistoryBuffer, 'mean') is HistoryBuffer.mean

    def test_registered_once_and_absent_in_old_torch(self, monkeypatch):
        assert not compat.register_safe_globals()
        monkeypatch.delattr(torch.serialization, 'add_safe_globals')
        assert not compat.register_safe_globals()


class TestPackageLookups:
    def test_by_distribution_and_by_module(self):
        assert compat._is_installed('mmsegmentation') and compat._is_installed('mmseg')
        assert not compat._is_installed('no_such_package_here')
        assert compat._get_installed_path('mmsegmentation') == compat._get_installed_path('mmseg')
        assert os.path.isdir(os.path.join(compat._get_installed_path('mmsegmentation'), '.mim', 'configs'))
        assert compat._package2module('opencv-python') == 'cv2' and compat._package2module('mmcv-lite') == 'mmcv'

    def test_what_cannot_be_found(self, tmp_path, monkeypatch):
        with pytest.raises(ModuleNotFoundError, match='no_such_package_here'):
            compat._get_installed_path('no_such_package_here')
        (tmp_path / 'spacious').mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        assert not compat._is_installed('spacious')
        with pytest.raises(RuntimeError, match='spacious is a namespace package'):
            compat._get_installed_path('spacious')
        empty = types.SimpleNamespace(read_text=lambda name: None, files=[])
        monkeypatch.setattr('importlib.metadata.distribution', lambda name: empty)
        with pytest.raises(ValueError, match="which module the package 'empty' provides"):
            compat._package2module('empty')

    def test_a_base_config_of_another_package(self, tmp_path):
        """The use that fails without: a config that inherits from an installed package's."""
        path = tmp_path / 'mine.py'
        path.write_text("_base_ = 'mmseg::_base_/schedules/schedule_20k.py'\n")
        assert Config.fromfile(path).train_cfg.max_iters == 20000

    def test_replaces_only_where_needed(self, monkeypatch):
        def needs(package):
            import pkg_resources  # noqa: F401

        for name, module in (('is_installed', package_utils), ('is_installed', mmengine_config)):
            monkeypatch.setattr(module, name, needs)
        missing = types.SimpleNamespace(find_spec=lambda name: None)
        present = types.SimpleNamespace(find_spec=lambda name: object())
        monkeypatch.setattr(compat.importlib, 'util', present)
        assert not compat.replace_pkg_resources() and package_utils.is_installed is needs
        monkeypatch.setattr(compat.importlib, 'util', missing)
        assert compat.replace_pkg_resources() and mmengine_config.is_installed is compat._is_installed
        assert not compat.replace_pkg_resources()


class TestCpuDist:
    @pytest.fixture(autouse=True)
    def no_group(self, monkeypatch):
        """Record instead of connecting; ``test_engine`` runs two real processes."""
        self.started = []
        started = self.started
        monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend, **_: started.append(backend))
        monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: False)
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
            monkeypatch.setenv(name, 'x')  # so that it is put back
            monkeypatch.delenv(name)
        self.env = monkeypatch

    def environment(self, **values):
        for name, value in values.items():
            self.env.setenv(name, value)

    def test_pytorch(self):
        self.environment(RANK='0', WORLD_SIZE='2', MASTER_ADDR='localhost')
        cfg = Config(dict(sync_bn='torch', find_unused_parameters=True, model_wrapper_cfg=dict(static_graph=True)))
        assert compat.init_cpu_dist(cfg, 'pytorch') and self.started == ['gloo']
        assert cfg.model_wrapper_cfg == dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            static_graph=True,
            find_unused_parameters=True,
            broadcast_buffers=False,
        )
        assert cfg.sync_bn is None and os.environ['MASTER_PORT'] == '29500'

    def test_slurm(self, tmp_path):
        (tmp_path / 'scontrol').write_text('#!/bin/sh\necho node7\necho node8\n')
        (tmp_path / 'scontrol').chmod(0o755)
        self.environment(
            SLURM_PROCID='3',
            SLURM_NTASKS='4',
            SLURM_LOCALID='1',
            SLURM_NODELIST='node[7-8]',
            PATH=f'{tmp_path}:{os.environ["PATH"]}',
        )
        assert compat.init_cpu_dist({}, 'slurm')
        assert [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['3', '4', '1']
        assert os.environ['MASTER_ADDR'] == 'node7'

    def test_mpi(self):
        self.environment(
            OMPI_COMM_WORLD_RANK='1', OMPI_COMM_WORLD_SIZE='2', OMPI_COMM_WORLD_LOCAL_RANK='1', MASTER_ADDR='localhost'
        )
        assert compat.init_cpu_dist({}, 'mpi') and os.environ['RANK'] == '1'

    def test_nothing_to_do(self, monkeypatch):
        cfg = {}
        assert not compat.init_cpu_dist(cfg, 'none') and cfg == {}
        monkeypatch.setattr('mmengine.device.get_device', lambda: 'cuda')
        assert not compat.init_cpu_dist(cfg, 'pytorch') and cfg == {} and self.started == []
        monkeypatch.setattr('mmengine.device.get_device', lambda: 'cpu')
        monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: True)
        assert not compat.init_cpu_dist(cfg, 'pytorch') and cfg['model_wrapper_cfg']['device_ids'] is None

    @pytest.mark.parametrize(
        'launcher, message',
        [
            ('torchrun', "launcher='torchrun': must be 'none', 'pytorch', 'slurm' or 'mpi'"),
            ('pytorch', r"\['RANK', 'WORLD_SIZE', 'MASTER_ADDR'\] are not set; start the command with torchrun"),
            ('slurm', 'variable SLURM_PROCID is not set; start the command with srun'),
            ('mpi', 'variable OMPI_COMM_WORLD_RANK is not set; start the command with mpirun'),
        ],
    )
    def test_bad_environment(self, launcher, message):
        with pytest.raises((ValueError, RuntimeError), match=message):
            compat.init_cpu_dist({}, launcher)


MMSEG = """
import sys
import mmmtl
from mmmtl import compat
assert compat.stub_mmcv_ops() and not compat.stub_mmcv_ops()
assert 'mmcv._ext' not in sys.modules
from mmcv.utils import ext_loader
import mmseg.models, mmcv.ops, torch
from mmseg.registry import MODELS
assert MODELS.get('SwinTransformer') is mmseg.models.SwinTransformer
try:
    mmcv.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print(error)
try:
    import mmcv._ext
except ModuleNotFoundError as error:
    print(error)
"""


class TestMmcvOps:
    @pytest.mark.skipif(compat.importlib.util.find_spec('mmcv._ext') is not None, reason='a full mmcv is installed')
    def test_mmsegmentation_imports_and_operators_say_what_is_missing(self, root_dir):
        done = subprocess.run([sys.executable, '-c', MMSEG], cwd=root_dir, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "the mmcv operator 'nms' is compiled code, and mmcv-lite has none" in done.stdout
        assert "No module named 'mmcv._ext'" in done.stdout

    def test_does_nothing_with_compiled_operators_or_without_mmcv(self, monkeypatch):
        monkeypatch.delitem(sys.modules, 'mmcv.ops', raising=False)
        for found in ({'mmcv', 'mmcv._ext'}, set()):
            monkeypatch.setattr(
                compat.importlib,
                'util',
                types.SimpleNamespace(find_spec=lambda name, found=found: name in found or None),
            )
            assert not compat.stub_mmcv_ops()
        assert 'mmcv.ops' not in sys.modules

    def test_the_stand_in(self):
        stub = compat._MissingOps('mmcv._ext')
        assert callable(stub.anything) and not hasattr(stub, '__wrapped__')
        with pytest.raises(RuntimeError, match="operator 'roi_align'"):
            stub.roi_align(1, x=2)

    def test_missing_packages_come_with_the_install_line(self, monkeypatch):
        monkeypatch.setattr(compat.importlib, 'util', types.SimpleNamespace(find_spec=lambda name: None))
        with pytest.raises(ImportError, match='mmseg and mmcv not found. Install them with `pip install'):
            compat.enable_mmseg()
