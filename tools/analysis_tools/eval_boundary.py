"""Boundary metrics of files: the same as ``mmmtl eval-boundary``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('eval-boundary')
