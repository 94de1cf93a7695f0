"""The card of a stored network: what it is, its figures, and the licences of code, weights and data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from torch import nn

from mmmtl.utils.tables import markdown_table
from mmmtl.utils.trees import dataset_configs
from mmmtl.version import __version__

from .sources import LICENCES

CODE_LICENCE = 'Apache-2.0'
NOT_STATED = 'not stated'
_CARD = """---
library_name: mmmtl
license: {licence}
tags:
- multi-task-learning
- dense-prediction
{tags}
---

# {title}

{about}

Tasks: {tasks}. {parameters:.1f} million parameters. Written by mmmtl {version}.

```python
import mmmtl

model = mmmtl.get_model('OWNER/NAME', pretrained=True)  # where this folder lies on the hub, or its path
results = mmmtl.apis.Inferencer(model)('photograph.jpg')
```

## Figures

{figures}

## Licences

{licences}
"""


def write_card(
    model: nn.Module,
    cfg: Config,
    name: str | None,
    figures: Mapping[str, float] | None,
    about: str,
    licences: Mapping[str, str],
) -> tuple[str, dict[str, str]]:
    """The text of a card, and the licences that it tells."""
    data = sorted(set(_datasets(cfg)))
    known = '; '.join(f'{kind}: {LICENCES.get(kind, NOT_STATED)}' for kind in data) or NOT_STATED
    told = dict(code=CODE_LICENCE, weights=NOT_STATED, data=known) | dict(licences)
    rows = [[f'{key}', f'{value:.4f}'] for key, value in (figures or {}).items()]
    text = _CARD.format(
        licence=told['weights'].lower() if told['weights'] != NOT_STATED else 'other',
        tags='\n'.join(f'- {task}' for task in model.tasks),
        title=name or type(model).__name__,
        about=about or 'Nothing is said about what it can do.',
        tasks=', '.join(model.tasks),
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        version=__version__,
        figures=markdown_table(['metric', 'value'], rows) if rows else 'None were recorded.',
        licences=markdown_table(['of', 'licence'], [[key, value] for key, value in told.items()]),
    )
    return text, told


def _datasets(cfg: Config) -> Iterator[str]:
    """Types of the data sets that a config trains on."""
    for _, dataset in dataset_configs((cfg.get('train_dataloader') or {}).get('dataset'), ''):
        if not dataset.get('dataset') and not dataset.get('datasets'):
            yield str(dataset.get('type')).rpartition('.')[2]
