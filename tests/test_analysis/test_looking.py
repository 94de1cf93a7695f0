"""Looking at configs and data, publishing weights, and plug-ins that do not work."""

from __future__ import annotations

import cv2
import pytest
import torch

from mmmtl.analysis import browse_dataset
from mmmtl.apis import init_model, publish_model
from mmmtl.apis.checkpoint import read_checkpoint
from mmmtl.config import config_with_sources, load_config
from mmmtl.errors import CheckpointError, ConfigError, LabelError
from mmmtl.registry import register_all_modules
from mmmtl.utils.command import plain_message, run_command


def lines_of(path, text):
    return [i for i, line in enumerate(open(path).read().splitlines(), 1) if text in line]


def test_every_value_has_the_line_it_is_written_in(tiny_config, tmp_path):
    rows = {path: (value, source) for path, value, source in config_with_sources(tiny_config)}
    for path, file, text in (
        ('tasks.depth.max_depth', 'tasks.py', 'max_depth'),
        ('max_iters', 'tiny.py', 'max_iters = 4'),
        ('optim_wrapper.optimizer.lr', 'tiny.py', 'AdamW'),
        ('size', 'data.py', 'size = (32'),
    ):
        assert rows[path][1].endswith(f'{file}:{lines_of(tmp_path / file, text)[0]}')
    assert rows['train_cfg.max_iters'] == ('4', rows['train_cfg.max_iters'][1])
    assert rows['train_cfg.max_iters'][1].endswith('← max_iters')
    assert rows['model.tasks'][0] == '= tasks' and rows['train_dataloader.dataset.pipeline'][0] == '= train_pipeline'


def test_options_are_a_source_too(tiny_config):
    rows = {p: s for p, _, s in config_with_sources(tiny_config, {'max_iters': 9, 'model.decoder.head_kernel': 3})}
    assert rows['max_iters'] == rows['model.decoder.head_kernel'] == '--cfg-options'
    assert rows['train_cfg.val_interval'].startswith('--cfg-options, by way of')
    assert not rows['optim_wrapper.type'].startswith('--cfg-options')
    rows = {p: s for p, _, s in config_with_sources(tiny_config, {'model.decoder': {'head_kernel': 3}})}
    assert rows['model.decoder.head_kernel'] == '--cfg-options' != rows['model.decoder.channels']


def test_a_value_of_a_child_file_hides_that_of_its_base(tmp_path):
    (tmp_path / 'base.py').write_text('a = dict(x=1, y=2)\n')
    (tmp_path / 'child.py').write_text("_base_ = 'base.py'\na = dict(y=3)\n")
    rows = {p: (v, s.split('/')[-1]) for p, v, s in config_with_sources(tmp_path / 'child.py')}
    assert rows == {'a.x': ('1', 'base.py:1'), 'a.y': ('3', 'child.py:2')}


def test_browsing_draws_samples_after_augmentation(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    paths = browse_dataset(cfg, str(tmp_path / 'out'), number=2, draws=2)
    assert len(paths) == 4 and all(cv2.imread(p) is not None for p in paths)
    assert len(browse_dataset(cfg, str(tmp_path / 'val'), split='val', number=None)) == 3
    with pytest.raises(ConfigError, match='the dataset has 6 samples'):
        browse_dataset(cfg, str(tmp_path), start=6)
    cfg.test_dataloader = None
    with pytest.raises(ConfigError, match='no test_dataloader'):
        browse_dataset(cfg, str(tmp_path), split='test')


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_published_weights_predict_the_same(trained, tmp_path, suffix):
    path = publish_model(str(trained / 'iter_4.pth'), str(tmp_path / f'net{suffix}'))
    assert path.startswith(str(tmp_path / 'net-')) and path.endswith(suffix)
    config = trained.parent / 'tiny.py'
    ours, theirs = (init_model(config, str(p)).state_dict() for p in (path, trained / 'iter_4.pth'))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    content = read_checkpoint(path)
    assert 'MultiTaskModel' in content['meta']['cfg'] and 'optimizer' not in content
    assert (
        publish_model(str(trained / 'iter_4.pth'), str(tmp_path / f'net{suffix}')) == path
    )  # the name is the weights' hash
    assert publish_model(str(trained / 'iter_2.pth'), str(tmp_path / f'net{suffix}')) != path


def test_auxiliary_heads_can_be_left_out(root_dir, tmp_path):
    options = {
        'model.backbone.embed_dim': 24,
        'model.backbone.depth': 4,
        'model.backbone.num_heads': 2,
        'model.backbone.pretrained': False,
        'model.neck.channels': 12,
        'crop_size': (32, 32),
    }
    cfg = load_config(root_dir / 'configs/taskdiffusion/vitl_pascal.py', options)
    model = init_model(cfg)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text)), tmp_path / 'a.pth')
    path = publish_model(str(tmp_path / 'a.pth'), str(tmp_path / 'b.safetensors'), drop_aux=True)
    published = read_checkpoint(path)['state_dict']
    assert not any(k.startswith('decoder.aux_heads.') for k in published)
    assert {k for k in model.state_dict() if not k.startswith('decoder.aux_heads.')} == set(published)
    init_model(cfg, path)


def test_what_cannot_be_published(trained, tmp_path):
    with pytest.raises(ConfigError, match=r'\.safetensors or \.pth'):
        publish_model(str(trained / 'iter_4.pth'), str(tmp_path / 'net.bin'))
    torch.save({'state_dict': {}}, tmp_path / 'empty.pth')
    with pytest.raises(CheckpointError, match='has no state dict'):
        publish_model(str(tmp_path / 'empty.pth'), str(tmp_path / 'net.pth'))
    torch.save({'state_dict': {'weight': torch.ones(1)}}, tmp_path / 'bare.pth')
    with pytest.raises(CheckpointError, match='without --drop-aux'):
        publish_model(str(tmp_path / 'bare.pth'), str(tmp_path / 'net.pth'), drop_aux=True)


def test_a_broken_plugin_is_left_out_with_a_warning(tmp_path, monkeypatch):
    info = tmp_path / 'broken_plugin-1.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1\n')
    (info / 'entry_points.txt').write_text('[mmmtl.plugins]\nbroken = broken_plugin\n')
    (tmp_path / 'broken_plugin.py').write_text('raise RuntimeError("half installed")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.warns(UserWarning, match=r"plug-in 'broken' \(broken_plugin\).*RuntimeError: half installed"):
        assert 'broken_plugin' not in register_all_modules()


def test_a_mistake_ends_a_command_with_one_line(capsys, monkeypatch):
    def fail():
        raise ConfigError('model.decoder: no')

    with pytest.raises(SystemExit) as end:
        run_command(fail)
    assert end.value.code == 1 and capsys.readouterr().err.strip() == 'error: model.decoder: no'
    monkeypatch.setenv('MMMTL_TRACEBACK', '1')
    with pytest.raises(ConfigError):
        run_command(fail)
    with pytest.raises(ZeroDivisionError):
        run_command(lambda: 1 / 0)
    assert run_command(lambda: 3) == 3


def test_a_mistake_found_by_a_worker_loses_its_traceback():
    wrapped = LabelError(
        'Caught LabelError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n'
        '  File "x.py", line 1\nmmmtl.tasks.base.LabelError: a.png: expects depth\nin metres\n'
    )
    assert plain_message(wrapped) == 'a.png: expects depth\nin metres'
    assert plain_message(LabelError('plain')) == 'plain'
