"""Metrics of predictions in files: the same as ``mmmtl eval-predictions``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('eval-predictions')
