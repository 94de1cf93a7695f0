"""Published StableMTL weights → this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import CheckpointError
from mmmtl.models.converter import Converter
from mmmtl.models.stablemtl.task_tokens import encode_text
from mmmtl.models.stablemtl.unet import require_diffusers
from mmmtl.registry import CONVERTERS, TASKS
from mmmtl.utils.tensor_files import read_published, read_state

TOKEN_ROOM = 16
"""``max_length`` of the shipped configs' tokens."""
_UNET_FILES = ('diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.bin')

_ROLES = {'k': 'key', 'v': 'value', 'q': 'query'}
_LAYERS = {'fc1': '0', 'fc2': '1', 'net.0': '0', 'net.2': '1', 'net.4': '2', 'net.6': '3'}
_ATTENTION = re.compile(
    r'(?P<place>.+)\.transformer_blocks\.(?P<index>\d+)\.attn1\.'
    r'(?:to_out_task\.(?P<out>weight|bias)'
    r'|task_norm_(?P<norm>[kvq])\.(?P<norm_task>[^.]+)\.(?P<norm_leaf>weight|bias)'
    r'|task_to_(?P<role>[kvq])\.(?P<task>[^.]+)\.(?P<layer>fc[12]|net\.[0246])\.(?P<leaf>weight|bias))'
)


def _own_name(key: str, names: Mapping[str, str]) -> str | None:
    """Our name of a task-attention tensor; None for another one, or of a task that ``names`` lacks."""
    match = _ATTENTION.fullmatch(key)
    if not match:
        return None
    part = match.groupdict()
    task = part['norm_task'] or part['task']
    if task is not None and task not in names:
        return None
    index = '' if part['index'] == '0' else f'_{part["index"]}'
    place = f'task_attention.{part["place"].replace(".", "_")}{index}'
    if part['out']:
        return f'{place}.out.{part["out"]}'
    if part['norm']:
        return f'{place}.{_ROLES[part["norm"]]}.{names[task]}.norm.{part["norm_leaf"]}'
    return f'{place}.{_ROLES[part["role"]]}.{names[task]}.layers.{_LAYERS[part["layer"]]}.{part["leaf"]}'


def read_release(path: str) -> dict[str, Tensor]:
    """Everything of a release that can be found at ``path``, under one prefix per part.

    ``path`` is a released folder or a file of bare UNet weights (``single_stream_unet.pth``). Beside the UNet the
    release builds on Stable Diffusion 2: its folders ``vae``, and ``tokenizer`` with ``text_encoder`` (or a file
    ``tokens.pt``, ``{prompt: (L, 1024)}``), must lie in the folder, or beside the file; links will do.

    Returns:
        Names ``unet/...``, ``single_stream_unet/...`` (of a release with two streams), ``vae/...`` and
        ``tokens/PROMPT``.

    Raises:
        CheckpointError: A part that is missing; says where it was looked for.
    """
    source = Path(path)
    folder = source if source.is_dir() else source.parent
    main = source if source.is_file() else _first(folder, [f'unet/{name}' for name in _UNET_FILES], 'the UNet')
    found = {f'unet/{_bare(k)}': v for k, v in read_published(str(main)).items()}
    if any('.task_to_q.' in key for key in found):
        child = _first(folder, ['single_stream_unet.pth', '../single_stream_unet.pth'], 'the auxiliary stream')
        found.update({f'single_stream_unet/{_bare(k)}': v for k, v in read_published(str(child)).items()})
    vae = _first(folder, ['vae'], "Stable Diffusion 2's autoencoder")
    network = require_diffusers().AutoencoderKL.from_pretrained(str(vae))
    found.update({f'vae/{k}': v for k, v in network.state_dict().items()})
    text = _first(folder, ['tokens.pt', 'text_encoder'], 'the encoded task names, or what encodes them')
    if text.suffix == '.pt':
        table = read_state(text)
    else:
        prompts = registered_prompts()
        table = dict(zip(prompts, encode_text(str(folder), prompts)))
    found.update({f'tokens/{prompt}': value for prompt, value in table.items()})
    return found


def registered_prompts() -> list[str]:
    """Prompts of all kinds of task that there are; published code calls a task by its prompt."""
    TASKS.import_from_location()
    kinds = TASKS.module_dict.values()
    return sorted({kind.prompt or kind.default_name.replace('_', ' ') for kind in kinds})


def _bare(key: str) -> str:
    return key[7:] if key.startswith('module.') else key


def _first(folder: Path, names: list[str], what: str) -> Path:
    """The first of ``names`` that exists in ``folder``."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(f'{what}: none of {names} in {folder}')


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a release.

    Args:
        state: What :func:`read_release` returned, or a main stream's published state dict (the parts then are the UNet
            and its task attention), with or without the ``module.`` of distributed training.
        names: Published task names → names in this model.

    Returns:
        Renamed state dict, dropped keys (tokens of tasks the model lacks), and unknown keys (task attention of such).
    """
    renamed: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for key, value in state.items():
        part, _, bare = key.partition('/') if '/' in key else ('unet', '', _bare(key))
        if part == 'single_stream_unet':
            renamed[f'auxiliary.{bare}'] = value
        elif part == 'vae':
            renamed[f'autoencoder.network.{bare}'] = value
        elif part == 'tokens':
            own = names.get(bare.replace(' ', '_'))
            if own is None:
                dropped.append(key)
                continue
            if len(value) > TOKEN_ROOM:
                raise CheckpointError(
                    f'{key}: {len(value)} tokens, the model has room for {TOKEN_ROOM}: give a shorter prompt'
                )
            renamed[f'tokens.token_{own}'] = F.pad(value, (0, 0, 0, TOKEN_ROOM - len(value)))
            renamed[f'tokens.length_{own}'] = torch.tensor(len(value))
        elif not re.search(r'\.attn1\.(task_|to_out_task)', bare):
            renamed[f'unet.{bare}'] = value
        elif (own := _own_name(bare, names)) is not None:
            renamed[own] = value
        else:
            unknown.append(key)
    return renamed, dropped, unknown


@CONVERTERS.register_module('stablemtl')
class StableMTLConverter(Converter):
    """Reads the published StableMTL checkpoints."""

    ordered = False
    read = staticmethod(read_release)
    convert = staticmethod(convert)
