"""Networks as folders: ``config.json``, ``model.safetensors`` and a card, on disk, in this package, or on a hub."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from mmmtl.apis.checkpoint import auxiliary_prefixes, compare_state, load_checkpoint, write_state
from mmmtl.apis.model import build_model, to_device
from mmmtl.config.load import load_config
from mmmtl.errors import CheckpointError, ConfigError, NotFoundError, suggest
from mmmtl.evaluation.metrics.references import read_metrics
from mmmtl.ops.allocator import without_memory
from mmmtl.utils.files import read_json, write_atomically, write_json
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.optional import require
from mmmtl.utils.shipped import name_of_config
from mmmtl.utils.tensor_shapes import read_shapes
from mmmtl.version import __version__

from .card import write_card
from .shipped_weights import list_shipped, shipped_folder
from .stored_model import config_of, describe_model, read_description

CONFIG, WEIGHTS, METRICS, CARD = 'config.json', 'model.safetensors', 'metrics.json', 'README.md'
DTYPES = ('float32', 'float16', 'bfloat16')
_REPOSITORY = re.compile(r'\w[\w.-]*/\w[\w.-]*')


def from_pretrained(
    name_or_folder: str | os.PathLike,
    revision: str | None = None,
    device: str | torch.device = 'cpu',
    cfg_options: Mapping[str, Any] | None = None,
    cache_dir: str | None = None,
    token: str | bool | None = None,
) -> nn.Module:
    """A network with its weights, ready to predict.

    Nothing of what is read is executed: the configuration is JSON whose types are registered components, the weights
    are ``safetensors``.

    Args:
        name_or_folder: A folder that :func:`save_pretrained` wrote, a name of
            :func:`~mmmtl.hub.shipped_weights.list_shipped`, or ``OWNER/NAME`` on the Hugging Face hub (or on the server
            that the environment variable ``HF_ENDPOINT`` names).
        revision: Branch, tag or commit on the hub.
        device: Where the network shall be.
        cfg_options: Changes of the stored config: ``{'model.decoder.steps': 1}``.
        cache_dir: Where downloads are kept; default: the hub client's cache.
        token: Of the hub, for what is not public.

    Returns:
        The network in eval mode; ``network.cfg`` is its config, ``network.description`` the content of ``config.json``.

    Raises:
        NotFoundError: There is no such folder, name or repository, or no way to the hub.
        FileError, CheckpointError, ConfigError: What is there is no network of this package, or not a whole one.
    """
    folder = find_folder(name_or_folder, revision, cache_dir, token)
    found = read_description(folder / CONFIG)
    cfg = config_of(found)
    if cfg_options:
        cfg = load_config(cfg, cfg_options)
    _compare_before(cfg, str(folder / WEIGHTS))
    model = build_model(cfg, check=False, initialize=False)
    load_checkpoint(model, str(folder / WEIGHTS))
    model.dataset_meta = dict(tasks=model.tasks)
    model.description = found
    return to_device(model, device).eval()


def _compare_before(cfg: Config, weights: str) -> None:
    """Compare names and shapes before memory is taken: a config may claim a network of any size.

    Raises:
        CheckpointError: The weights are of another network.
    """
    try:
        with without_memory():
            probe = build_model(cfg, check=False, initialize=False)
    except RuntimeError:  # a backbone of another library that reads numbers off tensors while it is built
        return
    fit = compare_state(probe, dict(state_dict=read_shapes(weights)))
    if not fit.exact:
        raise CheckpointError(fit.report(weights))


def of_class(kind: type[nn.Module], name_or_folder: str | os.PathLike, *args: Any, **options: Any) -> nn.Module:
    """``KIND.from_pretrained(...)``: as :func:`from_pretrained`, for a network of that class alone.

    Raises:
        ConfigError: The network is of another class.
    """
    model = from_pretrained(name_or_folder, *args, **options)
    if not isinstance(model, kind):
        name = type(model).__name__
        raise ConfigError(f"'{name_or_folder}' holds a {name}, no {kind.__name__}: say {name}.from_pretrained")
    return model


def find_folder(
    name: str | os.PathLike, revision: str | None = None, cache_dir: str | None = None, token: str | bool | None = None
) -> Path:
    """The folder of a stored network: that folder, one in this package, or a download; see :func:`from_pretrained`."""
    text, path = str(name), Path(name).expanduser()
    if path.is_dir() and (path / CONFIG).is_file():
        if revision is not None:
            raise ConfigError(f"revision='{revision}' is for the hub, and '{path}' is a folder of this machine")
        if not (path / WEIGHTS).is_file():
            raise NotFoundError(f"'{path}' has a {CONFIG} and no {WEIGHTS}: copy the weights there")
        return path
    if text in list_shipped():
        if revision is not None:
            raise ConfigError(f"revision='{revision}' is for the hub, and '{text}' ships with this version of mmmtl")
        return shipped_folder(text)
    if path.is_dir():
        raise NotFoundError(f"'{path}' is no stored network: it has no {CONFIG} (save_pretrained writes such folders)")
    if not _REPOSITORY.fullmatch(text):
        raise NotFoundError(
            f"'{text}' is no folder, no network that ships with mmmtl ({', '.join(list_shipped())}), and no name on the "
            f'hub (OWNER/NAME).{suggest(text, list_shipped())}'
        )
    return _download(text, revision, cache_dir, token)


def _client() -> Any:
    """The hub's client library; an ``ImportError`` says how it is installed."""
    return require('huggingface_hub', 'the hub needs its client', 'hub', ImportError)


def _download(name: str, revision: str | None, cache_dir: str | None, token: str | bool | None) -> Path:
    """Fetch a stored network's files into the hub client's cache."""
    hub = _client()
    try:
        got = [
            hub.hf_hub_download(name, file, revision=revision, cache_dir=cache_dir, token=token)
            for file in (CONFIG, WEIGHTS)
        ]
    except Exception as error:  # the client's, the transport's and the disk's own kinds
        reason = str(error).strip().split('\n')[0][:300]
        raise NotFoundError(
            f"'{name}'{f' at revision {revision!r}' if revision else ''} could not be fetched from "
            f'{hub.constants.ENDPOINT} ({type(error).__name__}: {reason}). It is no folder of this machine either. Look '
            f'for a mistype ({", ".join(list_shipped())} ship with mmmtl), give token= where it is not public, or fetch '
            f'it where there is a network and give the folder: hf download {name} --local-dir DIR'
        ) from error
    return Path(got[0]).parent


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike,
    metrics: Mapping[str, float] | str | os.PathLike | None = None,
    dtype: str = 'float32',
    drop_aux: bool = False,
    about: str = '',
    licences: Mapping[str, str] | None = None,
) -> str:
    """Write a network as a folder that :func:`from_pretrained` reads: config, weights, card and figures.

    Args:
        model: A network built from a config (``model.cfg``).
        folder: The folder; made where it is missing, files of an earlier network in it are replaced.
        metrics: ``{'TASK/METRIC': number}`` or a ``metrics.json``, told in the card.
        dtype: Type of the stored weights: ``float32``, or half of the size with ``float16`` or ``bfloat16``; networks
            are read back in float32.
        drop_aux: Leave out the auxiliary heads, which prediction does not use.
        about: What the network can and cannot do.
        licences: ``{'weights': ..., 'data': ...}``; what is left out is told as not stated, or, of data that this
            package knows, by its own table.

    Returns:
        The folder.

    Raises:
        ConfigError: A network without config, a config that is no data, an unknown ``dtype`` or one that cannot hold the
            weights, or a folder with a ``config.json`` or ``README.md`` of something else.
    """
    network = unwrap_model(model)
    cfg = getattr(network, 'cfg', None)
    if cfg is None:
        raise ConfigError('save_pretrained: the network has no cfg; build it with mmmtl.apis.init_model or get_model')
    if dtype not in DTYPES:
        raise ConfigError(f"save_pretrained: dtype must be one of {DTYPES}, got '{dtype}'.{suggest(dtype, DTYPES)}")
    figures = read_metrics(os.fspath(metrics)) if isinstance(metrics, (str, os.PathLike)) else metrics
    before = getattr(network, 'description', None) or {}  # of a network that was read from such a folder
    name, about = name_of_config(cfg.filename) or before.get('name'), about or before.get('about') or ''
    card, told = write_card(network, cfg, name, figures, about, {**before.get('licences', {}), **(licences or {})})
    description = describe_model(cfg, name, about, told)
    dropped = auxiliary_prefixes(network) if drop_aux else ()
    kept = {
        key: value.detach().cpu().to(getattr(torch, dtype)) if value.is_floating_point() else value.detach().cpu()
        for key, value in network.state_dict().items()
        if not (dropped and key.startswith(dropped))
    }
    target = Path(folder).expanduser()
    earlier = _holds_network(target)
    lost = [key for key, value in network.state_dict().items() if key in kept and _overflows(value, kept[key])]
    if lost:
        raise ConfigError(
            f"save_pretrained: dtype='{dtype}' cannot hold the numbers of {len(lost)} parameters, for example {lost[0]}: "
            f"take 'bfloat16'"
        )
    write_state(str(target / WEIGHTS), kept, dict(format='pt', mmmtl_version=__version__))
    write_json(target / CONFIG, description)
    write_atomically(target / CARD, card)
    if figures is not None:
        write_json(target / METRICS, dict(figures))
    elif earlier:
        (target / METRICS).unlink(missing_ok=True)
    return str(target)


def _overflows(value: torch.Tensor, stored: torch.Tensor) -> bool:
    """Whether a finite tensor is not finite as it is stored."""
    return value.is_floating_point() and bool((torch.isfinite(value.cpu()) & ~torch.isfinite(stored)).any())


def _holds_network(folder: Path) -> bool:
    """Whether a folder holds a stored network, whose files may be replaced.

    Raises:
        ConfigError: It holds files of these names that are of something else.
    """
    there = [name for name in (CONFIG, CARD) if (folder / name).is_file()]
    with contextlib.suppress(ValueError, OSError):
        if 'mmmtl_format' in read_json(folder / CONFIG):
            return True
    if there:
        raise ConfigError(
            f"save_pretrained: '{folder}' holds {' and '.join(there)} of something else, which would be replaced: give a "
            f'folder of its own'
        )
    return False


def push_to_hub(
    model: nn.Module,
    name: str,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    message: str = 'A network of mmmtl',
    **options: Any,
) -> str:
    """Write a network as :func:`save_pretrained` does and put it on the hub, in a repository that is made if need be.

    Args:
        model: The network.
        name: ``OWNER/NAME``.
        revision: Branch; default: the main one.
        private: Whether a new repository is.
        token: Of the hub, with the right to write; default: the one that ``hf auth login`` stored.
        message: Of the commit.
        **options: Of :func:`save_pretrained`.

    Returns:
        Address of the commit.

    Raises:
        CheckpointError: The hub did not take it; says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, **options)
        return push_folder(folder, name, revision, private, token, message)


def push_folder(
    folder: str | os.PathLike,
    name: str,
    revision: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    message: str = 'A network of mmmtl',
) -> str:
    """Put the files of a stored network on the hub; see :func:`push_to_hub`."""
    if not _REPOSITORY.fullmatch(name):
        raise ConfigError(f"push_to_hub: expected OWNER/NAME, got '{name}'")
    hub = _client()
    files = [file for file in (CONFIG, WEIGHTS, METRICS, CARD) if Path(folder, file).is_file()]
    api = hub.HfApi(token=token)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=name, folder_path=folder, revision=revision, commit_message=message, allow_patterns=files
        )
    except Exception as error:  # the client's and the transport's own kinds
        reason = str(error).strip().split('\n')[0][:300]
        raise CheckpointError(
            f"'{name}' was not put on {hub.constants.ENDPOINT} ({type(error).__name__}: {reason}). Log in with a token "
            f'that may write (hf auth login), or say token=...'
        ) from error
    return str(done.commit_url)
