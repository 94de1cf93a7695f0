"""The list files of StableMTL's data sets, made from the folders by the rules of its training and evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from mmmtl.datasets.hypersim import hypersim_files
from mmmtl.datasets.io.pictures import read_map
from mmmtl.datasets.vkitti2 import FILES, SCENES, VARIANTS
from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.utils.files import write_atomically

PUBLISHED = {
    'vkitti_depth_train': 20148,
    'vkitti_normal_train': 20148,
    'vkitti_semantic_train': 20148,
    'vkitti_optical_flow_train': 20100,
    'vkitti_scene_flow_train': 20100,
    'flying_things_3D_train': 19640,
    'cityscapes_val_full': 500,
    'diode_val_all': 771,
    'kitti_flow_training': 200,
    'mid_intrinsics_test': 750,
}
"""Lines of the published lists."""


def _relative(root: Path, pattern: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))


def _vkitti2(root: Path) -> dict[str, list[str]]:
    """A list per label; motion does not go beyond the last frame but one."""
    lists: dict[str, list[str]] = {}
    for name, source in (
        ('depth', 'depth'),
        ('normal', 'normals'),
        ('semantic', 'semseg'),
        ('optical_flow', 'optical_flow'),
        ('scene_flow', 'scene_flow'),
    ):
        folder, form = FILES[source]
        top = 'normal_estimated' if source == 'normals' else 'original'
        lists[f'vkitti_{name}_train'] = [
            line
            for scene in SCENES['train']
            for variant in VARIANTS
            for line in _relative(root, f'{top}/{scene}/{variant}/frames/{folder}/Camera_[01]/{form.format("*")}')
            if not name.endswith('flow') or _followed(root, line, folder)
        ]
    return lists


def _followed(root: Path, line: str, folder: str) -> bool:
    path = root / line.replace(f'/{folder}/', '/rgb/')
    number = int(path.stem.rsplit('_', 1)[-1])
    return (path.parent / f'rgb_{number + 1:05d}.jpg').is_file()


def _hypersim(root: Path) -> dict[str, list[str]]:
    """Complete frames; for all but normals, those whose depth is known in every pixel."""
    from tqdm import tqdm

    everything, whole = [], []
    for photograph in tqdm(_relative(root, 'ai_*/rgb_cam_*.png'), desc='frames of Hypersim'):
        scene, name = photograph.split('/')
        files = hypersim_files(name[len('rgb_') : -len('.png')])
        if not all((root / scene / files[key]).is_file() for key in ('depth', 'normals', 'normals_known')):
            continue
        picture = files['normals'].replace('.npy', '.png')  # a column of the published lists that nothing reads
        line = ' '.join(
            [
                photograph,
                *(f'{scene}/{file}' for file in (files['depth'], files['normals'], picture, files['normals_known'])),
            ]
        )
        everything.append(line)
        if read_map(root / scene / files['depth']).all():
            whole.append(line)
    return dict(filename_list_train_normal=everything, filename_list_train_no_nandepth=whole)


def _flyingthings3d(root: Path) -> dict[str, list[str]]:
    lists = {}
    for split in ('train', 'val'):
        images = {Path(p).stem for p in _relative(root, f'{split}/image_clean/*.png')}
        lists[f'flying_things_3D_{split}'] = [
            line
            for line in _relative(root, f'{split}/flow_2d/*.png')
            if f'{int(Path(line).stem) + 1:0{len(Path(line).stem)}d}' in images
        ]
    return lists


def _cityscapes(root: Path) -> dict[str, list[str]]:
    return dict(cityscapes_val_full=_relative(root, 'leftImg8bit/val/*/*_leftImg8bit.png'))


def _diode(root: Path) -> dict[str, list[str]]:
    stems = [line[: -len('.png')] for line in _relative(root, '*door*/scene_*/scan_*/*.png')]
    return dict(diode_val_all=[f'{s}.png {s}_depth.npy {s}_depth_mask.npy' for s in stems])


def _kitti2015(root: Path) -> dict[str, list[str]]:
    return dict(kitti_flow_training=_relative(root, 'training/flow_occ/*_10.png'))


def _mid(root: Path) -> dict[str, list[str]]:
    lines = [line for suffix in ('png', 'jpg') for line in _relative(root, f'test/*_mip2.{suffix}')]
    return dict(mid_intrinsics_test=lines)


RULES: dict[str, Callable[[Path], dict[str, list[str]]]] = {
    'vkitti2': _vkitti2,
    'hypersim': _hypersim,
    'flyingthings3d': _flyingthings3d,
    'cityscapes': _cityscapes,
    'diode': _diode,
    'kitti2015': _kitti2015,
    'mid': _mid,
}
"""Rules by data set. KITTI's Eigen split is a published list and not a rule: read it as it is."""


def subset(lines: Sequence[str], percent: float, seed: int = 0) -> list[str]:
    """A random part, in the order of the whole; a larger part of the same seed holds the smaller ones."""
    if not 0 < percent <= 100:
        raise ConfigError(f'a part must be over 0 and at most 100 percent, got {percent}')
    order = list(range(len(lines)))
    random.Random(seed).shuffle(order)
    return [lines[i] for i in sorted(order[: max(1, round(len(lines) * percent / 100))])]


def write_split_lists(
    dataset: str, root: str | Path, target: str | Path, percents: Sequence[float] = (), seed: int = 0
) -> dict[str, int]:
    """Write the lists of a data set, and random parts of them.

    Args:
        dataset: A key of :data:`RULES`.
        root: Root folder of the prepared data set; lines are relative to it.
        target: Folder for ``NAME.txt`` and ``NAME_subset_Ppercent.txt``.
        percents: Parts to draw, for studies of data efficiency. (Other parts than the published ones.)
        seed: Of the draw.

    Returns:
        ``{name of the list: lines}``.

    Raises:
        ConfigError: Unknown data set.
        FileError: A list would be empty.
    """
    if dataset not in RULES:
        near = suggest(dataset, RULES)
        raise ConfigError(f"no rule for the lists of '{dataset}' (there is {sorted(RULES)}).{near}")
    counts = {}
    for name, lines in RULES[dataset](Path(root)).items():
        if not lines:
            raise FileError(f"{root}: expected files for the list '{name}', found none")
        for part, chosen in (
            (name, list(lines)),
            *((f'{name}_subset_{p:g}percent', subset(lines, p, seed)) for p in percents),
        ):
            write_atomically(Path(target, f'{part}.txt'), '\n'.join(chosen) + '\n')
            counts[part] = len(chosen)
    return counts
