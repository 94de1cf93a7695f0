"""Train, evaluate and tabulate several networks alike: the same as ``mmmtl study``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('study')
