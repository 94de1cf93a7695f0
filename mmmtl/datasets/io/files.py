"""Lists of sample ids."""

from __future__ import annotations

from pathlib import Path


def read_id_list(path: str | Path) -> list[str]:
    """Sample ids of a split file: one a line; blank lines and trailing carriage returns are dropped.

    Raises:
        FileNotFoundError: No such file; lists the split files beside it.
        ValueError: An empty file or an id that occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.txt')) if path.parent.is_dir() else 'no such folder'
        raise FileNotFoundError(f'split file {path}: no such file (beside it: {beside})')
    ids = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    if not ids:
        raise ValueError(f'split file {path}: no sample ids in it')
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"split file {path}: sample id '{twice}' is listed twice")
    return ids
