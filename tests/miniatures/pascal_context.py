"""A miniature of PASCAL-Context in the ATRC packing."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import savemat

from .scenes import FIGURE, normals_picture, save_ids, save_picture, scene

# Diorama's wall, floor, ceiling, rug, table, box, ball, figure in the two class lists; the ball's context class (tree)
# is one without trusted normals
CONTEXT = np.array([440, 158, 68, 330, 397, 37, 420, 284], np.uint16)
VOC = np.array([0, 0, 0, 0, 11, 20, 5, 15], np.uint8)
PART_NAMES = {
    1: ('head', 'hair', 'leye'),
    2: ('torso',),
    3: ('luarm', 'ruarm'),
    4: ('llarm', 'rhand'),
    5: ('luleg', 'ruleg'),
    6: ('llleg', 'rfoot'),
}


def structures(rows: list[dict], fields: tuple[str, ...]) -> np.ndarray:
    """A MATLAB structure array (1, n)."""
    array = np.empty((1, len(rows)), dtype=[(f, object) for f in fields])
    for k, row in enumerate(rows):
        for field in fields:
            array[field][0, k] = row[field]
    return array


def save_annotation(path: Path, things: list[dict]) -> None:
    """Write ``anno`` as PASCAL-Part does: objects with class, class_ind, mask and parts (part_name, mask)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for thing in things:
        parts = [dict(part_name=n, mask=m.astype(np.uint8)) for n, m in thing['parts']]
        rows.append(
            dict(
                thing,
                mask=thing['mask'].astype(np.uint8),
                parts=structures(parts, ('part_name', 'mask')) if parts else np.zeros((0, 0)),
            )
        )
    objects = structures([{**r, 'class': r['name']} for r in rows], ('class', 'class_ind', 'mask', 'parts'))
    savemat(
        path,
        dict(anno=structures([dict(imname=path.stem, objects=objects)], ('imname', 'objects'))),
        do_compression=True,
    )


def things_of(labels: dict, people: bool) -> list[dict]:
    """The objects of a scene: a table (empty mask where there is none), and the figures with their parts."""
    table = labels['semseg'] == 4
    things = [dict(name='table', class_ind=11, mask=table, parts=[])]
    if people:
        parts = []
        for group, names in PART_NAMES.items():
            mask = labels['human_parts'] == group
            columns = np.arange(mask.shape[1]) % len(names)  # several parts share a group
            parts += [(name, mask & (columns == k)[None]) for k, name in enumerate(names)]
        things.append(dict(name='person', class_ind=15, mask=labels['semseg'] == FIGURE, parts=parts))
        # somebody too far away to have parts
        things.append(dict(name='person', class_ind=15, mask=np.eye(*table.shape, dtype=bool), parts=[]))
    return things


def write_sample(root: Path, sample_id: str, number: int, trap: str, size: tuple[int, int]) -> dict:
    """One photograph with its labels; returns what a reader must find (labels at the image's size)."""
    labels = scene(number, size[::-1] if trap == 'portrait' else size)
    people = trap != 'nobody'
    classes = labels['semseg']
    photograph = Image.fromarray(labels['img'])
    path = root / 'JPEGImages' / f'{sample_id}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    (photograph.convert('L') if trap == 'grey' else photograph).save(path, quality=95)
    context = CONTEXT[classes]
    (root / 'pascal-context' / 'trainval').mkdir(parents=True, exist_ok=True)
    savemat(root / 'pascal-context' / 'trainval' / f'{sample_id}.mat', dict(LabelMap=context), do_compression=True)
    voc = VOC[classes]
    if not people:
        voc[voc == 15] = 9
    voc[:2] = 255
    folder = 'pascal-context' if trap == 'no VOC12' else 'VOC12'
    save_picture(root / 'semseg' / folder / f'{sample_id}.png', voc, palette=folder == 'VOC12')
    save_annotation(root / 'human_parts' / f'{sample_id}.mat', things_of(labels, people))
    normals, saliency = normals_picture(labels['normals']), (labels['saliency'] * 255).astype(np.uint8)
    if trap == 'other size':
        width, height = photograph.size
        normals = cv2.resize(normals, (width * 2, height * 2), interpolation=cv2.INTER_NEAREST)
        saliency = cv2.resize(saliency, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
    save_picture(root / 'normals_distill' / f'{sample_id}.png', normals)
    save_picture(root / 'sal_distill' / f'{sample_id}.png', saliency)
    return dict(
        semseg=voc,
        context=context,
        parts=labels['human_parts'] * people,
        normals=labels['normals'],
        saliency=labels['saliency'],
    )


TRAPS = ('plain', 'grey', 'no VOC12', 'nobody', 'other size', 'portrait')


def write_pascal_context(root: str | Path, train: int = 6, val: int = 6, size: tuple[int, int] = (60, 80)) -> dict:
    """Write the miniature.

    The k-th sample of a split holds the k-th trap (and so on round): a plain one; a greyscale JPEG; one
    without a file in ``VOC12``; one without people; one with saliency and normals of other sizes; one
    upright. Split files have carriage returns; semseg pictures have palettes; the list of objects
    (``ImageSets/Parts``) is complete for ``train`` and absent for ``val``.

    Args:
        root: Folder to write to.
        train: Samples of the training split.
        val: Samples of the validation split.
        size: (height, width).

    Returns:
        ``{sample id: dict(trap, semseg, context, parts, normals, saliency)}``: what a reader must find.
    """
    root = Path(root)
    truth = {}
    for split, count, first in (('train', train, 0), ('val', val, 1000)):
        ids = [f'2008_{first + k:06d}' for k in range(count)]
        for k, sample_id in enumerate(ids):
            trap = TRAPS[k % len(TRAPS)]
            truth[sample_id] = dict(write_sample(root, sample_id, first + k, trap, size), trap=trap, split=split)
        save_ids(root / 'ImageSets' / 'Context' / f'{split}.txt', ids)
        if split == 'train':
            index = {
                i: [11 if (truth[i]['context'] == 397).any() else -1] + [15, 15] * (truth[i]['trap'] != 'nobody')
                for i in ids
            }
            (root / 'ImageSets' / 'Parts').mkdir(parents=True, exist_ok=True)
            (root / 'ImageSets' / 'Parts' / 'train.txt').write_text(json.dumps(index))
    return truth


def plant_pascal_faults(root: str | Path, ids: list[str]) -> dict[tuple[str, str], str]:
    """Damage one label of each kind in the samples ``ids`` (at least six).

    Returns:
        ``{(sample id, task or 'image'): words the report must contain}``.
    """
    root = Path(root)
    cut = root / 'JPEGImages' / f'{ids[0]}.jpg'
    cut.write_bytes(cut.read_bytes()[:700])
    for folder in ('VOC12', 'pascal-context'):
        (root / 'semseg' / folder / f'{ids[1]}.png').unlink(missing_ok=True)
    save_picture(root / 'semseg' / 'VOC12' / f'{ids[2]}.png', np.full((60, 80), 21, np.uint8))
    savemat(root / 'pascal-context' / 'trainval' / f'{ids[3]}.mat', dict(Labels=np.zeros((4, 4), np.uint8)))
    save_annotation(
        root / 'human_parts' / f'{ids[4]}.mat',
        [dict(name='person', class_ind=15, mask=np.ones((60, 80)), parts=[('tentacle', np.ones((60, 80)))])],
    )
    save_picture(root / 'normals_distill' / f'{ids[4]}.png', np.zeros((60, 80), np.uint8))
    (root / 'sal_distill' / f'{ids[5]}.png').write_bytes(b'\x89PNG but no more')
    return {
        (ids[0], 'image'): 'cannot be read',
        (ids[1], 'semseg'): 'no such file',
        (ids[2], 'semseg'): 'expects classes 0..20',
        (ids[3], 'boundary'): "variable 'LabelMap'",
        (ids[3], 'normals'): "variable 'LabelMap'",
        (ids[4], 'human_parts'): "found 'tentacle'",
        (ids[4], 'normals'): 'three-channel',
        (ids[5], 'saliency'): 'cannot be read',
    }
