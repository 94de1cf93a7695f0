"""Networks on an accelerator that is not there: PyTorch's fake tensors tell where one would meet a tensor of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mmmtl.apis.model import build_model, forget_pretrained, quiet
from mmmtl.config import load_config
from mmmtl.ops import optimize_for_inference
from mmmtl.ops.allocator import without_memory

SIZE = (32, 32)
METHODS = 'methods/vitt_diorama.py'
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    'taskdiffusion': (METHODS, {'method': 'taskdiffusion'}),
    'mlore': (METHODS, {'method': 'mlore'}),
    'diffusionmtl': ('diffusionmtl/r18_diorama.py', {}),
    'stablemtl': ('stablemtl/tiny_diorama_multistream.py', {'model.single_stream': None}),
}


def network_on(device: str, name: str, root: Any) -> nn.Module:
    """A small network whose weights have shapes alone; call it within a ``FakeTensorMode``."""
    config, options = CASES[name]
    cfg = load_config(str(root / 'configs' / config), {'crop_size': SIZE, 'only_tasks': ['semseg', 'depth'], **options})
    forget_pretrained(cfg.model)
    with quiet(), without_memory():
        model = build_model(cfg, initialize=False)
    return model.to_empty(device=device)


def targets_on(device: str, tasks: Any, batch: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Labels of all samples."""
    index = torch.arange(batch, device=device)
    return {
        name: (
            index,
            torch.zeros(batch, *SIZE, dtype=torch.int64, device=device)
            if task.categorical
            else torch.zeros(batch, task.label_channels, *SIZE, device=device),
        )
        for name, task in tasks.items()
    }


@pytest.mark.parametrize('name', CASES)
def test_no_tensor_is_left_behind_on_the_cpu(name, root_dir):
    """Prediction, as it trains and in its forms for prediction, and a training step with its gradients."""
    device = 'cuda'
    with FakeTensorMode(allow_non_fake_inputs=True):
        model = network_on(device, name, root_dir)
        frames = getattr(model, 'frames', 1)
        x = torch.zeros((2, 3, *SIZE) if frames == 1 else (2, frames, 3, *SIZE), device=device)
        for form in (nn.Module.eval, optimize_for_inference):
            with torch.no_grad():
                maps = form(model)(x, mode='tensor')
            assert {y.device.type for y in maps.values()} == {device}
        model.train()
        with torch.autocast(device, torch.bfloat16):
            losses = model(x, mode='loss', targets=targets_on(device, model.tasks, 2))
        sum(losses.values()).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert grads and {g.device.type for g in grads} == {device}
