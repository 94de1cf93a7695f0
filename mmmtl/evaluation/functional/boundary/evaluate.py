"""Boundary evaluation of one image under a named protocol.

========  =====================  ========  =========================  ============================
protocol  prediction             positive  thresholds                 label
========  =====================  ========  =========================  ============================
atrc      8 bit, non-maximum     > t       0.001, 0.01, 0.02 .. 0.99  one map, thinned
          suppression                      and 0.999
mti       8 bit                  >= t      0.01, 0.02 .. 0.99         one map, thinned
bsds      as it is               >= t      the same, as linspace      of every annotator, as it is
========  =====================  ========  =========================  ============================

Sources: atrc = the boundary evaluation tools of ATRC (SEISM), used by InvPT, TaskPrompter, DiffusionMTL and
TaskDiffusion; mti = MTI-Net's; bsds = the Berkeley segmentation benchmark. "8 bit": 255 × probability,
rounded down; the Berkeley benchmark compares the numbers that the file holds. In all of them every binary
prediction is thinned and matched one to one within ``max_dist`` of the diagonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmmtl.errors import ConfigError

from .matching import PixelMatcher
from .nms import suppress
from .thinning import thin


def even_thresholds(count: int) -> tuple[float, ...]:
    """k / (count + 1) for k = 1 .. count, rounded as the benchmark's ``linspace`` rounds.

    8-bit maps hold values exactly at some of these thresholds (85/255 = 1/3), so the last bit decides about whole pixels:
    the benchmark's second of five thresholds is a hair *above* 1/3.
    """
    if count < 1:
        raise ConfigError(f'there must be at least one threshold, got {count}')
    first, last = 1.0 / (count + 1), 1.0 - 1.0 / (count + 1)
    inner = [first + k * (last - first) / (count - 1) for k in range(count - 1)]
    return (*inner, last)


_HUNDREDTHS = tuple(k / 100 for k in range(1, 100))
_THRESHOLDS = {'atrc': (0.001, *_HUNDREDTHS, 0.999), 'mti': _HUNDREDTHS, 'bsds': even_thresholds(99)}


@dataclass(frozen=True)
class BoundarySettings:
    """What a protocol fixes.

    Attributes:
        protocol: Its name.
        thresholds: Ascending.
        max_dist: Largest distance of a pair, as a share of the diagonal.
        nms: Suppress non-maxima of the prediction first.
        inclusive: Positive where value >= threshold (otherwise >).
        thin_label: Thin the label.
        interpolate: Look for the best F between thresholds too.
        eight_bit: Round the prediction down to 8 bits first.
    """

    protocol: str
    thresholds: tuple[float, ...]
    max_dist: float
    nms: bool
    inclusive: bool
    thin_label: bool
    interpolate: bool
    eight_bit: bool = True


def protocol_settings(
    protocol: str = 'atrc', max_dist: float = 0.0075, thresholds: Sequence[float] | None = None, nms: bool | None = None
) -> BoundarySettings:
    """The settings of ``protocol`` (``atrc``, ``mti`` or ``bsds``), with some of them replaced.

    Raises:
        ConfigError: When the protocol is unknown, ``max_dist`` is not in (0, 0.2), or a threshold is not in (0, 1].
    """
    if protocol not in _THRESHOLDS:
        raise ConfigError(f'protocol must be one of {", ".join(_THRESHOLDS)}, got {protocol!r}')
    if not 0 < max_dist < 0.2:
        raise ConfigError(
            f'max_dist is a share of the diagonal between 0 and 0.2, such as 0.0075, no percentage and no pixels; got {max_dist}'
        )
    chosen = tuple(sorted(float(t) for t in thresholds)) if thresholds is not None else _THRESHOLDS[protocol]
    if not chosen or not 0 < chosen[0] <= chosen[-1] <= 1:
        raise ConfigError(f'thresholds must lie in (0, 1] and there must be one; got {chosen[:3]}..')
    return BoundarySettings(
        protocol=protocol,
        thresholds=chosen,
        max_dist=float(max_dist),
        nms=protocol == 'atrc' if nms is None else bool(nms),
        inclusive=protocol != 'atrc',
        thin_label=protocol != 'bsds',
        interpolate=protocol == 'bsds',
        eight_bit=protocol != 'bsds',
    )


def quantised(probability: np.ndarray) -> np.ndarray:
    """The 8-bit map that published code writes: 255 × probability rounded down (uint8 is taken as it is)."""
    if probability.dtype == np.uint8:
        return probability
    scaled = np.float32(255) * np.nan_to_num(np.asarray(probability, np.float32))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def image_counts(probability: np.ndarray, labels: Sequence[np.ndarray], settings: BoundarySettings) -> np.ndarray:
    """Counts of one image at every threshold.

    Args:
        probability: (H, W) in [0, 1], or uint8.
        labels: Boolean (H, W) boundary maps, one per annotator.
        settings: From :func:`protocol_settings`.

    Returns:
        int64 (4, thresholds): matched label pixels and label pixels, added over annotators; predicted pixels
        matched with any annotator, predicted pixels.
    """
    if settings.eight_bit or probability.dtype == np.uint8:
        value = quantised(probability) / 255.0
    else:
        value = np.nan_to_num(np.asarray(probability, np.float64))
    levels = np.array(settings.thresholds)
    if settings.nms:
        value, levels = suppress(value), levels.astype(np.float32)
    labels = [np.asarray(label, bool) for label in labels]
    for label in labels:
        if label.shape != value.shape:
            raise ConfigError(f'prediction is {value.shape}, label {label.shape} (height, width)')
    if settings.thin_label:
        labels = [thin(label) for label in labels]
    lowest = _positive(value, levels[0], settings)
    radius = settings.max_dist * float(np.hypot(*value.shape))
    matchers = [PixelMatcher(label, radius, lowest) for label in labels]
    counts = np.zeros((4, len(levels)), np.int64)
    counts[1] = sum(int(np.count_nonzero(label)) for label in labels)
    before = -1
    for k in range(len(levels) - 1, -1, -1):  # ever more pixels: each matching grows from the one before
        positive = _positive(value, levels[k], settings)
        found = int(np.count_nonzero(positive))
        if found == before:  # the maps are nested, so equal counts mean equal maps
            counts[:, k] = counts[:, k + 1]
            continue
        before = found
        positive = thin(positive)
        counts[3, k] = np.count_nonzero(positive)
        counts[0, k], counts[2, k] = _matched(matchers, positive)
    return counts


def _positive(value: np.ndarray, level: float, settings: BoundarySettings) -> np.ndarray:
    return value >= level if settings.inclusive else value > level


def _matched(matchers: Sequence[PixelMatcher], positive: np.ndarray) -> tuple[int, int]:
    """Matched label pixels added over annotators, and predicted pixels matched with at least one of them."""
    if len(matchers) == 1:
        pairs = matchers[0].match(positive)
        return pairs, pairs
    hits, any_of = 0, np.zeros_like(positive)
    for matcher in matchers:
        hits += matcher.match_nearest(positive)
        any_of |= matcher.matched()[0]
    return hits, int(np.count_nonzero(any_of))
