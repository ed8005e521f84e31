from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from soci_bootstrap.cli.commands import config
from soci_bootstrap.configfiles import soci_rules, toml
from soci_bootstrap.settings import load
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console

BLOBS = "var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"


def run(line: str) -> tuple[config.Result, str]:
    def no_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    stream = io.StringIO()
    result = config.run(load(["config", *line.split()], {}, no_file), Console(stream=stream))
    return result, stream.getvalue()


def pull(result: config.Result) -> dict[str, Any]:
    table: dict[str, Any] = toml.loads(result.text, "printed")["pull_modes"]["parallel_pull_unpack"]
    return table


def program(root: Path, name: str) -> None:
    path = root / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)


def test_another_node() -> None:
    result, said = run("--vcpus 192 --memory-gib 768 --decompressor igzip")
    assert (result.exit_status, said) == (0, "")
    assert pull(result)["max_concurrent_downloads_per_image"] == 40
    assert pull(result)["discard_unpacked_layers"] is True
    assert pull(result)["decompress_streams"]["gzip"]["args"] == ["-d", "-c"]
    assert soci_rules.validate(toml.loads(result.text, "printed")) == []


def test_the_document_says_the_same_as_the_text() -> None:
    result, _ = run("--vcpus 4 --memory-gib 8 --decompressor none --set max_concurrent_unpacks_per_image=7")
    document = json.loads(json.dumps(result.document))
    assert document["config"] == result.text
    assert document["parallel_pull"] == pull(result)
    assert (document["vcpus"], document["memory_gib"]) == (4, 8.0)
    assert document["decompressor"] == {"kind": "none", "path": None, "args": []}


@pytest.mark.parametrize(
    ("present", "asked", "path"),
    [
        (("igzip", "unpigz"), "auto", "/usr/bin/igzip"),
        (("unpigz",), "auto", "/usr/bin/unpigz"),
        ((), "auto", None),
        (("igzip",), "unpigz", "/usr/bin/unpigz"),
        (("igzip",), "none", None),
        ((), "/opt/inflate", "/opt/inflate"),
    ],
)
def test_the_decompressor_of_an_image(
    present: tuple[str, ...], asked: str, path: str | None, tmp_path: Path
) -> None:
    for name in present:
        program(tmp_path, name)
    result, _ = run(f"--root {tmp_path} --decompressor {asked}")
    streams = pull(result).get("decompress_streams", {})
    assert streams.get("gzip", {}).get("path") == path


def test_a_layer_in_the_content_store_keeps_layers(tmp_path: Path) -> None:
    blobs = tmp_path / BLOBS
    blobs.mkdir(parents=True)
    (blobs / ("ab" * 32)).write_bytes(b"\x1f\x8b layer")
    result, said = run(f"--root {tmp_path} --decompressor none")
    assert pull(result)["discard_unpacked_layers"] is False
    assert "issue 2035" in said


def test_what_only_root_may_see_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from soci_bootstrap.errors import StateError

    def listdir(self: System, path: str) -> tuple[str, ...]:
        raise StateError(f"{path} can't be read", found="Permission denied")

    monkeypatch.setattr(System, "listdir", listdir)
    result, said = run(f"--root {tmp_path} --decompressor none")
    assert pull(result)["discard_unpacked_layers"] is True
    assert "not visible here" in said
    assert result.document["notes"]
