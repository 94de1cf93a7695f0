"""Predict every task on your own images."""

from __future__ import annotations

import os.path as osp
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn
from tqdm import tqdm

from mmmtl.datasets.transforms import CentredPad
from mmmtl.datasets.transforms.base import new_results
from mmmtl.errors import ConfigError
from mmmtl.ops.inference import optimize_for_inference, restore
from mmmtl.registry import TRANSFORMS
from mmmtl.structures import MTLDataSample
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import draw_exhibit, draw_panel, write_raw

from .inputs import ImageInput, Source, gather_inputs
from .model import init_model


@dataclass
class Result:
    """What was predicted on one image.

    Attributes:
        sample_id: The image's name.
        path: Its file, '' for an array.
        pred: Task → prediction at the image's own size: class maps int64 (H, W); everything else float32
            (C, H, W) in the task's unit (``mmmtl.tasks``).
        panel: uint8 RGB picture of everything, if asked for.
        files: What was written.
    """

    sample_id: str
    path: str
    pred: dict[str, np.ndarray]
    panel: np.ndarray | None = None
    files: list[str] = field(default_factory=list)


class Inferencer:
    """Images in, predictions and panels out.

    Images of any size go through the config's test pipeline; one that is larger than the network's input is
    reduced before, and predictions come back at the image's own size. A prediction depends on the image,
    its name and the weights alone: the noise of diffusion decoders is seeded by the name.

    Args:
        model: A network from :func:`init_model`, a config, or a config file's path.
        checkpoint: Weights, where ``model`` is a config.
        device: ``cpu``, ``cuda``, ...; default: a GPU if there is one.
        cfg_options: As ``--cfg-options``.
        optimize: Predict with faster forms of the network's modules
            (:func:`~mmmtl.ops.inference.optimize_for_inference`; on a CPU); ``model.train()`` takes them back.

    Example:
        >>> inferencer = Inferencer('configs/baselines/vitt_camvid.py', 'iter_2000.pth')
        >>> results = inferencer('photographs/', out_dir='predictions')
        >>> results[0].pred['semseg'].shape
        (180, 240)
    """

    def __init__(
        self,
        model: nn.Module | Config | str | Path,
        checkpoint: str | None = None,
        device: str | torch.device | None = None,
        cfg_options: Mapping[str, Any] | None = None,
        optimize: bool = True,
    ) -> None:
        if isinstance(model, nn.Module):
            if checkpoint is not None or cfg_options:
                raise ValueError('Inferencer: checkpoint and cfg_options go with a config, not with a built model')
            if not hasattr(model, 'cfg'):
                raise ValueError('Inferencer: the model has no cfg; build it with mmmtl.apis.init_model')
            self.model = model if device is None else model.to(device)
        else:
            device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
            self.model = init_model(model, checkpoint, device, cfg_options)
        self.model = optimize_for_inference(self.model) if optimize else restore(self.model.eval())
        self.tasks = self.model.tasks
        self.frames = max(task.frames for task in self.tasks.values())
        self.steps = build_pipeline(self.model.cfg)

    def __call__(
        self,
        inputs: Source | Sequence[Source],
        *,
        batch_size: int = 1,
        out_dir: str | None = None,
        panels: bool = True,
        raw: bool = True,
        progress: bool = True,
        explain: bool = False,
    ) -> list[Result]:
        """Predict.

        Args:
            inputs: Path of an image, a folder, a pattern with ``*``, an array (uint8 RGB (H, W, 3)), or a
                list of these. Where a task needs two frames, each image is paired with the next.
            batch_size: Images per pass; images whose network input differs in size start a new pass.
            out_dir: Panels go to ``out_dir/panels/NAME.png``, predictions to
                ``out_dir/predictions/TASK/NAME.png|npy``.
            panels: Draw panels.
            raw: Write predictions, if there is an ``out_dir``.
            explain: Also draw how the predictions came about, to ``out_dir/panels/NAME.WHAT.png``, for decoders that
                can tell (TaskDiffusion: cross-task maps, task-relation masks).
            progress: Show a progress bar with time left when it takes longer than five seconds.

        Returns:
            One result per image, in order.

        Raises:
            InputError, FileError: A place without images, a file that is none.
            ConfigError: ``explain`` without ``out_dir``, or of a network that has nothing to show.
        """
        if explain and not out_dir:
            raise ConfigError('explain=True draws pictures into a folder: give out_dir')
        items = gather_inputs(inputs, self.frames)
        results: list[Result] = []
        with tqdm(total=len(items), desc='predicting', unit='image', delay=5, disable=not progress) as bar:
            batch: list[tuple[ImageInput, list[np.ndarray], dict]] = []
            for item in items:
                images = item.load()
                packed = self.preprocess(item, images)
                if batch and (len(batch) == batch_size or packed['inputs'].shape != batch[0][2]['inputs'].shape):
                    results += self._finish(batch, out_dir, panels, raw, explain)
                    bar.update(len(batch))
                    batch = []
                batch.append((item, images, packed))
            results += self._finish(batch, out_dir, panels, raw, explain)
            bar.update(len(batch))
        return results

    def preprocess(self, item: ImageInput, images: Sequence[np.ndarray]) -> dict[str, Any]:
        """Images → what the model's ``test_step`` takes for one sample, by the config's test pipeline."""
        info = dict(sample_id=item.sample_id, img_path=item.path, rng=random.Random(0))
        results = new_results(images, self.tasks, info, test_mode=True)
        for step in self.steps:
            limit = fixed_size(step)
            if limit is not None and any(a > b for a, b in zip(results['img'].shape[:2], limit)):
                shrink = TRANSFORMS.build(dict(type='Resize', size=limit, keep_ratio=True, shrink_only=True))
                results = shrink(results)
            results = step(results)
        return results

    @torch.no_grad()
    def _finish(self, batch: list, out_dir: str | None, panels: bool, raw: bool, explain: bool) -> list[Result]:
        """Predict on a batch, draw, write."""
        if not batch:
            return []
        data = dict(inputs=[p['inputs'] for *_, p in batch], data_samples=[p['data_samples'] for *_, p in batch])
        samples = self.model.test_step(data)
        results = [
            self._result(item, images, sample, out_dir, panels, raw)
            for (item, images, _), sample in zip(batch, samples)
        ]
        if explain and out_dir:
            self._explain(data, [images[0] for _, images, _ in batch], results, osp.join(out_dir, 'panels'))
        return results

    def _explain(self, data: dict, photographs: list[np.ndarray], results: list[Result], folder: str) -> None:
        """Draw how the predictions of a batch came about."""
        if not hasattr(self.model, 'explain'):
            raise ConfigError(f'model: {type(self.model).__name__} cannot explain its predictions')
        ready = self.model.data_preprocessor(data, False)
        for image, result, exhibits in zip(
            photographs, results, self.model.explain(ready['inputs'], ready['data_samples'])
        ):
            for exhibit in exhibits:
                path = osp.join(folder, f'{safe_name(result.sample_id)}.{exhibit.name}.png')
                picture = draw_exhibit(exhibit, image, self.tasks, title=result.sample_id)
                result.files.append(write_png(path, picture))

    def _result(
        self,
        item: ImageInput,
        images: list[np.ndarray],
        sample: MTLDataSample,
        out_dir: str | None,
        panels: bool,
        raw: bool,
    ) -> Result:
        """One image's predictions, drawn and written."""
        pred = {name: value.detach().cpu().numpy() for name, value in sample.pred.items()}
        files = write_raw(osp.join(out_dir, 'predictions'), item.sample_id, pred) if out_dir and raw else []
        pred = {n: p[0] if np.issubdtype(p.dtype, np.integer) else p for n, p in pred.items()}
        result = Result(item.sample_id, item.path, pred, files=files)
        if panels:
            height, width = images[0].shape[:2]
            result.panel = draw_panel(
                images[0],
                self.tasks,
                None,
                pred,
                title=item.sample_id,
                subtitle=f'{height} × {width}',
                image_next=images[1] if len(images) > 1 else None,
            )
            if out_dir:
                path = osp.join(out_dir, 'panels', safe_name(item.sample_id) + '.png')
                result.files.append(write_png(path, result.panel))
        return result


def build_pipeline(cfg: Config) -> list[Any]:
    """The transforms for photographs: a config's ``infer_pipeline``, else its test pipeline."""
    if cfg.get('infer_pipeline'):
        return [TRANSFORMS.build(dict(step)) for step in cfg.infer_pipeline]
    dataset = next((cfg[s]['dataset'] for s in ('test_dataloader', 'val_dataloader') if cfg.get(s)), None)
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset.get('dataset') or (dataset.get('datasets') or [None])[0]
    if dataset is None:
        raise ConfigError(f'{cfg.filename or "the config"} has no test pipeline (test_dataloader.dataset.pipeline)')
    return [TRANSFORMS.build(dict(step)) for step in dataset['pipeline']]


def fixed_size(step: Any) -> tuple[int, int] | None:
    """(H, W) that a step of the pipeline pads to and that no image may exceed, or None."""
    size = getattr(step, 'size', None)
    pads = isinstance(step, CentredPad) and step.multiple is None
    return tuple(size) if pads and size is not None else None  # type: ignore[return-value]
