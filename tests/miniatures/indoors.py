"""Miniatures of DIODE and of the raw MID Intrinsics."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from .scenes import save_picture
from .streets import holes, pair


def write_diode(root: Path, size: tuple[int, int] = (36, 48)) -> dict[str, dict]:
    """A photograph indoors and one outdoors, with holes in the mask, and normals of length 0, 0.4 and 1.2."""
    truth = {}
    for k, place in enumerate(('indoors', 'outdoor')):
        scene = pair(80 + k, size)
        stem = f'{place}/scene_0001{k}/scan_0018{k}/0001{k}_0018{k}_{place}_000_010'
        save_picture(root / f'{stem}.png', scene['img'])
        gone, short, long = (holes(size, step) for step in (5, 7, 11))
        factor = np.where(gone, 0, np.where(short, 0.4, np.where(long, 1.2, 1.0)))
        np.save(root / f'{stem}_depth.npy', scene['depth'][0][..., None])
        np.save(root / f'{stem}_depth_mask.npy', (~gone).astype(np.float32))
        np.save(root / f'{stem}_normal.npy', (scene['normals'] * factor).transpose(1, 2, 0))
        truth[stem] = dict(scene, gone=gone, no_normal=factor < 0.5)
    return truth


def save_exr(path: Path, array: np.ndarray, compression: str = 'ZIP', kind: str = '<f4') -> None:
    """RGB (H, W, 3) as an OpenEXR picture of scan lines: NONE, RLE (literal runs), ZIPS, ZIP, or only named PIZ."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = array.shape[:2]
    code, lines = {'NONE': (0, 1), 'RLE': (1, 1), 'ZIPS': (2, 1), 'ZIP': (3, 16), 'PIZ': (4, 32)}[compression]

    def attribute(name: str, form: str, value: bytes) -> bytes:
        return f'{name}\0{form}\0'.encode() + struct.pack('<i', len(value)) + value

    channels = b''.join(f'{n}\0'.encode() + struct.pack('<iIii', 1 if kind == '<f2' else 2, 0, 1, 1) for n in 'BGR')
    head = struct.pack('<II', 20000630, 2) + attribute('channels', 'chlist', channels + b'\0')
    head += attribute('compression', 'compression', bytes([code]))
    head += attribute('dataWindow', 'box2i', struct.pack('<4i', 3, 5, 2 + width, 4 + height)) + b'\0'
    blocks = []
    for top in range(0, height, lines):
        raw = array[top : top + lines, :, ::-1].transpose(0, 2, 1).astype(kind).tobytes()
        block = raw
        if compression != 'NONE':
            values = np.frombuffer(raw, np.uint8)
            apart = np.concatenate([values[0::2], values[1::2]]).astype(np.int64)
            apart[1:] = (np.diff(apart) + 128) & 255
            packed = apart.astype(np.uint8).tobytes()
            if compression == 'RLE':
                runs = [_run(packed, at) for at in _starts(packed)]
                block = b''.join(runs)
            else:
                block = zlib.compress(packed)
            block = block if len(block) < len(raw) else raw
        blocks.append(struct.pack('<ii', 5 + top, len(block)) + block)
    table, place = b'', len(head) + 8 * len(blocks)
    for block in blocks:
        table, place = table + struct.pack('<Q', place), place + len(block)
    path.write_bytes(head + table + b''.join(blocks))


def _starts(data: bytes) -> list[tuple[int, int]]:
    """(start, end) of runs of one value, at most 128 long."""
    out, at = [], 0
    while at < len(data):
        end = at + 1
        while end < len(data) and data[end] == data[at] and end - at < 128:
            end += 1
        out.append((at, end))
        at = end
    return out


def _run(data: bytes, span: tuple[int, int]) -> bytes:
    start, end = span
    if end - start == 1:
        return struct.pack('b', -1) + data[start:end]
    return struct.pack('b', end - start - 1) + data[start : start + 1]


def write_mid(root: Path, size: tuple[int, int] = (40, 60)) -> dict[str, dict]:
    """Two scenes with two lights each (the second three times as bright); a black patch in the albedo."""
    truth = {}
    for k, name in enumerate(('everett_dining1', 'everett_kitchen2')):
        scene = pair(90 + k, size)
        albedo, dark = scene['albedo'].transpose(1, 2, 0).copy(), np.zeros(size, bool)
        dark[4:9, 6:12] = True
        albedo[dark] = [0.3, 0.0, 0.2]
        save_exr(root / 'test' / name / 'albedo.exr', albedo, 'ZIP', '<f2')
        for light, gain in ((0, 1.0), (13, 3.0)):
            radiance = gain * albedo * scene['shading'].transpose(1, 2, 0)
            save_exr(root / 'test' / name / f'dir_{light}_mip2.exr', radiance, 'ZIPS' if light else 'NONE')
            truth[f'test/{name}_dir_{light}_mip2'] = dict(radiance=radiance, albedo=albedo, dark=dark)
    return truth
