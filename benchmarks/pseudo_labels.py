"""A small study: one label per image, then the other tasks labelled by the network itself.

``python -m benchmarks.pseudo_labels --work-dir DIR`` trains on Diorama with one label per image; labels the tasks that
every image lacks with that network, where several noise seeds agree (``mmmtl predict --as-labels``); trains a second
network from scratch on both, for as many iterations; trains a third as long as the first two together on the true
labels alone; and evaluates all three alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.analysis.collection import predict_collection, train_on_labels
from mmmtl.apis import Inferencer, test, train
from mmmtl.config import load_config
from mmmtl.utils.files import write_json
from mmmtl.utils.tables import format_table


def main() -> None:
    """Run the study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='configs/taskdiffusion/vitt_diorama.py')
    parser.add_argument('--work-dir', default='work_dirs/pseudo_labels')
    parser.add_argument('--tasks', nargs='+', default=['semseg', 'depth', 'normals'])
    parser.add_argument('--iterations', type=int, default=150)
    parser.add_argument('--images', type=int, default=96)
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--ensemble', type=int, default=3)
    parser.add_argument('--keep-below', nargs='+', default=['0.3', '0.3', '15'], help='one number per task')
    parser.add_argument('--weight', type=float, default=1.0)
    args = parser.parse_args()
    if len(args.tasks) != len(args.keep_below):
        parser.error(f'--keep-below: {len(args.keep_below)} numbers for {len(args.tasks)} tasks')
    folder, limits = Path(args.work_dir), dict(zip(args.tasks, map(float, args.keep_below)))
    options = {
        'only_tasks': list(args.tasks),
        'crop_size': (args.size, args.size),
        'max_iters': args.iterations,
        'label_setting': 'onelabel',
        'train_dataloader.dataset.length': args.images,
        'train_dataloader.batch_size': args.batch,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
        'test_dataloader.dataset.length': 24,
    }
    found: dict[str, dict[str, float]] = {}

    def run(name: str, config: str | Path, changes: dict) -> Path:
        cfg = load_config(config, {**changes, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None})
        train(cfg, str(folder / name), overwrite=True)
        steps = cfg.train_cfg.max_iters
        checkpoint = folder / name / f'iter_{steps}.pth'
        found[name] = test(load_config(args.config, options), str(checkpoint), str(folder / name / 'test'))
        return checkpoint

    first = run('true labels', args.config, options)
    once = folder / 'one_label.py'
    load_config(args.config, options).dump(str(once))
    inferencer = Inferencer(load_config(once), str(first))
    out = folder / 'labels'
    print(predict_collection(inferencer, [str(once)], str(out), ensemble=args.ensemble, keep_below=limits))
    mixed = train_on_labels(load_config(once), [str(once)], str(out), args.tasks, args.weight)
    run('with labels of its own', mixed, {})
    run('true labels, twice as long', args.config, {**options, 'max_iters': 2 * args.iterations})
    names = list(found['true labels'])
    rows = [
        [name, *(f'{found[run][name]:.4f}' for run in found)]
        for name in names
        if all(name in f for f in found.values())
    ]
    write_json(folder / 'study.json', found)
    print(format_table(['metric', *found], rows, right=tuple(range(1, 1 + len(found)))))


if __name__ == '__main__':
    main()
