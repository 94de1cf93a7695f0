"""``python -m mmmtl COMMAND ...``, the same as ``mmmtl COMMAND ...``."""

from mmmtl.commands import main

if __name__ == '__main__':
    main()
