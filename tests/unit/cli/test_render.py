from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import yaml

from soci_bootstrap import settings
from soci_bootstrap.cli.commands.render import run
from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import UsageError
from soci_bootstrap.render.arguments import install_arguments
from soci_bootstrap.settings.commands import KINDS
from soci_bootstrap.system import resources
from soci_bootstrap.system.console import Console
from tests.support.render_requests import DIGEST, NODE_CONFIG, STUB, URL

PINNED = ("--zipapp-url", URL, "--zipapp-sha256", DIGEST)


def load(*argv: str) -> settings.Settings:
    def read_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    return settings.load(argv, {}, read_file)


def rendered(*argv: str) -> tuple[Result, str]:
    stream = io.StringIO()
    return run(load("render", *argv), Console(stream=stream)), stream.getvalue()


@pytest.fixture(autouse=True)
def _stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "read", {"bootstrap.sh": STUB.encode()}.__getitem__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_renders_from_the_command_line(kind: str) -> None:
    result, _ = rendered(kind, *PINNED)
    assert result.exit_status == 0
    assert result.document == {
        "kind": kind,
        "zipapp_url": URL,
        "zipapp_sha256": DIGEST,
        "content": result.text,
    }


def test_the_digest_is_the_running_zipapps_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "agent_bytes", lambda: b"zipapp")
    result, _ = rendered("userdata", "--zipapp-url", URL)
    assert result.document["zipapp_sha256"] == hashlib.sha256(b"zipapp").hexdigest()
    assert str(result.document["zipapp_sha256"]) in result.text


def test_in_a_checkout_the_digest_is_that_of_what_was_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "PACKAGE", str(tmp_path / "soci_bootstrap"))
    with pytest.raises(UsageError, match=r"give --zipapp-sha256, or run scripts/build"):
        rendered("userdata", "--zipapp-url", URL)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "soci-bootstrap.pyz").write_bytes(b"built")
    result, _ = rendered("userdata", "--zipapp-url", URL)
    assert result.document["zipapp_sha256"] == hashlib.sha256(b"built").hexdigest()


def test_without_a_url_nothing_is_rendered_and_every_problem_is_told() -> None:
    with pytest.raises(UsageError) as caught:
        rendered("userdata", "--tarball", "x", "--node-config", "/nowhere")
    told = str(caught.value)
    for part in ("--zipapp-url is missing", "--tarball: found 'x'", "can't read /nowhere"):
        assert part in told


def test_the_users_node_config_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "node-config.yaml"
    path.write_text(NODE_CONFIG)
    result, _ = rendered("userdata", *PINNED, "--node-config", str(path))
    assert NODE_CONFIG.strip() in result.text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"MIME-Version: 1.0\n", "expected a document of kind: NodeConfig"),
        (b"kind: NodeConfiguration\n", "expected a document of kind: NodeConfig"),
        (b"kind: NodeConfig # \x1b[31m\n", "holds a control character"),
        ("kind: NodeConfig # \u2028\n".encode(), "holds a control character"),
        (b"kind: NodeConfig # \xff\n", "can't read"),
    ],
)
def test_what_nodeadm_could_not_read_is_refused(content: bytes, part: str, tmp_path: Path) -> None:
    path = tmp_path / "node-config"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=part):
        rendered("userdata", *PINNED, "--node-config", str(path))


@pytest.mark.parametrize("content", ['{"kind": "NodeConfig"}', "\ufeffkind: NodeConfig # ü → ✓ 🙂\r\n"])
def test_what_nodeadm_can_read_is_carried(content: str, tmp_path: Path) -> None:
    path = tmp_path / "node-config"
    path.write_bytes(content.encode())
    document = rendered("ec2nodeclass", *PINNED, "--node-config", str(path))[0].text
    assert content.strip("\ufeff\r\n") in yaml.safe_load(document)["spec"]["userData"]


def test_a_placeholder_for_the_cluster_is_told() -> None:
    assert "my-cluster" in rendered("ec2nodeclass", *PINNED)[1]
    assert rendered("ec2nodeclass", *PINNED, "--cluster-name", "prod")[1] == ""


def test_options_that_change_the_node_become_its_arguments() -> None:
    argv = (
        *("--soci-version", "0.14.1", "--mirror", "s3://bucket/p", "--wiring", "nodeadm"),
        *("--snapshotter-root", "/data/soci", "--decompressor", "/opt/igzip", "--deadline", "60"),
    )
    pull = (
        *("--set", 'decompress_streams.gzip.args=["-d", "-c"]'),
        *("--set", "discard_unpacked_layers=false", "--set", "max_concurrent_unpacks_per_image=8"),
    )
    found = install_arguments(load("render", "userdata", *PINNED, *argv, *pull, "--strict", "--force"))
    assert found == (*argv, *pull, "--strict", "--force")


def test_arguments_are_settings_that_install_reads_the_same() -> None:
    argv = ("--set", "concurrent_download_chunk_size=16mb", "--set", "max_concurrent_downloads=-1", "--force")
    asked = load("render", "userdata", *PINNED, *argv)
    node = load("install", *install_arguments(asked))
    assert node.parallel_pull == asked.parallel_pull
    assert node.force


def test_what_was_not_asked_for_stays_the_nodes_to_decide() -> None:
    assert install_arguments(load("render", "userdata", *PINNED, "--json", "-v")) == ()


def test_a_default_that_was_asked_for_is_passed_on() -> None:
    assert install_arguments(load("render", "userdata", *PINNED, "--wiring", "auto")) == ("--wiring", "auto")


@pytest.mark.parametrize("flag", ["--tarball", "--mirror"])
def test_a_path_that_the_node_could_not_find_is_refused(flag: str) -> None:
    digest = ("--sha256", DIGEST)
    with pytest.raises(UsageError, match=f"{flag}: found 'a/b', expected the absolute path"):
        rendered("userdata", *PINNED, flag, "a/b", *digest)
    assert f"{flag} /a/b" in rendered("userdata", *PINNED, flag, "/a/b", *digest)[0].text


@pytest.mark.parametrize(
    ("flag", "url", "told"),
    [
        ("--mirror", "https://user:hunter2@mirror.test/a", True),
        ("--mirror", "https://mirror.test/a?sig=hunter2", True),
        ("--mirror", "https://mirror.test/a", False),
        ("--zipapp-url", f"{URL}?X-Amz-Signature=hunter2", True),
        ("--zipapp-url", f"{URL}?versionId=1", False),
    ],
)
def test_credentials_that_userdata_would_show_are_warned_about(flag: str, url: str, told: bool) -> None:
    said = rendered("userdata", *PINNED, flag, url)[1]
    assert (f"WARNING {flag} holds credentials" in said) is told
    assert "hunter2" not in said


@pytest.mark.parametrize("value", ["/mnt/m\nx", "/mnt/mü", "/mnt/\x1b"])
def test_arguments_that_no_document_can_carry_are_refused(value: str) -> None:
    with pytest.raises(UsageError, match="expected printable ASCII"):
        rendered("userdata", *PINNED, "--mirror", value)
