"""Draw which folder of the package imports which, as the Mermaid diagram of ``docs/architecture.md``.

    python tools/misc/draw_rooms.py            prints the diagram
    python tools/misc/draw_rooms.py --write    puts it into docs/architecture.md

An arrow points from the importing folder to the imported one. What follows from other arrows is left out.
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / 'docs' / 'architecture.md'
EVERYWHERE = ('errors', 'registry', 'compat', 'version', 'utils')
"""Imported by nearly every folder; drawn as one box without arrows."""


def room_of(name: str) -> str:
    """``mmmtl.models.layers.film`` → ``models``; the functions on arrays and the losses are rooms of their own."""
    parts = name.split('.')[1:]
    for own in (['evaluation', 'functional'], ['models', 'losses']):
        if parts[:2] == own:
            return '.'.join(own)
    return parts[0] if parts else ''


def imports(root: Path = ROOT) -> dict[str, set[str]]:
    """``{room: rooms it imports}``, read off the source."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((root / 'mmmtl').rglob('*.py')):
        if '.mim' in path.parts:
            continue
        parts = list(path.relative_to(root).with_suffix('').parts)
        package = parts[:-1]
        room = room_of('.'.join(parts))
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                origin = '.'.join([*base, *filter(None, [node.module])])
                names = [f'{origin}.{alias.name}' for alias in node.names]
            found[room] |= {room_of(n) for n in names if n.startswith('mmmtl.')}
    rooms = {r for r in found if (root / 'mmmtl' / r.replace('.', '/')).is_dir()} - set(EVERYWHERE) - {''}
    return {r: {o for o in found[r] & rooms if o != r} for r in rooms}


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The edges without those that follow from others."""

    def reachable(start: str, seen: frozenset[str] = frozenset()) -> set[str]:
        return {start}.union(*(reachable(n, seen | {start}) for n in edges[start] if n not in seen))

    return {
        room: {n for n in others if not any(n in reachable(o) for o in others - {n} if room not in reachable(o))}
        for room, others in edges.items()
    }


def diagram(edges: dict[str, set[str]]) -> str:
    """Mermaid source."""
    lines = ['flowchart TD', f'    all["{", ".join(EVERYWHERE)}: imported by all"]']
    lines += [f'    {room.replace(".", "_")}["{room.replace(".", "/")}/"]' for room in sorted(edges)]
    for room, others in sorted(reduced(edges).items()):
        lines += [f'    {room.replace(".", "_")} --> {other.replace(".", "_")}' for other in sorted(others)]
    return '\n'.join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--write', action='store_true', help='put the diagram into docs/architecture.md')
    text = diagram(imports())
    if not parser.parse_args().write:
        print(text)
        return
    head, _, rest = PAGE.read_text(encoding='utf-8').partition('```mermaid\n')
    PAGE.write_text(f'{head}```mermaid\n{text}\n```' + rest.partition('\n```')[2], encoding='utf-8')


if __name__ == '__main__':
    main()
