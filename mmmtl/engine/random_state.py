"""Every random generator that training draws from, captured into plain tensors and put back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from mmmtl.utils.seeding import seed_of

_APART = 1_000_003  # between the seeds of a model's noise sources, so that no two of them agree


def noise_generators(model: nn.Module | None) -> dict[str, torch.Generator]:
    """Find the generators that the model's noise comes from.

    Args:
        model: Modules of it may carry an attribute ``noise_source``: a ``torch.Generator``, or an object with one as
            its attribute ``generator``. One that is shared by several modules is found once, under the first.

    Returns:
        {name of the module: generator}, in the order of ``named_modules``.
    """
    found: dict[str, torch.Generator] = {}
    for name, module in model.named_modules() if model is not None else ():
        source = getattr(module, 'noise_source', None)
        generator = source if isinstance(source, torch.Generator) else getattr(source, 'generator', None)
        if isinstance(generator, torch.Generator) and all(generator is not other for other in found.values()):
            found[name] = generator
    return found


def seed_noise(model: nn.Module, seed: int) -> None:
    """Seed the model's noise generators from ``seed``, each differently."""
    for index, generator in enumerate(noise_generators(model).values()):
        generator.manual_seed(seed + index * _APART)


def seed_batch(model: nn.Module, seed: int, first: int, rows: int) -> None:
    """Seed every generator for one batch of training, by its place in the stream of samples.

    Args:
        model: Whose noise sources to seed; one that has ``enter(seed, first, rows)`` draws by the place of every sample.
        seed: The run's, the same in every process.
        first: Position of the batch's first sample, over all processes.
        rows: Samples in the batch.
    """
    own = seed_of(seed, 'batch', first)
    torch.manual_seed(own)
    np.random.seed(own % 2**32)  # noqa: NPY002
    random.seed(own)
    seed_noise(model, own // 2)  # leaves room for what keeps the sources apart
    for name, module in model.named_modules():
        source: Any = getattr(module, 'noise_source', None)
        if hasattr(source, 'enter'):
            source.enter(seed_of(seed, name), first, rows)


def capture(model: nn.Module | None = None) -> dict[str, Any]:
    """Copy the state of all generators of this process.

    Args:
        model: Whose noise generators to include.

    Returns:
        Tensors, numbers and strings only, so that it loads with ``weights_only=True``: keys ``torch``, ``numpy``,
        ``python``, ``noise`` ({module: state}) and, with a GPU in use, ``cuda`` (the current device's).
    """
    numbers: Any = np.random.get_state()  # noqa: NPY002
    kind, keys, position, has_gauss, gauss = numbers
    version, internal, spare = random.getstate()
    state: dict[str, Any] = {
        'torch': torch.get_rng_state(),
        'numpy': [kind, torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(gauss)],
        'python': [version, torch.tensor(internal), spare],
        'noise': {name: generator.get_state() for name, generator in noise_generators(model).items()},
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore(state: dict[str, Any], model: nn.Module | None = None) -> list[str]:
    """Put back what :func:`capture` returned.

    Args:
        state: The captured state; its tensors may have been moved to a device since.
        model: Whose noise generators to set.

    Returns:
        Names of the model's noise sources that the state does not know; they are left as they are.
    """
    torch.set_rng_state(state['torch'].cpu())
    kind, keys, position, has_gauss, gauss = state['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    version, internal, spare = state['python']
    random.setstate((version, tuple(internal.tolist()), spare))
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())
    unknown = []
    for name, generator in noise_generators(model).items():
        if name in state['noise']:
            generator.set_state(state['noise'][name].cpu())
        else:
            unknown.append(name)
    return unknown
