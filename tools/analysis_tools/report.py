"""An HTML report of an evaluation: the same as ``mmmtl report``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('report')
