"""Fill a data set's cache of derived labels: the same as ``mmmtl prepare-labels``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('prepare-labels')
