from __future__ import annotations

import pytest

from soci_bootstrap.configfiles import soci_rules
from soci_bootstrap.configfiles.soci import Decompressor, ParallelPull
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.plan.tuning import UNPACK_BYTES, tune

GIB = 1 << 30
UNPIGZ = Decompressor("unpigz", "/usr/bin/unpigz", ("-d", "-c"))


def tuned(vcpus: int, gib: float, **overrides: object) -> ParallelPull:
    return tune(Machine(vcpus, int(gib * GIB)), UNPIGZ, discard_unpacked_layers=True, overrides=overrides)


@pytest.mark.parametrize(
    ("instance", "vcpus", "gib", "downloads", "unpacks", "all_downloads", "all_unpacks"),
    [
        ("smallest there could be", 1, 0.5, 20, 2, 32, 2),
        ("t4g.nano", 2, 0.42, 20, 1, 26, 1),
        ("t4g.micro", 2, 1, 20, 4, 64, 4),
        ("t3.small", 2, 2, 20, 4, 128, 8),
        ("t3.medium", 2, 4, 20, 4, 256, 16),
        ("m7i.large", 2, 8, 20, 4, 512, 32),
        ("c7g.xlarge", 4, 8, 20, 4, 512, 32),
        ("c7i.2xlarge", 8, 16, 20, 8, -1, -1),
        ("m7i.4xlarge", 16, 64, 20, 12, -1, -1),
        ("c7i.8xlarge", 32, 64, 32, 12, -1, -1),
        ("m7i.48xlarge", 192, 768, 40, 12, -1, -1),
        ("u7i of 2 TiB", 192, 2048, 40, 12, -1, -1),
        ("many cores, little memory", 64, 1, 40, 4, 64, 4),
    ],
)
def test_instances(
    instance: str,
    vcpus: int,
    gib: float,
    downloads: int,
    unpacks: int,
    all_downloads: int,
    all_unpacks: int,
) -> None:
    pull = tuned(vcpus, gib)
    assert pull == ParallelPull(
        enable=True,
        max_concurrent_downloads=all_downloads,
        max_concurrent_downloads_per_image=downloads,
        concurrent_download_chunk_size="16mb",
        max_concurrent_unpacks=all_unpacks,
        max_concurrent_unpacks_per_image=unpacks,
        discard_unpacked_layers=True,
        decompressor=UNPIGZ,
    ), instance


@pytest.mark.parametrize("vcpus", [1, 2, 3, 4, 7, 12, 13, 64, 192, 1024])
@pytest.mark.parametrize("gib", [0.25, 0.5, 1, 2, 3.7, 8, 15.9, 16, 64, 2048, 32768])
def test_bounds_hold_everywhere(vcpus: int, gib: float) -> None:
    pull = tuned(vcpus, gib)
    assert 20 <= pull.max_concurrent_downloads_per_image <= 40
    assert 1 <= pull.max_concurrent_unpacks_per_image <= 12
    if gib >= 1:
        assert pull.max_concurrent_unpacks_per_image >= 4
    if pull.max_concurrent_unpacks > 1:
        assert pull.max_concurrent_unpacks * UNPACK_BYTES <= gib * GIB / 16
    assert soci_rules.limit_problems(vars(pull)) == []


def test_more_cores_and_more_memory_never_mean_fewer_unpacks() -> None:
    sizes = [0.25, 0.5, 0.75, 1, 2, 4, 8, 16, 2048]
    for vcpus in range(1, 64):
        rows = [tuned(vcpus, gib).max_concurrent_unpacks_per_image for gib in sizes]
        assert rows == sorted(rows)
        assert rows[-1] >= tuned(max(1, vcpus - 1), 2048).max_concurrent_unpacks_per_image


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"max_concurrent_downloads_per_image": 40}, {"max_concurrent_downloads_per_image": 40}),
        ({"concurrent_download_chunk_size": "8mb"}, {"concurrent_download_chunk_size": "8mb"}),
        ({"discard_unpacked_layers": False}, {"discard_unpacked_layers": False}),
        ({"enable": False}, {"enable": False}),
        # A limit over all images below what each would get lowers each, since SOCI refuses the pair.
        (
            {"max_concurrent_unpacks": 2},
            {"max_concurrent_unpacks": 2, "max_concurrent_unpacks_per_image": 2},
        ),
        # A limit for each image above the node's own raises that.
        (
            {"max_concurrent_unpacks_per_image": 100},
            {"max_concurrent_unpacks": 100, "max_concurrent_unpacks_per_image": 100},
        ),
        ({"max_concurrent_downloads": -1}, {"max_concurrent_downloads": -1}),
        ({"max_concurrent_downloads_per_image": -1}, {"max_concurrent_downloads_per_image": -1}),
    ],
)
def test_overrides_win(overrides: dict[str, object], expected: dict[str, object]) -> None:
    pull = tuned(2, 4, **overrides)
    for key, value in vars(tuned(2, 4)).items():
        assert getattr(pull, key) == expected.get(key, value)


def test_what_was_found_on_the_node_is_used() -> None:
    none = Decompressor("none")
    pull = tune(Machine(4, 8 * GIB), none, discard_unpacked_layers=False)
    assert (pull.decompressor, pull.discard_unpacked_layers) == (none, False)
