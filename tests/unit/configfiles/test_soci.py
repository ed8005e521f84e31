from __future__ import annotations

from dataclasses import replace

import pytest

from soci_bootstrap.configfiles import soci, soci_rules, toml
from soci_bootstrap.configfiles.soci import Decompressor, ParallelPull
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.plan.tuning import tune

IGZIP = Decompressor("igzip", "/usr/bin/igzip", ("-d", "-c"))


def pull(decompressor: Decompressor = IGZIP, **overrides: object) -> ParallelPull:
    machine = Machine(8, 32 << 30)
    return tune(machine, decompressor, discard_unpacked_layers=True, overrides=overrides)


def test_render_is_what_soci_wants() -> None:
    text = soci.render(pull(), "/run/containerd/containerd.sock")
    assert toml.loads(text, "rendered") == {
        "content_store": {
            "type": "containerd",
            "containerd_address": "/run/containerd/containerd.sock",
        },
        "cri_keychain": {
            "enable_keychain": True,
            "image_service_path": "/run/containerd/containerd.sock",
        },
        "pull_modes": {
            "parallel_pull_unpack": {
                "enable": True,
                "max_concurrent_downloads": -1,
                "max_concurrent_downloads_per_image": 20,
                "concurrent_download_chunk_size": "16mb",
                "max_concurrent_unpacks": -1,
                "max_concurrent_unpacks_per_image": 8,
                "discard_unpacked_layers": True,
                "decompress_streams": {"gzip": {"path": "/usr/bin/igzip", "args": ["-d", "-c"]}},
            }
        },
    }
    assert text.startswith(b"# Written by soci-bootstrap")


def test_no_decompressor_is_not_named() -> None:
    assert b"decompress_streams" not in soci.render(pull(Decompressor("none")))


def test_the_same_settings_give_the_same_bytes() -> None:
    assert soci.render(pull()) == soci.render(pull())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (pull(Decompressor("path", "bin/igzip", ())), "absolute path"),
        (pull(concurrent_download_chunk_size="8MiB"), "'8MiB'"),
        (replace(pull(), max_concurrent_unpacks=3), "expected at most"),
    ],
)
def test_render_refuses_what_would_stop_soci(wrong: ParallelPull, said: str) -> None:
    with pytest.raises(StateError, match=said):
        soci.render(wrong)


@pytest.mark.parametrize(
    ("key", "value", "typed"),
    [
        ("max_concurrent_downloads_per_image", "40", 40),
        ("max_concurrent_downloads", "-1", -1),
        ("max_concurrent_downloads", "-7", -1),
        ("max_concurrent_unpacks", 12, 12),
        ("max_concurrent_unpacks_per_image", " 8 ", 8),
        ("concurrent_download_chunk_size", "16mb", "16mb"),
        ("concurrent_download_chunk_size", " 1.5 GB ", "1.5 GB"),
        ("concurrent_download_chunk_size", "2048KB", "2048KB"),
        ("concurrent_download_chunk_size", "8388608", "8388608"),
        ("concurrent_download_chunk_size", "8388608b", "8388608b"),
        ("discard_unpacked_layers", "false", False),
        ("discard_unpacked_layers", "On", True),
        ("discard_unpacked_layers", True, True),
        ("enable", "1", True),
        ("decompress_streams.gzip.path", "/usr/bin/pigz", "/usr/bin/pigz"),
        ("decompress_streams.gzip.args", '["-d", "-c"]', ("-d", "-c")),
        ("decompress_streams.gzip.args", ["-dc"], ("-dc",)),
        ("decompress_streams.gzip.args", "[]", ()),
    ],
)
def test_values_are_typed(key: str, value: object, typed: object) -> None:
    result = soci_rules.validate_key(key, value)
    assert (result, type(result)) == (typed, type(typed))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("max_concurrent_downloads", "0", "wait for ever"),
        ("max_concurrent_downloads", "ten", "'ten', expected a whole number"),
        ("max_concurrent_downloads", "1.5", "whole number"),
        ("max_concurrent_downloads", "", "whole number"),
        ("max_concurrent_downloads", True, "whole number"),
        ("max_concurrent_downloads", "10001", "at most 10000"),
        ("max_concurrent_downloads", "9" * 30, "whole number"),
        ("max_concurrent_downloads", "\u0663", "whole number"),
        ("concurrent_download_chunk_size", "8MiB", "'8MiB', expected a number and b, kb, mb or gb"),
        ("concurrent_download_chunk_size", "-8mb", "expected a number"),
        ("concurrent_download_chunk_size", "", "expected a number"),
        ("concurrent_download_chunk_size", "16", "16 bytes; expected 1mb to 4gb"),
        ("concurrent_download_chunk_size", "0", "expected 1mb"),
        ("concurrent_download_chunk_size", "5gb", "expected 1mb to 4gb"),
        ("concurrent_download_chunk_size", 16, "text such as 16mb"),
        ("discard_unpacked_layers", "maybe", "true or false"),
        ("discard_unpacked_layers", 1, "true or false"),
        ("decompress_streams.gzip.path", "igzip", "absolute path"),
        ("decompress_streams.gzip.args", "-d -c", "list of strings"),
        ("decompress_streams.gzip.args", "[1]", "list of strings"),
        ("max_concurent_unpacks", "4", "did you mean max_concurrent_unpacks?"),
        ("colour", "red", "known: enable"),
    ],
)
def test_values_are_refused(key: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=r"found|no parallel-pull key") as caught:
        soci_rules.validate_key(key, value)
    assert said in str(caught.value)


GATE = """\
debug = false
[content_store]
type = 'containerd'
[cri_keychain]
enable_keychain = true
image_service_path = '/run/containerd/containerd.sock'
[pull_modes.parallel_pull_unpack]
enable = true
concurrent_download_chunk_size = "16mb"
discard_unpacked_layers = true
max_concurrent_downloads = -1
max_concurrent_downloads_per_image = 20
max_concurrent_unpacks = -1
max_concurrent_unpacks_per_image = 12
[pull_modes.parallel_pull_unpack.decompress_streams."gzip"]
path = '/usr/bin/unpigz'
args = ['-d', '-c']
"""


def test_what_the_fast_image_pull_gate_writes_is_good() -> None:
    assert soci_rules.validate(toml.loads(GATE, "gate")) == []


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ("max_concurrent_downloads = -1", "max_concurent_downloads = -1", "did you mean"),
        ("enable = true\nconcurrent", "concurrent", "parallel_pull_unpack.enable: found nothing"),
        ("'containerd'", "'soci'", "content_store.type: found 'soci', expected 'containerd'"),
        ("enable_keychain = true", "enable_keychain = false", "cri_keychain.enable_keychain"),
        ("'/run/containerd/containerd.sock'", "'containerd.sock'", "absolute path"),
        ('"16mb"', '"16MiB"', "16MiB"),
        ('"16mb"', "16", "concurrent_download_chunk_size: found 16"),
        ("per_image = 20", "per_image = '20'", "TOML value"),
        ("max_concurrent_unpacks = -1", "max_concurrent_unpacks = 3", "expected at most"),
        ("'/usr/bin/unpigz'", "'unpigz'", "gzip.path: found 'unpigz'"),
        ("path = ", "paht = ", "did you mean path?"),
        ("['-d', '-c']", "'-d -c'", "gzip.args"),
        ("[content_store]\ntype = 'containerd'", "", "content_store.type: found None"),
        ("[pull_modes.parallel_pull_unpack]", "[pull_modes.paralel]", "enable: found nothing"),
    ],
)
def test_files_that_would_mislead(was: str, now: str, said: str) -> None:
    assert was in GATE
    problems = soci_rules.validate(toml.loads(GATE.replace(was, now), "gate"))
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    "document",
    [
        {"content_store": 1, "cri_keychain": [], "pull_modes": {"parallel_pull_unpack": "x"}},
        {"pull_modes": {"parallel_pull_unpack": {"decompress_streams": 3}}},
        {"pull_modes": {"parallel_pull_unpack": {"decompress_streams": {"gzip": "unpigz"}}}},
    ],
)
def test_values_where_tables_belong(document: dict[str, object]) -> None:
    assert any("expected a table" in problem for problem in soci_rules.validate(document))


def test_all_problems_are_told_together() -> None:
    broken = GATE.replace("16mb", "16MiB").replace("'containerd'", "'soci'").replace("= 20", "= 0")
    assert len(soci_rules.validate(toml.loads(broken, "broken"))) == 3
