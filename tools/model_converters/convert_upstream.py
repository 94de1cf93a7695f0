"""Convert a published checkpoint: the same as ``mmmtl convert``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('convert')
