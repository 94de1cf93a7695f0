"""The catalogue exports: every kind of backbone and decoder is traced for any number of images, ONNX for every method."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from mmmtl.config import load_config
from mmmtl.export import export_model
from mmmtl.export.comparison import compare
from mmmtl.export.exported_model import ExportedModel
from mmmtl.export.program import Program
from mmmtl.hub import DEFAULT_MODEL, from_pretrained
from mmmtl.ops.dispatch import plain_operations
from mmmtl.registry import MODELS
from tests.test_configs import CONFIGS, SIZE, shrink
from tests.test_models.latent_toy import TASK_ATTENTION, make
from tests.test_models.test_every_method import METHODS, network

FIXED = ('mmseg.SwinTransformer',)
"""Backbones that read the number of images as a plain number while they are traced."""
TASKS = ('saliency', 'normals', 'semseg', 'depth')
"""Two of a network's tasks are traced, these before others: what is done for every task is unrolled in a graph."""
ALWAYS = ('taskdiffusion', 'diffusionmtl', 'latent-streams')
"""Methods that run in onnxruntime in every test of the whole; the others where ``MMMTL_EXPORTS`` is set."""
SEARCH = 'ATRCSearchDecoder'
"""Looks for an architecture: what is exported is a network of the architecture that it found."""
pytestmark = pytest.mark.slow


def kinds() -> dict[str, Path]:
    """A config of every backbone, neck and decoder of the catalogue that goes together, by what they are."""
    found: dict[str, Path] = {}
    for path in CONFIGS:
        model = load_config(str(path)).model
        if model.decoder.type == SEARCH:
            continue
        backbone = model.backbone.get('model_name', model.backbone.type).partition('_patch')[0]
        kind = backbone.replace('vit_large', 'vit').replace('vit_base', 'vit').replace('vit_small', 'vit')
        decoder = model.decoder
        switches = [decoder.type, *(str(decoder.get(k, {}).get('type', '')) for k in ('conditions', 'decoder'))]
        found.setdefault('-'.join(w for w in [kind.replace('vit_tiny', 'vit'), *switches] if w), path)
    return found


KINDS = kinds()


def built(path: Path) -> torch.nn.Module:
    """The network of a config, small; two tasks and steps show what more of them do, and three experts what fifteen do."""
    cfg = load_config(str(path))
    if 'genotypes' not in cfg.model.decoder:  # which says for every pair of tasks how they attend to each other
        tasks = [*cfg.model.tasks]
        cfg = load_config(str(path), {'only_tasks': sorted(tasks, key=[*TASKS, *tasks].index)[:2]})
    torch.manual_seed(0)
    model = shrink(cfg.model.to_dict())
    if model['decoder']['type'] == 'TaskDiffusionDecoder':
        model['decoder']['steps'] = 2
    if 'ranks' in model['decoder'].get('conditions', {}):
        model['decoder']['conditions'].update(ranks=(1, 2, 3), topk=2)
    return MODELS.build(model).eval()


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_the_catalogue_is_traced(kind, tmp_path):
    cfg = load_config(str(KINDS[kind]))
    fixed = cfg.model.backbone.type in FIXED
    model = built(KINDS[kind])
    done = export_model(
        model, tmp_path / 'm.pt2', 'torch_export', size=SIZE, batch=1 if fixed else None, raw=True, check=False
    )
    file = ExportedModel(done.files[0])
    for batch in (1,) if fixed else (1, 3):
        with plain_operations():
            found = compare(Program(model, SIZE, raw=True), file, batch)
        assert max(d.relative for d in found.values()) <= 1e-4


def small(method: str) -> tuple[torch.nn.Module, tuple[int, int]]:
    """A small network of a method, and the size of its images."""
    if method.startswith('latent'):
        return make(TASK_ATTENTION if method.endswith('streams') else None, vae=True), (32, 64)
    return network(method, TASKS[1:3]).eval(), SIZE


@pytest.mark.parametrize('method', [*METHODS, 'latent', 'latent-streams'])
def test_every_method_runs_in_onnxruntime(method, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    if method not in ALWAYS and not os.environ.get('MMMTL_EXPORTS'):
        pytest.skip('minutes for all methods: MMMTL_EXPORTS=all runs them')
    model, size = small(method)
    done = export_model(model, tmp_path / 'm.onnx', size=size, batch=None, raw=True)
    assert max(d.relative for d in done.differences.values()) <= 1e-4


@pytest.mark.parametrize('method', [*METHODS, 'latent', 'latent-streams'])
def test_every_method_compiles_without_graph_breaks(method):
    model, size = small(method)
    inputs = torch.randn(2, *([2] if model.frames == 2 else []), 3, *size)
    with torch.no_grad():
        wanted = model(inputs)
        found = torch.compile(model, backend='eager', fullgraph=True)(inputs)
    torch._dynamo.reset()
    for name in wanted:
        assert torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)


def test_the_network_that_ships_runs_in_onnxruntime(tmp_path):
    """As configured: with the ranges that its tasks have in practice, which small networks of tests leave open."""
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    done = export_model(from_pretrained(DEFAULT_MODEL), tmp_path / 'm.onnx', size=SIZE)
    assert max(d.relative for d in done.differences.values()) <= 1e-4
