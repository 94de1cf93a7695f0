"""Going through a whole data set: fill its cache of derived labels, one sample at a time or in several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from mmmtl.datasets.base import MTLDataset
from mmmtl.datasets.statistics import leaf_datasets
from mmmtl.errors import LabelError
from mmmtl.registry import DATASETS

_dataset: MTLDataset | None = None


def _receive(dataset: MTLDataset) -> None:
    global _dataset
    _dataset = dataset


def _call(work: Callable[[MTLDataset, int], Any], index: int) -> Any:
    if _dataset is None:
        raise RuntimeError('the worker process was not given its data set')
    return work(_dataset, index)


def for_every_sample(
    dataset: MTLDataset,
    work: Callable[[MTLDataset, int], Any],
    workers: int = 0,
    progress: bool = True,
    title: str = '',
) -> Iterator[Any]:
    """Yield ``work(dataset, index)`` for every sample, in order.

    Args:
        dataset: The data set.
        work: A function of a module (it is sent to the processes).
        workers: Processes; 0 for none.
        progress: Show a progress bar with the time left.
        title: Its title.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(dataset), desc=title, disable=not progress, unit='image')
    with bar:
        if workers <= 0:
            for index in range(len(dataset)):
                yield work(dataset, index)
                bar.update()
            return
        with ProcessPoolExecutor(workers, initializer=_receive, initargs=(dataset,)) as pool:
            chunk = max(1, min(16, len(dataset) // (4 * workers)))
            for result in pool.map(_call, [work] * len(dataset), range(len(dataset)), chunksize=chunk):
                yield result
                bar.update()


def _derive(dataset: MTLDataset, index: int) -> tuple[str, Any, str | None]:
    info = dataset.get_data_info(index)
    try:
        with dataset.files_of(info):
            return info['sample_id'], dataset.derive(info), None
    except (ValueError, OSError) as error:
        return info['sample_id'], None, str(error)


def prepare_labels(dataset: MTLDataset, workers: int = 0, progress: bool = True) -> list[str]:
    """Fill the cache of derived labels of every sample, labelled or not.

    Returns:
        What went wrong, one message per sample: a bad file does not stop the others.
    """
    notes, faults = {}, []
    for sample_id, note, fault in for_every_sample(dataset, _derive, workers, progress, 'deriving labels'):
        if fault is None:
            notes[sample_id] = note
        else:
            faults.append(f"sample '{sample_id}': {fault}")
    dataset.finish_derived(notes)
    return faults


def data_sets(cfg: Mapping[str, Any], splits: Sequence[str]) -> Iterator[tuple[str, MTLDataset]]:
    """The data sets behind a config's data loaders, each once, with every existing label visible and no pipeline.

    Args:
        cfg: A config with ``train_dataloader`` and so on; wrapped data sets (repeated, concatenated) are unwrapped.
        splits: Of ``train``, ``val``, ``test``.

    Yields:
        (name of the data loader, data set).
    """
    seen: list[dict] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for config in leaves(loader['dataset']) if loader else ():
            kept = {k: v for k, v in config.items() if k not in _NOT_FOR_ALL_LABELS}
            if kept not in seen:
                seen.append(kept)
                built = DATASETS.build(dict(kept, pipeline=[], allow_unlabelled=True))
                yield from ((split, leaf) for leaf in leaf_datasets(built))  # a list of indexes makes several


_NOT_FOR_ALL_LABELS = (
    'pipeline label_sampler label_map_out drop_unlabelled leak_labels_to_crop indices test_mode parts_need_person'
).split()


def leaves(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configs of the data sets that wrappers (concatenated, repeated) hold."""
    if 'datasets' in config:
        for inner in config['datasets']:
            yield from leaves(inner)
    elif 'dataset' in config and 'tasks' not in config:  # pseudo-labels have tasks of their own
        yield from leaves(config['dataset'])
    else:
        yield config


def prepare_command(cfg: Mapping[str, Any], splits: Sequence[str], workers: int = 0) -> None:
    """Prepare the data sets of a config and say what was done.

    Raises:
        LabelError: When files were bad: all of them, after everything else has been derived.
    """
    faults = []
    for split, dataset in data_sets(cfg, splits):
        bad = prepare_labels(dataset, workers)
        faults += bad
        print(f'{split}: labels of {len(dataset) - len(bad)} of {len(dataset)} samples derived')
    if faults:
        raise LabelError(f'{len(faults)} samples have bad files:\n' + '\n'.join(faults))
