"""Predictions of several runs on the same images: the same as ``mmmtl side-by-side``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('side-by-side')
