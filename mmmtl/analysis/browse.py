"""What the network is shown: samples of a dataset after augmentation."""

from __future__ import annotations

import os.path as osp

from mmengine.config import Config
from tqdm import tqdm

from mmmtl.config.check import check_config
from mmmtl.errors import ConfigError
from mmmtl.registry import DATASETS, register_all_modules
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import input_photograph, panel_of_sample


def browse_dataset(
    cfg: Config, out_dir: str, split: str = 'train', number: int | None = 16, start: int = 0, draws: int = 1
) -> list[str]:
    """Draw samples as they come out of the pipeline: augmented image, and the labels that are visible.

    Args:
        cfg: The config.
        out_dir: Where panels go.
        split: ``train``, ``val`` or ``test``.
        number: How many samples; None: all.
        start: Index of the first one.
        draws: How often each sample is augmented and drawn.

    Returns:
        Paths of the panels.

    Raises:
        ConfigError: Mistakes in the section, or no such section.
    """
    loader = cfg.get(f'{split}_dataloader')
    if not loader:
        raise ConfigError(f'{cfg.filename or "the config"} has no {split}_dataloader')
    register_all_modules()
    check_config(Config({f'{split}_dataloader': loader}), parts=(split,))
    dataset = DATASETS.build(loader['dataset'])
    end = len(dataset) if number is None else min(len(dataset), start + number)
    if start >= len(dataset):
        raise ConfigError(f'--start {start}: the dataset has {len(dataset)} samples')
    paths = []
    for index in tqdm(range(start, end), desc='drawing', unit='image', delay=5):
        for draw in range(draws):
            packed = dataset[index]
            sample = packed['data_samples']
            # labels that follow the image are padded with it, those of a test are not
            follow = 'gt' in sample and sample.gt.shape == packed['inputs'].shape[-2:]
            image, *rest = input_photograph(packed['inputs'], {} if follow else sample.metainfo)
            height, width = image.shape[:2]
            panel = panel_of_sample(
                image,
                sample,
                dataset.metainfo['tasks'],
                image_next=rest[0] if rest else None,
                subtitle=f'{split}, {height} × {width} after augmentation',
            )
            name = safe_name(sample.sample_id) + (f'_{draw}' if draws > 1 else '')
            paths.append(write_png(osp.join(out_dir, name + '.png'), panel))
    return paths
