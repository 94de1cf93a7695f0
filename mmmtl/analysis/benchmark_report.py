"""A network's speed as a person asks for it, beside the transcription of its method's published data flow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.ops.allocator import live_memory
from mmmtl.ops.dispatch import plain_operations
from mmmtl.utils.files import write_json

from .benchmark import Benchmark, Speed, parts_table, peak_memory
from .complexity import count_complexity
from .costs import catalogue_table
from .published import pair_class
from .roofline import roofline as roofline_table
from .scaling import scaling_report


def transcription_of(bench: Any) -> Any:
    """The transcription beside the network of a benchmark, with its weights.

    Raises:
        ConfigError: The network is not of the form of the published ones.
    """
    kind = pair_class(bench.model)
    try:
        return kind(bench.model, bench.inputs, bench.targets)
    except (RuntimeError, ValueError, KeyError, AttributeError) as error:
        parts = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigError(
            f'--reference: the transcription is of networks like the published ones, and this one differs '
            f"({(parts[1:] or parts or [type(error).__name__])[0]:.200}): leave out --reference, or take the method's config of "
            f'PASCAL-Context or NYUDv2'
        ) from error


def measure(
    config: str | None,
    mode: str = 'predict',
    shape: tuple[int, int] | None = None,
    batch: int = 1,
    one_label: bool = False,
    repeats: int = 5,
    threads: int | None = None,
    device: str = 'cpu',
    amp: bool = False,
    compile: bool = False,
    reference: bool = False,
    plain: bool = False,
    no_optimize: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    catalogue: bool = False,
    roofline: bool = False,
    scaling: Sequence[str] | None = None,
    out: str | None = None,
) -> None:
    """Build, measure, print; the arguments are those of ``tools/analysis_tools/benchmark.py``."""
    if threads:
        torch.set_num_threads(threads)
    if catalogue:
        table, costs = catalogue_table(
            [config] if config else [],
            repeats,
            cfg_options,
            shape,
            batch=batch,
            device=device,
            amp=amp,
            compiled=compile,
            optimize=not no_optimize,
        )
        print(table)
        if out:
            write_json(out, costs)
        return
    assert config is not None
    options = dict(cfg_options or {})
    if scaling:
        settings = dict(options=options, repeats=repeats, device=device, amp=amp, optimize=not no_optimize)
        settings.update(size=shape, batch=batch, compiled=compile)
        print(scaling_report(config, scaling, out, **settings))
        return
    backbone = 'backbone' in load_config(config).get('model', {})
    if backbone and load_config(config, options).model.backbone.get('img_size'):
        if shape:
            options.setdefault('model.backbone.img_size', shape)
        if reference:  # it drops no paths, and neither must what is compared with it
            options.setdefault('model.backbone.drop_path_rate', 0.0)
    cfg = load_config(config, options)
    bench = Benchmark(cfg, mode, shape, batch, device, amp, compile, one_label=one_label, optimize=not no_optimize)
    print(
        f'{config}, {mode}, {batch} x {bench.size[0]} x {bench.size[1]}, {device}, '
        f'{torch.get_num_threads()} threads{", bfloat16 autocast" if amp else ""}'
    )
    if roofline:
        print(roofline_table(bench))
        return
    others: dict[str, Callable[[], Any]] = {}
    noise, pair, memory, reference_memory = None, None, None, 0
    found: dict[str, Any] = {}
    if reference:
        pair = transcription_of(bench)
        noise = pair.draws()
        compare = pair.compare_predictions if mode == 'predict' else pair.compare_steps
        with live_memory():
            expected = pair.run_reference()
            metrics = compare(bench.run(noise), expected)
            print('this model: ' + ', '.join(f'{what} {value:.2e}' for what, value in metrics.items()))
            found.update(difference=next(iter(metrics.values())), differences=metrics)
            del expected
            memory = bench.measure_memory()
            reference_memory = peak_memory(pair.run_reference, device, pair.reference.parameters())
        others['reference'] = pair.run_reference
    if plain:
        others['plain'] = compared_with_plain(bench, found)
    speed, seconds = bench.measure(repeats, others, noise=noise, memory=memory)
    print('\n'.join(speed.lines('this model')))
    for name, times in seconds.items():
        print(f'{name}: median {statistics.median(times):.3f} s, best {min(times):.3f} s of {len(times)}')
    found.update(seconds=speed.median, memory=speed.memory, all_seconds=speed.seconds, others=seconds)
    if others:
        found['other_s'] = statistics.median(next(iter(seconds.values())))
    if plain:
        print(f'ratio, plain expressions over this model: {found["other_s"] / speed.median:.2f} x by medians')
    if pair:
        found['memory_ratio'] = speed.memory / max(reference_memory, 1)
        print_ratios(mode, pair, speed, dict(seconds), reference_memory)
    print(parts_table(speed.parts))
    if out:
        write_json(out, found)


def compared_with_plain(bench: Benchmark, found: dict[str, Any]) -> Callable[[], Any]:
    """The run of the same network by plain expressions; how far its maps are apart, and the work of both, is printed."""

    def run() -> Any:
        with plain_operations():
            return bench.run()

    wanted, maps = run(), bench.run()
    gaps = [(maps[n].float() - y.float()).abs().max() / y.float().abs().max() for n, y in wanted.items()]
    apart = torch.stack(gaps).max().item()  # NaN where one is
    with plain_operations():
        plain = count_complexity(bench.cfg, bench.size).total()
    here = count_complexity(bench.cfg, bench.size).total()
    counts = [(c.layers + c.products) / 1e9 for c in (plain, here)]
    print(
        f'plain expressions: largest relative difference {apart:.1e}, {counts[0]:.1f} G multiply-accumulates, here '
        f'{counts[1]:.1f} G ({counts[0] / counts[1]:.2f} times fewer, before Winograd)'
    )
    found.update(difference=apart, plain_gmac=counts[0], gmac=counts[1])
    return run


def print_ratios(mode: str, pair: Any, speed: Speed, seconds: dict[str, list[float]], memory: int) -> None:
    """The reference over everything else: time, and this model's peak memory over the reference's."""
    published = seconds.pop('reference')
    for name, times in {'this model': speed.seconds, **seconds}.items():
        print(
            f'ratio, {name}: {statistics.median(published) / statistics.median(times):.2f} x by medians, '
            f'{min(published) / min(times):.2f} x by the best'
        )
    print(
        f'peak memory of the reference {memory / 2**20:.0f} MiB, this model {speed.memory / max(memory, 1):.2f} x of it'
    )
    if mode == 'predict':
        print(f'the reference: {pair.work()}')
