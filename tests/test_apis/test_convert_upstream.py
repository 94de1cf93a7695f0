"""Published checkpoints: read without running them, converted strictly, refused with the nearest config."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
import torch

from benchmarks.reference.taskdiffusion import ReferenceTaskDiffusion, randomize
from mmmtl.apis import convert as upstream
from mmmtl.apis import init_model
from mmmtl.errors import CheckpointError, ConfigError
from tests.parity.record_taskdiffusion import NYUD, small_setting

SMALL = """
tasks = dict(
    semseg=dict(type='SemanticSegmentation', classes={classes}), depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'), boundary=dict(type='Boundary'))
model = dict(
    type='MultiTaskModel', tasks=tasks,
    backbone=dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=(32, 48), embed_dim=24, depth=4,
                  num_heads=3),
    neck=dict(type='LevelProjection', channels=8), decoder=dict(type='TaskDiffusionDecoder'))
"""


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def published(tmp_path):
    """A reference network, and its checkpoint as published code writes it."""
    model = ReferenceTaskDiffusion(small_setting(NYUD))
    randomize(model, 3)
    state = {f'module.{k}': v for k, v in model.state_dict().items()}
    content = dict(
        epoch=1,
        iter_count=9,
        model=state,
        optimizer={'state': {0: Hostile(tmp_path / 'ran')}, 'lr': 1e-5},
        scheduler={'lambda': Hostile(tmp_path / 'ran')},
    )
    torch.save(content, tmp_path / 'checkpoint.pth.tar')
    return model.eval(), tmp_path / 'checkpoint.pth.tar'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(SMALL.format(classes=6))
    return path


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_converted_file_predicts_as_published(published, config, tmp_path, ending):
    model, source = published
    target = tmp_path / f'out/converted{ending}'
    done = upstream.convert_checkpoint('taskdiffusion', str(source), str(target), str(config))
    assert not (tmp_path / 'ran').exists()
    assert done.dropped == ['module.backbone.pos_embed[:, 0]']
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    ours = init_model(str(config), str(target))
    generator = torch.Generator().manual_seed(0)
    image, start = (torch.randn(2, 3, 32, 48, generator=generator), torch.randn(2, 8, 2, 3, generator=generator))
    model.s.draws = [start]
    with torch.no_grad():
        expected, found = model.predict(image), ours(image, noise={'start': start})
    for published_name, own in (('semseg', 'semseg'), ('depth', 'depth'), ('normals', 'normals'), ('edge', 'boundary')):
        scale = expected[published_name].abs().max()
        assert (found[own] - expected[published_name]).abs().max() < 1e-5 * scale


def test_another_network_is_refused_with_what_differs(published, tmp_path):
    _, source = published
    other = tmp_path / 'other.py'
    other.write_text(SMALL.format(classes=7))
    with pytest.raises(CheckpointError, match=r'(?s)other\.py.*of another shape.*decoder\.branches\.semseg\.head'):
        upstream.convert_checkpoint('taskdiffusion', str(source), str(tmp_path / 'x.pth'), str(other))
    assert not (tmp_path / 'x.pth').exists()


def test_mistakes_are_named(published, config, tmp_path):
    _, source = published
    with pytest.raises(ConfigError, match="Did you mean 'taskdiffusion'"):
        upstream.convert_checkpoint('taskdifusion', str(source), str(tmp_path / 'x.pth'))
    with pytest.raises(ConfigError, match=r'\.pth or \.safetensors'):
        upstream.convert_checkpoint('taskdiffusion', str(source), str(tmp_path / 'x.bin'), str(config))
    with pytest.raises(CheckpointError, match='does not exist'):
        upstream.convert_checkpoint('taskdiffusion', str(tmp_path / 'no.pth'), str(tmp_path / 'x.pth'), str(config))
    (tmp_path / 'broken.pth').write_bytes(b'no checkpoint')
    with pytest.raises(CheckpointError, match="can't be read"):
        upstream.convert_checkpoint('taskdiffusion', str(tmp_path / 'broken.pth'), str(tmp_path / 'x.pth'), str(config))
    torch.save({'epoch': 3}, tmp_path / 'empty.pth')
    with pytest.raises(CheckpointError, match=r"holds \['epoch'\]"):
        upstream.convert_checkpoint('taskdiffusion', str(tmp_path / 'empty.pth'), str(tmp_path / 'x.pth'), str(config))


def test_command(published, config, tmp_path, root_dir):
    _, source = published
    command = [
        sys.executable,
        str(root_dir / 'tools/model_converters/convert_upstream.py'),
        'taskdiffusion',
        str(source),
    ]
    done = subprocess.run([*command, str(tmp_path / 'c.pth'), '--config', str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'dropped: module.backbone.pos_embed' in done.stdout


RELEASED = {
    'nyud_vitL': ('vitl_nyud.py', 687.206),
    'nyud_vitL_mlore': ('vitl_nyud_mlore.py', 740.386),
    'pascal_vitB': ('vitb_pascal.py', 347.173),
    'pascal_vitL': ('vitl_pascal.py', 416.308),
    'pascal_vitL_mlore': ('vitl_pascal_mlore.py', 472.175),
}


@pytest.mark.parametrize('name', RELEASED)
def test_released_checkpoints_find_their_config(shared_dir, name):
    state = {}
    for line in (shared_dir / 'golden/keys' / f'taskdiffusion_keys_{name}.txt').read_text().splitlines():
        key, shape = line.split(' ', 1)
        kind = torch.int64 if key.endswith('num_batches_tracked') else torch.float32
        state[f'module.{key}'] = torch.zeros((), dtype=kind).expand(ast.literal_eval(shape))
    done = upstream.convert_state('taskdiffusion', state)
    config, millions = RELEASED[name]
    assert done.config.endswith(f'taskdiffusion/{config}')
    main = sum(v.numel() for k, v in done.state.items() if '.aux_heads.' not in k and v.is_floating_point())
    statistics = sum(v.numel() for k, v in done.state.items() if '.running_' in k and '.aux_heads.' not in k)
    # the published count includes the position of a class token
    assert (main - statistics) / 1e6 == pytest.approx(millions, abs=0.0025)
