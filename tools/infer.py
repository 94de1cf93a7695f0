"""Predict every task on your own images or videos: the same as ``mmmtl infer``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('infer')
