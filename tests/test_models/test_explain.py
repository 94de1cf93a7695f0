"""What TaskDiffusion shows of its denoising is what it computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmtl.diffusion.noise import SampleNoise
from mmmtl.diffusion.schedules import cosine_log_snr, ddim_step
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.structures import Explanation, MTLDataSample

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=4), depth=dict(type='Depth'), normals=dict(type='SurfaceNormals')
)
BACKBONE = dict(
    type='TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=(32, 48),
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
    out_indices=(0, 1),
)


def build(**decoder):
    torch.manual_seed(0)
    decoder = {'type': 'TaskDiffusionDecoder', 'steps': 3, **decoder}
    model = MultiTaskModel(TASKS, BACKBONE, decoder, neck=dict(type='LevelProjection', channels=16))
    return model.eval()


def sample(name, padding=(0, 0, 0, 0)):
    return MTLDataSample(metainfo=dict(sample_id=name, padding=padding))


def test_explanations_hold_every_step_and_level():
    model = build()
    inputs = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    samples = [sample('a'), sample('b')]
    shown = model.explain(inputs, samples)
    assert len(shown) == 2
    by_name = {e.name: e for e in shown[0]}
    assert list(by_name) == ['cross_task_map', 'step_predictions', 'task_relation_level_1', 'task_relation_level_2']
    noisy, encoded = by_name['cross_task_map'].cells
    channels = model.decoder.label_encoder.channels
    assert [m.shape for m in noisy + encoded] == [(channels, 4, 6)] * 6
    assert np.abs(encoded).max() <= 0.01 + 1e-7  # bounded by the encoder's scale
    for k in range(2):  # a step's noisy map and the map of its predictions give the next step's noisy map
        log_snr = cosine_log_snr(torch.tensor(model.decoder.step_times[k : k + 1])).unbind(1)
        moved = ddim_step(torch.from_numpy(noisy[k])[None], torch.from_numpy(encoded[k])[None], *log_snr)[0]
        np.testing.assert_allclose(noisy[k + 1], moved.numpy(), atol=1e-6)
    raw = model(inputs, samples)
    last = by_name['step_predictions'].cells[0][-1]
    assert last.shape == (1, 16, 24)  # four times the grid
    large = torch.nn.functional.interpolate(torch.from_numpy(last)[None].float(), (32, 48))[0, 0].numpy()
    assert (large == raw['semseg'][0].argmax(0).numpy()).mean() > 0.8


def test_relation_masks_are_those_the_tasks_were_mixed_by():
    model = build()
    inputs = torch.randn(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    seen = []
    for interaction in model.decoder.denoiser.task_interaction:
        interaction.relation.register_forward_hook(lambda module, args, relation: seen.append(relation))
    explanations = model.explain(inputs, [sample('a')])[0]
    level = next(e for e in explanations if e.name == 'task_relation_level_2')
    assert level.rows == list(TASKS) and level.groups == [f'from {n}' for n in TASKS] and len(level.columns) == 3
    for step in range(3):
        mask = seen[2 * step + 1][0]  # two levels per step
        for target in range(3):
            for source in range(3):
                cell = level.cells[target][3 * source + step]
                np.testing.assert_array_equal(cell[0], mask[target, source].detach().numpy())
                assert 0 < cell.min() and cell.max() < 1


def test_without_mask_interaction_there_are_no_masks():
    explanations = build(denoiser=dict(interaction='concat')).explain(torch.zeros(1, 3, 32, 48), [sample('a')])[0]
    assert [e.name for e in explanations] == ['cross_task_map', 'step_predictions']


def test_padding_is_cut_off():
    shown = build().explain(torch.zeros(1, 3, 32, 48), [sample('a', (16, 0, 0, 8))])[0]
    assert shown[0].cells[0][0].shape[1:] == (3, 4)
    assert shown[1].cells[0][-1].shape[1:] == (12, 16)


def test_a_decoder_without_a_story_says_so():
    model = MultiTaskModel(
        TASKS,
        BACKBONE,
        dict(type='PlainDecoder', channels=8, num_blocks=1),
        neck=dict(type='LevelProjection', channels=16),
    )
    with pytest.raises(ConfigError, match='model.decoder: PlainDecoder cannot explain'):
        model.explain(torch.zeros(1, 3, 32, 48))


def test_an_explanation_refuses_holes():
    with pytest.raises(ValueError, match='2 rows of 2 maps'):
        Explanation('x', 'X', 'share', ['a', 'b'], ['1', '2'], [[0, 0], [0]])
    with pytest.raises(ValueError, match="kind must be one of .* got 'heat'"):
        Explanation('x', 'X', 'heat', ['a'], ['1'], [[0]])


def test_the_labels_cross_task_map_is_shown_where_there_are_labels():
    decoder = build().decoder
    feats = [torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    targets = {'depth': (torch.tensor([1]), torch.full((1, 1, 32, 48), 2.0))}
    with torch.no_grad():
        shown = decoder.explain(feats, SampleNoise(0, ['a', 'b']), (32, 48), targets)
        labels = decoder.label_encoder.encode_labels(targets, 2, (4, 6))
    maps = next(e for e in shown if e.name == 'label_map')
    assert torch.equal(maps.cells[0][0], labels)
    assert torch.equal(maps.cells[0][1], next(e for e in shown if e.name == 'cross_task_map').cells[1][-1])
    assert not torch.equal(labels[0], labels[1])  # one sample has a label, the other none
