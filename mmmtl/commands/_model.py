"""What commands that predict have in common: the network is a config and a checkpoint, a stored network, or what ships."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmmtl.errors import InputError


def add_model_and_inputs(parser: argparse.ArgumentParser, help_of_inputs: str) -> None:
    """Add ``[CONFIG CHECKPOINT] INPUT ...`` and ``--model``."""
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='[CONFIG CHECKPOINT] INPUT',
        help=f'config file (or mmmtl::FOLDER/NAME) and checkpoint, which may be left out; then {help_of_inputs}',
    )
    add_model(parser)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``."""
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='instead of config and checkpoint: a network that ships, a folder of save_pretrained, or OWNER/NAME on the '
        'hub (default, without a config: the small network that ships)',
    )


def split_words(words: Sequence[str], model: str | None) -> tuple[str | None, str | None, list[str]]:
    """Take ``CONFIG CHECKPOINT`` off the front of a command's words where they are there.

    Returns:
        config, checkpoint: None, None where the words begin with an input.
        inputs: What is left.

    Raises:
        InputError: A config without checkpoint or inputs, or beside ``--model``; a network's name in an input's place.
    """
    first = words[0]
    if not first.endswith('.py') and '::' not in first:
        from mmmtl.hub import list_shipped

        if not Path(first).exists() and first in list_shipped():
            raise InputError(f"'{first}' is a network that ships, not an image: --model {first}")
        return None, None, list(words)
    if model is not None:
        raise InputError(f"--model '{model}' and the config '{first}': give one of the two")
    if len(words) < 3:
        raise InputError(
            f"after the config '{first}' come its checkpoint and at least one input: CONFIG CHECKPOINT INPUT"
        )
    return first, words[1], list(words[2:])


def model_to_use(
    config: str | None, checkpoint: str | None, model: str | None, cfg_options: Mapping[str, Any] | None
) -> Any:
    """The network that the words of a command name, in eval mode on the CPU; tells what the one that ships can do."""
    from mmmtl.apis import init_model
    from mmmtl.hub import DEFAULT_MODEL, from_pretrained

    if config is not None:
        if checkpoint is None:
            print('no checkpoint: the weights are as drawn')
        return init_model(config, checkpoint, cfg_options=cfg_options)
    network = from_pretrained(model or DEFAULT_MODEL, cfg_options=cfg_options)
    about = network.description.get('about')
    if model is None or about:
        print(f'{model or DEFAULT_MODEL}: {about or "nothing is said about what it can do"}')
    return network


def default_device() -> str:
    """A GPU if there is one."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def refuse_missing(inputs: Sequence[str]) -> None:
    """Say what was meant where an input looks like a checkpoint."""
    wrong = next((word for word in inputs if Path(word).suffix in ('.pth', '.safetensors')), None)
    if wrong is not None:
        raise InputError(f"'{wrong}' is a checkpoint and no input: its config comes before it, CONFIG CHECKPOINT INPUT")
