"""What tells the UNet which task is asked for: a few tokens per task, read by its cross-attention.

A source gives ``tokens(task) -> (L, D)``; lengths may differ between tasks. :func:`batch_tokens` pads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import CheckpointError, ConfigError, NotFoundError, suggest
from mmmtl.ops.take_rows import repeat_rows
from mmmtl.registry import MODELS
from mmmtl.utils.tensor_files import read_state

from .stable_diffusion import load_part


def batch_tokens(tokens: Sequence[Tensor], repeats: int) -> tuple[Tensor, Tensor | None]:
    """Tokens of several tasks as one batch.

    Args:
        tokens: Per task (L, D); lengths may differ.
        repeats: Samples per task: all of the first task come first.

    Returns:
        tokens: (T × ``repeats``, longest L, D), padded with zeros.
        mask: int64 (T × ``repeats``, longest L), 1 at real tokens, or None where nothing is padded.
    """
    longest = max(len(t) for t in tokens)
    rows = torch.stack([torch.nn.functional.pad(t, (0, 0, 0, longest - len(t))) for t in tokens])
    mask = None
    if any(len(t) < longest for t in tokens):
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in tokens], device=rows.device)
        mask = repeat_rows(mask, repeats)
    return repeat_rows(rows, repeats), mask


def encode_text(pretrained: str, prompts: Iterable[str]) -> list[Tensor]:
    """Last hidden states of a CLIP text encoder, (L, D) per prompt, one prompt at a time and without padding.

    Args:
        pretrained: A folder with ``tokenizer`` and ``text_encoder``, or its name on the hub.
        prompts: The texts.

    Raises:
        ImportError: transformers is not installed; says what else there is.
    """
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise ImportError(
            "TextTokens needs transformers: pip install 'mmmtl[text]'; or give the tokens with "
            "tokens=dict(type='TokenFile', path=...)"
        ) from error
    tokenizer = load_part(CLIPTokenizer.from_pretrained, pretrained, 'tokenizer')
    encoder = load_part(CLIPTextModel.from_pretrained, pretrained, 'text_encoder').eval()
    with torch.no_grad():
        ids = (tokenizer(p, padding='longest', max_length=77, truncation=True, return_tensors='pt') for p in prompts)
        return [encoder(found.input_ids)[0][0] for found in ids]


class TaskTokens(nn.Module):
    """Base: fixed tokens per task, kept in checkpoints.

    Args:
        tasks: ``{name: prompt}``; the model fills in its tasks and their own prompts.
        width: D, channels of a token: the UNet's ``cross_attention_dim``.
        prompts: ``{name: text}``, in place of the tasks' own.
        max_length: Room for this many tokens per task; what is not used costs nothing.
    """

    def __init__(
        self, tasks: Mapping[str, str], width: int, prompts: Mapping[str, str] | None = None, max_length: int = 16
    ) -> None:
        super().__init__()
        prompts = dict(prompts or {})
        for name in prompts:
            if name not in tasks:
                raise ConfigError(f"prompts: '{name}' is not a task of the model.{suggest(name, tasks)}")
        self.width, self.max_length = width, max_length
        self.prompts = {**tasks, **prompts}
        self._known: dict[str, int] = {}  # lengths on the host: a pass must not wait for the device
        for task in tasks:
            self.register_buffer(f'token_{task}', torch.zeros(max_length, width))
            self.register_buffer(f'length_{task}', torch.zeros((), dtype=torch.int64))

    def put(self, tokens: Mapping[str, Tensor]) -> None:
        """Set the tokens of all tasks, each (L, D).

        Raises:
            ConfigError: Another number of channels, no token, or more than there is room for.
        """
        for task in self.prompts:
            value = tokens[task]
            if value.ndim != 2 or value.shape[1] != self.width or not 1 <= len(value) <= self.max_length:
                raise ConfigError(
                    f"tokens of task '{task}': expected (1 to {self.max_length}, {self.width}), found "
                    f'{tuple(value.shape)}'
                )
            self._known[task] = len(value)
            with torch.no_grad():
                getattr(self, f'token_{task}').zero_()[: len(value)] = value
                getattr(self, f'length_{task}').fill_(len(value))

    def forward(self, task: str) -> Tensor:
        """Tokens (L, D) of one task.

        Raises:
            CheckpointError: No tokens yet: neither a checkpoint was loaded nor ``init_weights`` called.
        """
        length = getattr(self, f'length_{task}')
        if task not in self._known:
            has_data = type(length) is Tensor and not length.is_meta
            self._known[task] = int(length) if has_data else 4  # without data: as long as most prompts
        if not self._known[task]:
            raise CheckpointError(
                f"the tokens of task '{task}' are not there yet: load a checkpoint, or call init_weights() to make them"
            )
        return getattr(self, f'token_{task}')[: self._known[task]]

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known.clear()
        super()._load_from_state_dict(*args, **kwargs)


@MODELS.register_module()
class TextTokens(TaskTokens):
    """The text encoder's last hidden states for the task's name, without padding; encoded once, kept in checkpoints.

    Args:
        pretrained: A folder with ``tokenizer`` and ``text_encoder`` (Stable Diffusion's form), or its name on the hub.
        tasks, width, prompts, max_length: See :class:`TaskTokens`.
    """

    def __init__(
        self,
        tasks: Mapping[str, str],
        width: int,
        pretrained: str,
        prompts: Mapping[str, str] | None = None,
        max_length: int = 16,
    ) -> None:
        super().__init__(tasks, width, prompts, max_length)
        self.pretrained = pretrained

    def init_weights(self) -> None:
        """Encode the prompts."""
        self.put(dict(zip(self.prompts, encode_text(self.pretrained, self.prompts.values()))))


@MODELS.register_module()
class TokenFile(TaskTokens):
    """Tokens from a file ``{prompt or task: (L, D) tensor}``, written by ``torch.save``.

    Args:
        path: The file.
        tasks, width, prompts, max_length: See :class:`TaskTokens`.
    """

    def __init__(
        self,
        tasks: Mapping[str, str],
        width: int,
        path: str,
        prompts: Mapping[str, str] | None = None,
        max_length: int = 16,
    ) -> None:
        super().__init__(tasks, width, prompts, max_length)
        self.path = str(path)

    def init_weights(self) -> None:
        """Read the file."""
        if not Path(self.path).is_file():
            raise NotFoundError(f'model.tokens.path {self.path}: no such file')
        table = read_state(self.path)
        tokens = {}
        for task, prompt in self.prompts.items():
            name = next((n for n in (task, prompt) if n in table), None)
            if name is None:
                raise ConfigError(
                    f"token file {self.path}: no tokens for task '{task}' or prompt '{prompt}', only "
                    f'{sorted(table)}.{suggest(prompt, table)}'
                )
            tokens[task] = table[name]
        self.put(tokens)


@MODELS.register_module()
class LearnedTokens(nn.Module):
    """Tokens that are trained with the rest: nothing to download.

    Args:
        length: Tokens per task.
        tasks, width: See :class:`TaskTokens`.
    """

    def __init__(self, tasks: Mapping[str, str], width: int, length: int = 2) -> None:
        super().__init__()
        self.token = nn.ParameterDict({t: nn.Parameter(torch.randn(length, width)) for t in tasks})

    def init_weights(self) -> None:
        """Nothing to read."""

    def forward(self, task: str) -> Tensor:
        """Tokens (L, D) of one task."""
        return self.token[task]
