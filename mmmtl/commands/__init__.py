"""The commands: ``mmmtl COMMAND``, ``python -m mmmtl COMMAND``, and the files of ``tools/``.

One module a command, named like it; ``add_arguments`` declares what it takes and ``run`` does it. Modules are imported
where their command is asked for, and import what they need when they run.
"""

from .main import COMMANDS, main, parser_of, run_tool

__all__ = ['COMMANDS', 'main', 'parser_of', 'run_tool']
