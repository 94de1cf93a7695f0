"""Decode every image and label of a config's data sets: the same as ``mmmtl verify``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('verify')
