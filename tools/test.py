"""Evaluate a checkpoint: the same as ``mmmtl test``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('test')
