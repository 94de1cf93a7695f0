"""Published names of a MLoRE block, as MLoRE and TaskDiffusion's variant have them."""

from __future__ import annotations

_ROUTER = (
    ('conv1', 'local'),
    ('ln', 'local_norm'),
    ('conv3', 'local_out'),
    ('convsp', 'spatial'),
    ('ln_sp', 'spatial_norm'),
    ('conv2', 'spatial_out'),
)
_LOW_RANK = (('W', 'down'), ('M', 'up'))


def block_rules(old: str, new: str, n: int) -> list[tuple[str, str | None]]:
    """Rules of one block.

    Args:
        old: Pattern of its published name, with groups.
        new: Its name here.
        n: Number of the first group behind those of ``old``.
    """
    first, second = rf'\{n}', rf'\{n + 1}'
    return [
        (rf'{old}\.share_conv\.(\w+)', f'{new}.shared.{first}'),
        *((rf'{old}\.lora_list_1\.(\d+)\.{a}\.(\w+)', f'{new}.experts.{first}.{b}.{second}') for a, b in _LOW_RANK),
        *((rf'{old}\.conv2\.(\w+)\.{a}\.(\w+)', f'{new}.own.{first}.{b}.{second}') for a, b in _LOW_RANK),
        (rf'{old}\.conv1\.(.+)', f'{new}.enter.{first}'),
        (rf'{old}\.conv3\.(.+)', f'{new}.leave.{first}'),
        (rf'{old}\.bn\.(\w+)\.(\w+)', f'{new}.norm.{first}.norm.{second}'),
        (rf'{old}\.bn_all\.(\w+)\.(\w+)', f'{new}.expert_norm.{first}.norm.{second}'),
        *((rf'{old}\.router_1\.(\w+)\.0\.{a}\.(\w+)', f'{new}.router.{first}.{b}.{second}') for a, b in _ROUTER),
        (rf'{old}\.router_1\.(\w+)\.1\.(\w+)', f'{new}.router.{first}.gate.{second}'),
    ]
