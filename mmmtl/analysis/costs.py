"""What networks cost: parameters, multiply-accumulates, time and memory of each, in one table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError
from mmmtl.models.sizes import input_size
from mmmtl.ops.allocator import live_memory
from mmmtl.utils.files import write_json
from mmmtl.utils.shipped import configs_folder
from mmmtl.utils.tables import format_table

from .benchmark import Benchmark, interleaved
from .complexity import count_complexity


@dataclass
class Costs:
    """What a network costs.

    Attributes:
        parameters: Number of parameters, those of training alone included.
        layers: Multiply-accumulates of convolutions and linear layers in the prediction of one image.
        products: Those of products of activations (attention) besides.
        seconds: Median time of the prediction of one image; None where it was not measured.
        memory: Peak bytes of it; None likewise.
    """

    parameters: int
    layers: int
    products: int
    seconds: float | None = None
    memory: int | None = None

    def cells(self) -> list[str]:
        """Millions of parameters, billions of multiply-accumulates without and with attention, milliseconds, MiB."""
        return [
            f'{self.parameters / 1e6:.2f}',
            f'{self.layers / 1e9:.2f}',
            f'{(self.layers + self.products) / 1e9:.2f}',
            '-' if self.seconds is None else f'{1e3 * self.seconds:.0f}',
            '-' if self.memory is None else f'{self.memory / 2**20:.0f}',
        ]


HEADER = ['parameters M', 'GMAC, conv + linear', 'GMAC with attention', 'predict ms', 'peak MiB']


def costs_of(
    config: str,
    options: Mapping[str, Any] | None = None,
    repeats: int = 0,
    size: tuple[int, int] | None = None,
    **bench: Any,
) -> Costs:
    """Count, and with ``repeats`` also time, the network of a config.

    Args:
        config: Config file.
        options: Changes of it.
        repeats: Measurements of time and memory; 0: none, and no weights are made.
        size: (H, W) of the input.
        **bench: Of :class:`~mmmtl.analysis.benchmark.Benchmark`.
    """
    whole = count_complexity(load_config(config, dict(options or {})), size).total()
    costs = Costs(whole.parameters, whole.layers, whole.products)
    if repeats:
        network = Benchmark(load_config(config, dict(options or {})), size=size, **bench)
        network.run()  # what libraries set up once is not the network's
        with live_memory():  # nor is what an earlier network has left behind
            costs.memory = network.measure_memory()
        costs.seconds = statistics.median(interleaved({'': network.run}, repeats, device=network.device)[''])
    return costs


def catalogue_table(
    configs: Sequence[str] = (),
    repeats: int = 3,
    cfg_options: Mapping[str, Any] | None = None,
    size: tuple[int, int] | None = None,
    **bench: Any,
) -> tuple[str, dict[str, dict]]:
    """The costs of several networks, as text and as numbers by name.

    Args:
        configs: Config files; one with the option ``method`` stands for all of its methods. Default:
            ``configs/methods/vitt_diorama.py``, one small network per method.
        repeats: See :func:`costs_of`.
        cfg_options: Changes of all configs.
        size: (H, W) of the input; it goes into the config's ``size`` or ``crop_size``, if there is one.
        **bench: See :func:`costs_of`.
    """
    paths = list(configs) or [str(configs_folder() / 'methods' / 'vitt_diorama.py')]
    cases: list[tuple[str, str, dict[str, Any]]] = []
    for path in paths:
        options = dict(cfg_options or {})
        cfg = load_config(path, options)
        if size and (key := next((k for k in ('size', 'crop_size') if k in cfg), None)):
            options.setdefault(key, tuple(size))
        name = '/'.join(Path(path).with_suffix('').parts[-2:])
        if 'networks' in cfg and 'method' in cfg:
            cases += [(method, path, {**options, 'method': method}) for method in cfg.networks]
        else:
            cases.append((name, path, options))
    found = {}
    for name, path, options in tqdm(cases, desc='networks', disable=len(cases) < 2):
        found[name] = costs_of(path, options, repeats, size, **bench)
    table = format_table(['', *HEADER], [[n, *c.cells()] for n, c in found.items()], right=tuple(range(1, 6)))
    return table, {name: asdict(costs) for name, costs in found.items()}


def has_size(name: str) -> bool:
    """Whether a shipped config is made for images of one size."""
    try:
        input_size(load_config(str(configs_folder() / f'{name}.py')))
    except ConfigError:
        return False
    return True


def count_configs(names: Sequence[str], path: Path) -> None:
    """Count shipped configs and keep the numbers, one by one, in a JSON file ``{config: costs}``.

    Args:
        names: ``atrc/hrnet18_nyud`` and so on; none: every config that is not in the file and is made for one size.
        path: The file; what it holds of other configs stays.
    """
    known = json.loads(path.read_text()) if path.is_file() else {}
    every = [p.relative_to(configs_folder()).with_suffix('').as_posix() for p in configs_folder().glob('[!_]*/*.py')]
    missing = [n for n in sorted(every) if n not in known and not n.startswith('studies/') and has_size(n)]
    for name in tqdm(names or missing, desc='configs'):
        known[name] = asdict(costs_of(str(configs_folder() / f'{name}.py')))
        write_json(str(path), dict(sorted(known.items())))
