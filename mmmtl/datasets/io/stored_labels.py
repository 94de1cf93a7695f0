"""From the numbers of a label file to a label, by what a person says the numbers mean."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmmtl.errors import FileError
from mmmtl.tasks import IGNORE, Task

from .arrays import decode_flow, read_flo, read_npy, read_pfm
from .derived import mask_invalid
from .label_format import LabelFormat, class_names
from .matlab import read_mat_map
from .palettes import palette_remark, two_levels
from .pictures import Picture, decode, turn_upright
from .values import colour_codes, full_scale, join_annotators, map_values, numbers_of, read_table, spread, tell_mask

LABEL_SUFFIXES = ('.png', '.npy', '.flo', '.tif', '.tiff', '.bmp', '.mat', '.pfm', '.exr', '.jpg', '.jpeg')
_ARRAYS = ('.npy', '.flo', '.pfm', '.exr', '.mat')
_LOSSY = ('.jpg', '.jpeg')


class StoredLabels:
    """Reads the label files of one task.

    Args:
        where: The data set's entry for the task, for messages.
        task: The task.
        form: The entry; see :class:`LabelFormat`.
        folder: Where the files are, for messages.
        upright: Turn pictures as their own EXIF orientation says.
    """

    def __init__(self, where: str, task: Task, form: Mapping[str, Any], folder: str = '', upright: bool = True) -> None:
        self.folder, self.upright = folder, upright
        self.where, self.task, self.form = where, task, LabelFormat.of(where, task, form)
        self.stated = bool({'unknown', 'values', 'threshold', 'offset'} & set(form))
        self.table: dict[int, int] | None = None
        self.by_colour = False
        self.undecided = False  # whether the masks looked at leave open what 255 is
        if self.form.values is not None:
            self.table, self.by_colour = read_table(self.form.values, class_names(task), f'{where}.values')

    def infer(self, files: Sequence[Path]) -> None:
        """Look at some files: masks of 0 and 255 for two classes are 0 and 1, and the log says so, as it tells of doubts.

        Args:
            files: Those that :func:`label_examples` chooses.
        """
        with contextlib.suppress(FileError):  # named when it is read
            self._doubt(files)
        maps = _stored_maps(files) if self.may_be_mask else {}
        if self.set_numbers(numbers_of(maps.values())):
            return
        kinds = {path: self._known(np.unique(stored).tolist()) for path, stored in maps.items()}
        whole = [path for path, kind in kinds.items() if kind == {0, IGNORE}]
        if whole and any(1 in kind for kind in kinds.values()):
            self._warn(
                f'masks of two kinds: {len(whole)} of {len(kinds)} looked at hold 0 and {IGNORE} and no 1, for example '
                f'{whole[0].name}, others hold 1: {IGNORE} is read as unknown in all of them. If it is class 1, say '
                f'formats=dict({self.task.name}=dict(values={{0: 0, 1: 1, {IGNORE}: 1}}))'
            )

    def _warn(self, text: str) -> None:
        print_log(f'{self.folder or self.where}: {text}', logger='current', level=logging.WARNING)

    def _doubt(self, files: Sequence[Path]) -> None:
        """Tell of ids of palettes that may be no classes, and of whole numbers that may be in no unit."""
        task, name = self.task, self.task.name
        if task.categorical and not self.stated:
            remark = palette_remark(files, self._count)
            if remark:
                self._warn(
                    f'{remark}: the ids are read as classes. If the colours say the class, say formats=dict({name}=dict('
                    f'values={{(r, g, b): class, ...}})), else values={{0: 0, 1: 1, ...}}'
                )
        if self.form.values == 'cityscapes' and files:
            seen = {n for path in files for n in np.unique(_stored_map(path)).tolist()} - {IGNORE}
            if seen and max(seen) < 19:
                self._warn(
                    f'the numbers go up to {max(seen)} alone, as those of train ids do: values="cityscapes" is for raw label '
                    f'ids. If they are train ids, leave values out'
                )
        bounded = np.isfinite(getattr(task, 'value_range', (-np.inf, np.inf))).all()
        if not task.categorical and not bounded and self.form.scale is None and files:
            kind = _stored_map(files[0]).dtype
            if kind.kind in 'iu' and not (task.label_channels == 2 and kind == np.uint16):
                unit = getattr(task, 'unit', '')
                self._warn(
                    f'the whole numbers of the files ({kind}, for example {files[0].name}) are read as {unit} as they '
                    f'are: say what one is, formats=dict({name}=dict(scale=0.001)) for thousandths, scale=1 if it is so'
                )

    @property
    def may_be_mask(self) -> bool:
        """Whether 255 may be the second class: in the files of a task of two classes that nothing is said of."""
        stated = self.form.values is not None or self.form.threshold is not None or self.form.offset
        unknown = () if self.form.unknown is None else self.form.unknown
        return self.task.categorical and self._count == 2 and not stated and not np.isin(IGNORE, np.ravel(unknown))

    def _known(self, numbers: Iterable[int]) -> set[int]:
        """Numbers of masks, those that are said to mean unknown counted as 0."""
        unknown = [] if self.form.unknown is None else np.ravel(self.form.unknown).tolist()
        return {0 if n in unknown else n for n in numbers}

    def set_numbers(self, numbers: Iterable[int]) -> bool:
        """Read masks that hold 0 and the largest number of their type alone as 0 and 1, where the task has two classes and
        nothing else is said; returns whether they are."""
        known = self._known(numbers) if self.may_be_mask else set()
        self.undecided, white = known in ({0}, {IGNORE}), full_scale(known)
        if white is not None:
            self.table = {0: 0, white: 1}
            tell_mask(self.folder or self.where, white)
        return white is not None

    def read(self, path: Path) -> np.ndarray:
        """The label of a file, in the package's convention."""
        suffix, categorical = path.suffix.lower(), self.task.categorical
        if suffix not in _ARRAYS:
            picture = decode(path)
            if picture.frames > 1:
                raise FileError(
                    f'{path}: expected one map, found {picture.frames} pages: save the one that is the label as a file '
                    f'of its own'
                )
            if suffix in _LOSSY and categorical and self.form.threshold is None:
                raise FileError(
                    f'{path}: expected class ids, found JPEG, which changes numbers: say threshold=127 where it is a mask '
                    f'of two levels (formats=dict({self.task.name}=dict(threshold=127))), else export it as PNG'
                )
            if picture.alpha is not None and (picture.alpha != picture.alpha.max()).any():
                raise FileError(
                    f'{path}: expected a label without transparency, found pixels that are transparent and others that '
                    f'are not: what they mean cannot be told. Save it without its alpha channel'
                )
            if self.upright and picture.orientation != 1:
                if getattr(self.task, 'label_channels', 1) > 1:
                    raise FileError(
                        f'{path}: expected a label that is upright, found one that its EXIF orientation '
                        f'({picture.orientation}) turns, with vectors that would have to turn too: save it upright'
                    )
                picture.pixels = turn_upright(picture.pixels, picture.orientation)
            return (
                self._classes(path, picture) if categorical else self._numbers(path, picture.colours(), picture.white)
            )
        stored = _array(path, suffix, self.form)
        return self._classes(path, Picture(stored, 'array')) if categorical else self._numbers(path, stored)

    # ---- classes ---------------------------------------------------------------------------------------------------
    def _classes(self, path: Path, picture: Picture) -> np.ndarray:
        if self.by_colour:
            return self._by_colour(path, picture.colours())
        form, two = self.form, two_levels(picture) if self.may_be_mask else None
        if form.threshold is not None:  # of grey levels, whatever their order in a palette
            picture = Picture(picture.colours(), picture.mode, picture.bits)
        stored = _one_plane(picture) if two is None else two
        if stored.ndim == 3 and picture.mode == 'array':
            stored = self._annotated(path, stored)
        if stored.ndim != 2:
            examples = [tuple(c) for c in np.unique(stored.reshape(-1, stored.shape[-1]), axis=0)[:4].tolist()]
            raise FileError(
                f'{path}: expected class ids (one channel), found {picture.mode} {stored.shape} with colours like '
                f'{examples}: say which colour is which class, formats=dict({self.task.name}=dict('
                f'values={{(r, g, b): class, ...}}))'
            )
        if stored.dtype.kind not in 'biu' and self.form.threshold is None:
            whole = np.where(np.isfinite(stored), stored, IGNORE)
            if not path.suffix.lower() == '.mat' or (whole != np.rint(whole)).any():
                raise FileError(
                    f'{path}: expected integer class ids, found {stored.dtype}: save it as integers, or say threshold=0.5'
                )
            stored = whole.astype(np.int64)
        if form.threshold is not None:
            top = 1 if stored.dtype == bool else np.inf if picture.mode == 'array' else picture.white
            if stored.dtype.kind != 'f' and not 0 <= form.threshold < top:
                raise FileError(
                    f'{path}: expected numbers that a threshold of {form.threshold:g} cuts in two, found a picture of '
                    f'0..{top:g}: choose a threshold below {top:g}'
                )
            label = (stored > form.threshold).astype(np.int64)
            label[np.isnan(stored)] = IGNORE
        elif self.table is not None:
            label, missing = map_values(stored, self.table)
            self._refuse(path, stored, missing & ~self._hidden(stored))
        else:
            label = stored.astype(np.int64) + int(self.form.offset)
        hidden = self._hidden(stored)
        if self.undecided and (stored == IGNORE).any() and not (stored == 1).any():
            raise FileError(
                f'{path}: expected 0 and 1, found {IGNORE}, which may be class 1 or unknown: the masks that were looked at are '
                f'of one number. Say formats=dict({self.task.name}=dict(values={{0: 0, {IGNORE}: 1}})), or unknown=[{IGNORE}]'
            )
        if self.table is None and self.form.threshold is None:
            if not (self.form.offset and 0 <= IGNORE + self.form.offset < self._count):
                hidden |= stored == IGNORE  # the void that every such format knows, whatever the offset
            wrong = ~hidden & ((label < 0) | (label >= self._count))
            if self._count == 2 and (wrong & (label > 1)).any():
                raise FileError(
                    f'{path}: expected 0, 1 or {IGNORE} (unknown), found {np.unique(stored)[:8].tolist()}: say what '
                    f'they mean, formats=dict({self.task.name}=dict(threshold=127)) or dict(values={{0: 0, ...: 1}})'
                )
            if wrong.any():
                raise FileError(self._beyond(path, np.unique(stored[wrong])[:8].tolist(), np.unique(label[~hidden])))
        label[hidden] = IGNORE
        return label

    def _beyond(self, path: Path, found: list[int], seen: np.ndarray) -> str:
        """The message for numbers ``found`` that are no classes among those ``seen``, with what to say about them."""
        remedy = f'name more classes, or say what they mean: unknown={found}, or values={{{found[0]}: class, ...}}'
        if seen[0] >= 0 and seen[-1] == self._count:
            remedy = 'where ids begin at 1, say offset=-1, and unknown=[0] if 0 is unlabelled; else name one class more'
        return (
            f"{path}: expected classes 0..{self._count - 1} of task '{self.task.name}' or {IGNORE} (unknown), found "
            f'{found}: {remedy} (formats=dict({self.task.name}=dict(...)))'
        )

    @property
    def _count(self) -> int:
        return len(class_names(self.task))

    def _hidden(self, stored: np.ndarray) -> np.ndarray:
        """Where a stored number is one of ``unknown`` (of 255 alone, where nothing is said)."""
        default = () if self.table is not None or self.form.threshold is not None else (IGNORE,)
        unknown = default if self.form.unknown is None else self.form.unknown
        return np.isin(stored, np.atleast_1d(unknown))

    def _by_colour(self, path: Path, colours: np.ndarray) -> np.ndarray:
        if colours.ndim == 2:
            colours = np.repeat(colours[..., None], 3, -1)
        if colours.dtype != np.uint8 or colours.ndim != 3 or colours.shape[-1] != 3:
            raise FileError(f'{path}: expected colours of 8 bits (H, W, 3), found {colours.dtype} {colours.shape}')
        label, missing = map_values(colour_codes(colours), self.table or {})
        if self.form.unknown is not None:
            known_unknown = colour_codes(np.array(self.form.unknown, np.int64).reshape(-1, 3))
            missing &= ~np.isin(colour_codes(colours), known_unknown)
        self._refuse(path, colours, missing)
        return label

    def _refuse(self, path: Path, stored: np.ndarray, missing: np.ndarray) -> None:
        if missing.any():
            found = np.unique(stored[missing], axis=0)[:6].tolist()
            source = (
                f'{self.where}.values'
                if self.form.values is not None
                else 'the masks of this folder (0 and its largest number)'
            )
            raise FileError(
                f'{path}: expected what {source} names, found {found} in {int(missing.sum())} pixels: add them to '
                f'values ({IGNORE} for unknown), or to unknown'
            )

    def _annotated(self, path: Path, stored: np.ndarray) -> np.ndarray:
        """One map of those of several annotators, (A, H, W)."""
        if 1 in stored.shape:
            return np.squeeze(stored, stored.shape.index(1))
        chosen, count = self.form.annotators, len(stored)
        if isinstance(chosen, int) and 0 <= chosen < count:
            return stored[chosen]
        if isinstance(chosen, str):
            return join_annotators(stored, chosen)
        raise FileError(
            f'{path}: expected one map, found {count} of shape {stored.shape[1:]}: choose one, formats=dict('
            f"{self.task.name}=dict(annotators=0)) .. {count - 1}, or join them, annotators='any' or 'majority'"
        )

    # ---- numbers ---------------------------------------------------------------------------------------------------
    def _numbers(self, path: Path, stored: np.ndarray, white: float | None = None) -> np.ndarray:
        """Numbers of an array, or of a picture whose largest possible number is ``white``."""
        picture = white is not None
        channels, form, low_high = self.task.label_channels, self.form, getattr(self.task, 'value_range', (0, np.inf))
        stored = stored.astype(np.uint8) if stored.dtype == bool else stored
        if channels == 2 and picture and stored.ndim == 3 and stored.dtype == np.uint16 and form.scale is None:
            flow, known = decode_flow(stored)
            return mask_invalid(flow, ~known)
        if stored.ndim == 3 and channels == 1:
            stored = _one_plane(Picture(stored, ''))
        if picture and stored.ndim == 3 and channels <= 2 and form.scale is None and not np.isfinite(low_high).all():
            raise FileError(
                f'{path}: expected numbers, found colours ({stored.dtype} {stored.shape}), as of a rendering, from which '
                f"the values of task '{self.task.name}' cannot be told: give the file that it was made of"
            )
        if picture and stored.ndim == 3 and stored.shape[-1] > channels == 2:
            stored = stored[..., :2]
        if not picture and stored.ndim == 3 and stored.shape[0] == channels != stored.shape[-1]:
            stored = stored.transpose(1, 2, 0)
        planes = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1) if stored.ndim == 3 else stored
        if planes.ndim != 3 or planes.shape[0] != channels:
            raise FileError(f'{path}: expected {channels} channels, found shape {stored.shape}')
        unknown = form.unknown
        if unknown is None:
            unknown = (0,) if (picture or self.task.zero_is_unknown) and channels == 1 else ()
        values = planes.astype(np.float64 if planes.dtype.itemsize > 2 and planes.dtype != np.float32 else np.float32)
        hidden = np.isnan(values).any(0)
        if path.suffix.lower() in ('.pfm', '.exr'):  # where infinity is the usual mark
            hidden |= np.isinf(values).any(0)
        if np.size(unknown):
            kind = planes.dtype if planes.dtype.kind == 'f' else None  # 0.1 is another number in 32 bits than in 64
            hidden = hidden | np.isin(planes, np.atleast_1d(np.asarray(unknown, kind))).all(0)
        scale, offset = form.scale, form.offset
        if scale is None and not offset and white and planes.dtype.kind == 'u' and np.isfinite(low_high).all():
            # black is the lowest value, white the highest, as in predictions
            scale, offset = (low_high[1] - low_high[0]) / white, low_high[0]
        number = values.dtype.type
        values = values * number(1.0 if scale is None else scale) + number(offset)
        if self.task.zero_is_unknown:  # whatever else is unknown, too
            hidden = hidden | (values == 0).all(0)
        return mask_invalid(values, np.asarray(hidden))


def label_examples(files: Sequence[Path]) -> list[Path]:
    """Some files by which masks of a folder can be told: evenly spread, of the forms that masks come in."""
    return [path for path in spread(sorted(files), 16) if path.suffix.lower() not in (*_ARRAYS[1:], *_LOSSY)]


def mask_numbers(examples: Sequence[Path]) -> list[int]:
    """The numbers that masks of a folder hold, for :meth:`StoredLabels.set_numbers`; none where these are no masks."""
    return sorted(numbers_of(_stored_maps(examples).values()))


def _stored_maps(files: Sequence[Path]) -> dict[Path, np.ndarray]:
    """The maps of those files that can be read; the others are named when they are."""
    found = {}
    for path in files:
        with contextlib.suppress(FileError):
            found[path] = _stored_map(path)
    return found


def _stored_map(path: Path) -> np.ndarray:
    if path.suffix.lower() == '.npy':
        return read_npy(path)
    picture = decode(path)
    two = two_levels(picture)
    return _one_plane(picture) if two is None else two


def _array(path: Path, suffix: str, form: LabelFormat) -> np.ndarray:
    """The numbers of a file that is no picture."""
    if suffix == '.npy':
        array = read_npy(path)
        return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if suffix == '.flo':
        return read_flo(path)
    if suffix == '.mat':
        array = read_mat_map(path, form.key, form.category, form.internal)
        if array.dtype.kind not in 'biuf':
            raise FileError(f'{path}: expected a map of numbers, found {array.dtype} {array.shape}')
        return array
    return read_pfm(path) if suffix == '.pfm' else decode(path).pixels


def _one_plane(picture: Picture) -> np.ndarray:
    """The one plane of a grey picture that is stored as colour; other pixels as they are."""
    pixels = picture.pixels
    if pixels.ndim == 3 and pixels.shape[-1] == 3 and picture.mode != 'array':
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
    return pixels
