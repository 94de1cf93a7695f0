"""Prepare MID Intrinsics: the same as ``mmmtl prepare-mid``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('prepare-mid')
