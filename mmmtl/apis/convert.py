"""Published checkpoints → checkpoints of this package, strictly: every key is used or named as dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmmtl.config.load import load_config
from mmmtl.errors import CheckpointError, ConfigError, suggest
from mmmtl.models.converter import Converter
from mmmtl.ops.allocator import without_memory
from mmmtl.registry import CONVERTERS, TASKS
from mmmtl.utils.renaming import task_order
from mmmtl.utils.shipped import configs_folder

from .checkpoint import compare_state, write_state
from .model import build_model, forget_pretrained


@dataclass
class Conversion:
    """A converted state dict and where it fits.

    Attributes:
        state: Names of this package → tensors.
        dropped: Published keys without a counterpart, on purpose.
        config: Path of the config whose network has exactly these parameters.
    """

    state: dict[str, Tensor]
    dropped: list[str] = field(default_factory=list)
    config: str = ''


def published_names(tasks: Mapping[str, Any]) -> dict[str, str]:
    """Every name that published code may use for the tasks of a model → the model's name for it."""
    TASKS.import_from_location()
    names: dict[str, str] = {}
    for own, task in tasks.items():
        kind = type(task)
        for published in (own, kind.default_name, *kind.aliases):
            names.setdefault(published, own)
    return names


def empty_network(config: str | Config, cfg_options: Mapping[str, Any] | None = None) -> Any:
    """The network of a config without memory for its parameters: names and shapes alone."""
    cfg = load_config(config, cfg_options)
    forget_pretrained(cfg.get('model'))
    try:
        with without_memory():
            return build_model(cfg, initialize=False)
    except RuntimeError:  # a backbone of another library that reads numbers off tensors while it is built
        return build_model(cfg, initialize=False).to('meta')


def converter_of(method: str) -> Converter:
    """The converter that a method has registered.

    Raises:
        ConfigError: Unknown method, with near ones.
    """
    CONVERTERS.import_from_location()
    known = sorted(CONVERTERS.module_dict)
    if method not in known:
        raise ConfigError(f"no converter for method '{method}'.{suggest(method, known)} There are {', '.join(known)}.")
    return CONVERTERS.build(dict(type=method))


def try_config(
    converter: Converter, state: Mapping[str, Tensor], config: str, options: Mapping[str, Any] | None = None
) -> tuple[Conversion, str, int]:
    """Convert for one config: the conversion, what does not fit (empty when all does), and how many keys do not."""
    network = empty_network(config, options)
    names = published_names(network.tasks)
    renamed, dropped, unknown = converter.convert(state, names)
    fit = compare_state(network, {'state_dict': renamed}, training=True)
    fit.missing = [key for key in fit.missing if key.startswith(converter.published_part(renamed))]
    wrong = len(fit.missing) + len(fit.unexpected) + len(fit.mismatched) + len(unknown)
    summary = fit.summary() if not fit.exact else ''
    if unknown:
        summary += f'\n  {len(unknown)} published keys without a counterpart: {"; ".join(unknown[:3])}'
    order = task_order(state, names)
    if converter.ordered and order != (own := [name for name in network.tasks if name in order]):
        wrong += 1
        summary += (
            f"\n  its tasks come in the order {order}, the config's in {own}: write those of the model in that order"
        )
    name = ' '.join([str(config), *(f'{key}={value}' for key, value in (options or {}).items())])
    return Conversion(renamed, dropped, name), summary, wrong


def nearest_config(
    converter: Converter, state: Mapping[str, Tensor], folder: Path
) -> tuple[Conversion, str, int] | None:
    """The config of ``folder`` that fits best; None when there is none to try."""
    best = None
    for path, options in product(sorted(folder.glob('*.py')), converter.variants):
        try:
            attempt = try_config(converter, state, str(path), options)
        except ConfigError:  # a config without such an option
            continue
        if best is None or attempt[2] < best[2]:
            best = attempt
        if best[2] == 0:
            break
    return best


def convert_state(
    method: str, state: Mapping[str, Tensor], config: str | None = None, cfg_options: Mapping[str, Any] | None = None
) -> Conversion:
    """Convert a published state dict for ``config`` with ``cfg_options``, or for the shipped config that it fits.

    Raises:
        ConfigError: Unknown method.
        CheckpointError: The checkpoint is of another variant (the nearest config is named), or of no variant.
    """
    converter = converter_of(method)
    if config is not None:
        conversion, summary, wrong = try_config(converter, state, config, cfg_options)
        if not wrong:
            return conversion
        best = nearest_config(converter, state, configs_folder() / method)
        hint = (
            f' It fits {best[0].config}.' if best and not best[2] else f' Nearest is {best[0].config}.' if best else ''
        )
        raise CheckpointError(f'the checkpoint does not fit {config}: {summary}\n{hint}')
    best = nearest_config(converter, state, configs_folder() / method)
    if best is None:
        raise CheckpointError(f'no config of {method} to convert for; give --config')
    conversion, summary, wrong = best
    if wrong:
        raise CheckpointError(f'the checkpoint fits no config of {method}; nearest is {conversion.config}: {summary}')
    return conversion


def convert_checkpoint(
    method: str, source: str, target: str, config: str | None = None, cfg_options: Mapping[str, Any] | None = None
) -> Conversion:
    """Convert the file ``source`` and write ``target`` (``.pth`` or ``.safetensors``).

    Raises:
        ConfigError, CheckpointError: See :func:`convert_state` and ``read_published``; or an ending of ``target`` that is
            neither of the two.
    """
    if not str(target).endswith(('.pth', '.safetensors')):
        raise ConfigError(f"'{target}': a checkpoint ends in .pth or .safetensors")
    conversion = convert_state(method, converter_of(method).read(source), config, cfg_options)
    meta = {'converted_from': Path(source).name, 'method': method, 'config': conversion.config.rpartition('/')[2]}
    write_state(target, conversion.state, meta)
    return conversion
