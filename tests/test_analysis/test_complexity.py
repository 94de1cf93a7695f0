"""Parameters and multiply-accumulates against sums done by hand, and against the published size."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mmmtl.analysis import count_complexity
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.models.sizes import input_size


def test_counts_of_a_small_network_are_those_done_by_hand(tiny_config):
    counts = count_complexity(load_config(tiny_config))
    tokens, width, hidden, heads = 16, 24, 96, 2  # 32 x 32 pixels in patches of 8
    patches = tokens * width * 3 * 8 * 8
    block = tokens * (width * 3 * width + width * width + 2 * width * hidden)
    attention = heads * tokens * tokens * 2 * (width // heads)
    assert counts.parts['backbone'].layers == patches + 2 * block
    assert counts.parts['backbone'].products == 2 * attention
    assert counts.parts['neck'].layers == 2 * tokens * width * 12
    assert counts.parts['decoder.mix'].layers == tokens * 24 * 12
    assert counts.parts['decoder.branches'].layers == 3 * 2 * tokens * 12 * 12 * 9
    assert counts.parts['decoder.heads'].layers == tokens * 12 * (8 + 1 + 1)
    assert counts.total().parameters == sum(p.numel() for p in build(tiny_config).parameters())


def build(path):
    from mmmtl.apis import init_model

    return init_model(path)


def test_the_published_size_is_reached(root_dir):
    counts = count_complexity(load_config(root_dir / 'configs/taskdiffusion/vitl_pascal.py'))
    whole = counts.total()
    assert counts.size == (512, 512)
    assert round((whole.parameters - whole.auxiliary) / 1e6, 2) == 416.31  # Table 1 of the paper
    assert round(whole.parameters / 1e6, 1) == 445.4
    tokens, width = 32 * 32, 1024
    by_hand = tokens * width * 3 * 16 * 16 + 24 * tokens * 12 * width * width
    assert counts.parts['backbone'].layers == by_hand
    assert counts.parts['backbone'].products == 24 * 2 * tokens * tokens * width
    table = counts.table()
    assert '416.31 M without auxiliary heads, 445.41 M with (416,307,032 and 445,413,602)' in table
    assert all(part in table for part in ('backbone', 'neck', 'decoder.conditions', 'decoder.denoiser'))


def test_counts_scale_with_the_input(tiny_config):
    cfg = load_config(tiny_config)
    small, large = count_complexity(cfg, (32, 32)), count_complexity(cfg, (64, 32))
    assert large.parts['neck'].layers == 2 * small.parts['neck'].layers
    assert large.parts['backbone'].products == 4 * small.parts['backbone'].products


def test_a_network_that_looks_at_its_numbers_is_counted_with_real_ones(tiny_config):
    from mmmtl.models.baselines import PlainDecoder
    from mmmtl.registry import MODELS

    @MODELS.register_module(force=True)
    class LookingDecoder(PlainDecoder):
        def predict(self, feats, noise, size):
            if feats[0].sum().item() > 1e9:
                return {}
            return super().predict(feats, noise, size)

    cfg = load_config(tiny_config)
    plain = count_complexity(cfg)
    cfg.model.decoder.type = 'LookingDecoder'
    looked = count_complexity(cfg)
    assert {n: p.layers for n, p in looked.parts.items()} == {n: p.layers for n, p in plain.parts.items()}
    MODELS.module_dict.pop('LookingDecoder')


def test_the_input_size_is_the_configs(tiny_config, root_dir):
    assert input_size(load_config(root_dir / 'configs/taskdiffusion/vitl_nyud.py')) == (448, 576)
    cfg = load_config(tiny_config)
    assert input_size(cfg) == (32, 32)
    cfg.model.backbone.pop('img_size')
    assert input_size(cfg) == (32, 32)  # the dataset's
    cfg.test_dataloader = cfg.val_dataloader = None
    with pytest.raises(ConfigError, match='--shape HEIGHT WIDTH'):
        input_size(cfg)


def test_no_weights_are_left_behind_on_the_meta_device(tiny_config):
    count_complexity(load_config(tiny_config))
    assert torch.zeros(1).device.type == 'cpu'


def test_kernels_of_a_processor_do_not_change_the_count():
    from mmmtl.analysis.complexity import Complexity, _multiply_accumulates, _parameters
    from mmmtl.ops.dispatch import KERNELS, forced_operations
    from tests.test_models.test_every_method import network

    model, found = network('taskdiffusion', ('semseg', 'depth')).eval(), []
    for kernels in ((), KERNELS):
        counts = Complexity((64, 128), _parameters(model))
        with forced_operations(kernels):
            _multiply_accumulates(model, counts)
        found.append({name: (part.layers, part.products) for name, part in counts.parts.items()})
    with torch.device('meta'):
        model = network('taskdiffusion', ('semseg', 'depth')).eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _multiply_accumulates(model.to_empty(device='cpu'), counts)
    assert found[0] == found[1] == {name: (part.layers, part.products) for name, part in counts.parts.items()}


D = 'model.decoder.'
ALL = ['semseg', 'human_parts', 'saliency', 'normals', 'boundary']
VIT_B = 'configs/taskdiffusion/vitb_pascal.py'
ROWS = {
    'baseline': ('configs/baselines/vitb_pascal.py', {}),
    'TaskDiffusion': (VIT_B, {}),
    'single task (normals)': (VIT_B, {'only_tasks': ['normals']}),
    'cross-task diffusion decoder': (VIT_B, {D + 'label_encoder.separate': ALL}),
    'interaction by cross-attention': (VIT_B, {D + 'denoiser.interaction': 'cross_attention'}),
    'interaction by concatenation': (VIT_B, {D + 'denoiser.interaction': 'concat'}),
    'without level interaction': (VIT_B, {D + 'denoiser.level_interaction': False}),
    'task-specific diffusion decoder': (
        VIT_B,
        {D + 'denoiser.type': 'TaskSpecificDenoiser', D + 'aux': None, D + 'label_encoder.separate': ALL},
    ),
}
QUICK = ('baseline', 'single task (normals)')


@pytest.mark.parametrize('row', [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ROWS])
def test_the_page_gives_the_counts_of_the_command(row, root_dir):
    line = next(x for x in (root_dir / 'docs/taskdiffusion.md').read_text().splitlines() if x.startswith(f'| {row} |'))
    path, options = ROWS[row]
    whole = count_complexity(load_config(root_dir / path, options)).total()
    parameters, operations = (whole.parameters - whole.auxiliary) / 1e6, (whole.layers + whole.products) / 1e9
    assert f'| {parameters:.2f} M | {operations:.1f} G' in line


@pytest.mark.slow
def test_the_page_gives_the_counts_of_other_numbers_of_steps(root_dir):
    found = []
    for steps in (1, 3, 5):
        options = {'model.neck.channels': 528, D + 'steps': steps}
        whole = count_complexity(load_config(root_dir / VIT_B, options)).total()
        found.append(f'{(whole.layers + whole.products) / 1e9:.1f}')
    parameters = f'{(whole.parameters - whole.auxiliary) / 1e6:.2f}'
    row = f'| the same, E = 528; 1, 3, 5 steps | {parameters} M | {", ".join(found)} G (published'
    assert row in (root_dir / 'docs/taskdiffusion.md').read_text()
