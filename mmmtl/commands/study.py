"""Train, evaluate and tabulate several networks alike, or search for the best options: ``mmmtl study STUDY``."""

from __future__ import annotations

import argparse
import sys

from mmmtl.utils.command_line import describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Do the runs of a study and write its table, mean ± standard deviation over seeds with Δm; or do the trials of a '
        'sweep, which searches for the best options with Optuna.',
        epilog='Runs whose metrics are there already, in the work dir or beside the table, are skipped; one that was cut '
        'off goes on from its last checkpoint.',
        config=False,
    )
    parser.add_argument('study', help='file with study = dict(...) or sweep = dict(...), see configs/studies/')
    parser.add_argument('--work-dir', help='a folder per run (default: work_dirs/studies/ + name of the study)')
    parser.add_argument(
        '--out', metavar='FILE', help='write the table here (.md), and the numbers and runs beside it (.json)'
    )
    parser.add_argument('--jobs', type=positive, default=1, metavar='N', help='runs at a time (default: 1)')
    parser.add_argument('--table-only', action='store_true', help='tabulate what is there')
    parser.add_argument('--run', metavar='NAME', help='execute this run alone, in this process')


def run(args: argparse.Namespace) -> None:
    """Do a study: run and tabulate."""
    from pathlib import Path

    from mmmtl.analysis.study import main_of_run, run_study, study_table
    from mmmtl.analysis.sweep import holds_sweep, main_of_trial, run_sweep, sweep_table

    work_dir = args.work_dir or str(Path('work_dirs', 'studies', Path(args.study).stem))
    sweeps = holds_sweep(args.study)
    if args.run:
        (main_of_trial if sweeps else main_of_run)(args.study, work_dir, args.run)
        return
    failed = []
    if not args.table_only:
        command = [sys.executable, '-m', 'mmmtl', 'study', args.study, '--work-dir', work_dir, '--run']
        if sweeps:
            failed = run_sweep(args.study, work_dir, args.jobs, command)
        else:
            failed = run_study(args.study, work_dir, args.jobs, command, args.out)
    print((sweep_table if sweeps else study_table)(args.study, work_dir, args.out))
    if failed:
        print(f'failed, see run.log in their folders below {work_dir}: {", ".join(failed)}', file=sys.stderr)
        sys.exit(1)
