"""The label settings of the papers: their maps where they are at hand, a seeded draw of the same kind elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.logging import print_log

from mmmtl.datasets.label_samplers import LabelMap, LabelSampler, OneLabel, RandomLabels, read_label_map
from mmmtl.datasets.preparation.mtpsl_maps import COLUMNS, COUNTS, SETTINGS, check_counts
from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.registry import LABEL_SAMPLERS


@LABEL_SAMPLERS.register_module()
class PublishedLabels(LabelSampler):
    """One label per image, or random labels, as published (MTPSL, DiffusionMTL).

    Only the authors' files say which labels these are. Where ``DATA_ROOT/label_maps/SETTING.json`` holds such a map, as
    ``mmmtl label-map`` writes it, it is used, and must have the published counts; where there is none, the labels are
    drawn by :class:`OneLabel` or :class:`RandomLabels`. The log says which of the two it is.

    Args:
        dataset: ``'pascal'``, ``'nyud'`` or ``'cityscapes'``.
        setting: ``'onelabel'`` or ``'random'``.
        data_root: Root folder of the data set.
        seed: Of the draw.
        among: Tasks that labels are drawn for, as of :class:`RandomLabels`.

    Raises:
        ConfigError: Another data set or setting.
        FileError: A map with other counts than the published ones.
    """

    def __init__(self, dataset: str, setting: str, data_root: str, seed: int = 0, among: Sequence[str] = ()) -> None:
        super().__init__(seed)
        for name, value, allowed in (('dataset', dataset, COLUMNS), ('setting', setting, SETTINGS)):
            if value not in allowed:
                raise ConfigError(
                    f'PublishedLabels: {name} must be one of {sorted(allowed)}, got {value!r}.{suggest(value, allowed)}'
                )
        self.dataset, self.setting, self.among = dataset, setting, tuple(among)
        self.path = Path(data_root).expanduser() / 'label_maps' / f'{setting}.json'

    def _choose(self, available: dict[str, list[str]], tasks: list[str]) -> Mapping[str, Sequence[str]]:
        drawn = {'onelabel': OneLabel, 'random': RandomLabels}[self.setting](seed=self.seed, among=self.among)
        if self.path.is_file():
            labels = read_label_map(self.path)
            setting = check_counts(labels, self.dataset, f'{self.path}: ', 'label_map=PATH takes it as it is.')
            if setting != self.setting:
                raise FileError(
                    f"{self.path}: expected the published map of the setting '{self.setting}', found that of '{setting}'"
                )
            counts = ', '.join(f'{task} {n}' for task, n in COUNTS[self.dataset, setting][0].items())
            print_log(f"Labels: the published map {self.path} (setting '{setting}': {counts})", logger='current')
            return LabelMap(str(self.path))._choose(available, tasks)
        published = (self.dataset, self.setting) in COUNTS
        print_log(
            f"Labels: drawn by {type(drawn).__name__}(seed={self.seed}), setting '{self.setting}'; "
            + (
                f"not the published labels, whose map is not at {self.path} ('mmmtl label-map' converts it)"
                if published
                else 'no map is published for it'
            ),
            logger='current',
            level=logging.WARNING if published else logging.INFO,
        )
        return drawn._choose(available, tasks)
