from __future__ import annotations

import re

import pytest

from soci_bootstrap.errors import UsageError
from soci_bootstrap.fetch import release


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.15.0", (0, 15, 0)),
        ("v0.11.0", (0, 11, 0)),
        ("0.11.1", (0, 11, 1)),
        ("1.0.0", (1, 0, 0)),
        ("0.100.2", (0, 100, 2)),
    ],
)
def test_versions(text: str, version: tuple[int, int, int]) -> None:
    assert release.parse_version(text) == version


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.15",
        "0.15.0.1",
        "0.15.0-rc1",
        "latest",
        "V0.15.0",
        " 0.15.0",
        "0.15.0\n",
        "../0.15.0",
        "0.1\u0661.0",
        "0" * 5000,
    ],
)
def test_nonsense(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected three numbers such as 0\.15\.0"):
        release.parse_version(text)


@pytest.mark.parametrize("text", ["0.10.9", "0.0.1", "v0.9.0"])
def test_versions_without_parallel_pull(text: str) -> None:
    with pytest.raises(UsageError, match=r"expected 0\.11\.0 or newer"):
        release.parse_version(text)


def test_every_pin_is_a_digest_of_a_version_that_we_take() -> None:
    digests = []
    for version, pins in release.PINNED.items():
        assert release.canonical(f"v{version}") == release.canonical(version) == version
        assert set(pins) == set(release.ARCHITECTURES)
        digests += pins.values()
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)


def test_newest_is_the_newest_pinned() -> None:
    assert max(release.PINNED, key=release.parse_version) == release.NEWEST


def test_pinned_digest() -> None:
    digest = release.pinned_digest("0.15.0", "arm64")
    assert digest == "3b562de8c4caf7470d614f6bd9268951d054e3f53c3a11acf5281269d0023bb8"
    assert release.pinned_as(digest) == "0.15.0 arm64"
    assert release.pinned_digest("0.15.1", "amd64") is None
    assert release.pinned_digest("0.15.0", "riscv64") is None
    assert release.pinned_as("0" * 64) is None


def test_asset_path() -> None:
    assert release.asset_path("0.12.1", "amd64") == "v0.12.1/soci-snapshotter-0.12.1-linux-amd64.tar.gz"
