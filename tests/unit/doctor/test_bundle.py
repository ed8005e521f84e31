"""The support bundle: secrets planted wherever a node may hold one, and none of them in the bundle."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from soci_bootstrap.cli.commands import doctor
from soci_bootstrap.configfiles import toml
from soci_bootstrap.doctor import bundle, redact
from soci_bootstrap.doctor.checks.units import SERVICE_DROPIN
from soci_bootstrap.doctor.finding import Unknown
from soci_bootstrap.doctor.observe.node import Containerd, Node
from soci_bootstrap.errors import CommandError, UsageError
from soci_bootstrap.settings import load
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.programs import Completed
from tests.support import nodes

S = "pl4nt3dS3cr3t"
"""Part of every secret planted here."""
PEM = f"-----BEGIN RSA PRIVATE KEY-----\nMIIE{S}\n{S}==\n-----END RSA PRIVATE KEY-----"
BASE64 = f"TUlJRXBBSUJBQUtDQVFFQTc1{S}cnQ0dGZ3bXlKQ2V1bWlwc0w3"
JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJ{S}.c2ln{S}"

TEXTS = [
    f"https://user:{S}@proxy.example:3128/",
    f"HTTPS_PROXY=http://team:p/a@{S}@proxy.example:3128",
    f"http_proxy=team:{S}@proxy.example:3128",
    f"GET https://bucket.s3.amazonaws.com/x?X-Amz-Signature={S}&X-Amz-Date=1 HTTP/1.1",
    f"https://example.com/x#{S}",
    f"Authorization: Bearer {S}",
    f"authorization: Basic {S}==",
    f"proxy-authorization={S}",
    f"password={S}",
    f'"password": "{S} with blanks"',
    f"password = '{S}'",
    f"  registryPassword: {S}",
    f"db_passwd: '{S}'",
    f"Environment=GITHUB_TOKEN={S} OTHER=1",
    f'Environment="API_KEY={S} and more" OTHER=1',
    f"AWS_SECRET_ACCESS_KEY={S}",
    f"aws_session_token = {S}",
    f"export DOCKER_AUTH={S}",
    f"--password {S}",
    f"--token={S}",
    f"--client-secret '{S} x'",
    f"certificateAuthority: {S}",
    f"certificate-authority-data: {S}",
    f"client-key-data: {S}",
    f"password: |\n  {S}\n  {S} again\nnext: kept",
    f"- token: >-\n    {S}\n- next: kept",
    PEM,
    PEM.replace("\n", "\\n"),
    PEM.rpartition("-----END")[0],
    f"key material {BASE64} in a journal line",
    f"presented {JWT} to the server",
    f"ghp_{S}0123456789",
    f"k8s-aws-v1.{S}",
    f'{{"auths": {{"registry.example": {{"auth": "{S}"}}}}}}',
    f'identitytoken = "{S}"',
    f'{{"cookie": ["{S}"]}}',
    f"env = ['API_TOKEN={S}', 'A=1']",
    f"token: one, {S}; two",
    f'password: my "{S}" of old',
    f'"credentials": [\n  "{S}",\n  "{S}"\n]\nnext: kept',
    f"tokens:\n  - {S}\n  - b\nnext: kept",
    f"password='open {S}",
]

KEPT = [
    "sha256 76d910165c2f1ebf4f6e6a3911b12a3fcb390a449ab27256c8c8b7802e53cc22",
    "/var/lib/containerd/io.containerd.snapshotter.v1.soci",
    "ExecStart=/usr/local/bin/soci-snapshotter-grpc --address fd:// --config /etc/x.toml --root /var/lib/y",
    "max_concurrent_downloads_per_image = 20",
    "enable_keychain = true",
    "Reached target multi-user.target",
    'image_service_path = "/run/containerd/containerd.sock"',
    "docker.io/library/busybox@sha256:76d910165c2f1ebf4f6e6a3911b12a3fcb390a449ab27256c8c8b7802e53cc22",
    "https://registry.example/v2/x@sha256:76d910165c2f1ebf4f6e6a3911b12a3fcb390a449ab27256c8c8b7802e53cc22",
    "config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'",
    "Wants=soci-snapshotter.service",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_loses_its_secrets(text: str) -> None:
    left = redact.text(text)
    assert S not in left
    assert "(removed)" in left
    assert ("kept" in left) == ("kept" in text)


@pytest.mark.parametrize("text", KEPT)
def test_text_keeps_what_helps(text: str) -> None:
    assert redact.text(text) == text


@pytest.mark.parametrize("text", [*TEXTS, *KEPT])
def test_once_is_enough(text: str) -> None:
    once = redact.text(text)
    assert S not in redact.text(once)


def test_documents_are_looked_through() -> None:
    document = {
        "spec": {
            "cluster": {"certificateAuthority": S, "name": "kept"},
            "containerd": {"config": f'[registry.configs."x".auth]\npassword = "{S}"\nkept = 1\n'},
            "instance": {"environment": {"GITHUB_TOKEN": S, "HTTPS_PROXY": f"http://u:{S}@p:1"}},
            "list": [{"secret": [S]}, f"--token={S}"],
        }
    }
    left = redact.file("config.json", json.dumps(document).encode()).decode()
    assert S not in left
    assert left.count("kept") == 2
    assert json.loads(left)["spec"]["instance"]["environment"]["HTTPS_PROXY"] == "http://(removed)@p:1"


def test_headers_of_hosts_toml_go_whatever_their_names() -> None:
    data = f'[host."https://u:{S}@m.example".header]\nx-anything = ["{S}"]\n'
    data += '[host."https://n.example"]\nca = "/x.crt"\n'
    left = redact.file("hosts.toml", data.encode())
    assert S.encode() not in left
    assert toml.loads(left, "left")["host"]["https://n.example"] == {"ca": "/x.crt"}


def test_what_does_not_parse_is_redacted_as_text() -> None:
    for name in ("a.json", "a.toml", "a.conf", "a.yaml"):
        assert S.encode() not in redact.file(name, f'{{"password": "{S}",\n[[token = "{S}"\n'.encode())
        redact.file(name, b"\xff\xfe" + S[:3].encode())


def planted(tmp_path: Path) -> nodes.Node:
    """A node with a secret in every file and in every program's output."""
    every = "\n".join(TEXTS)
    cache = {"spec": {"cluster": {"certificateAuthority": S}, "instance": {"environment": {"MY_TOKEN": S}}}}
    record = {"schema": 1, "settings": {"mirror": f"https://u:{S}@m/?token={S}"}, "binary": None}
    files = {
        "/run/eks/nodeadm/config.json": json.dumps(cache),
        "/var/lib/soci-bootstrap/record.json": json.dumps(record),
        "/var/lib/soci-bootstrap/state.json": json.dumps({"degraded": f"https://u:{S}@m refused"}),
        "/etc/soci-bootstrap/config.toml": f'mirror = "https://u:{S}@m.example"\n',
        "/etc/soci-snapshotter-grpc/config.toml": f'[x]\npassword = "{S}"\n',
        "/etc/containerd/config.toml": f'[plugins."cri".registry.configs."r".auth]\nauth = "{S}"\n',
        "/etc/containerd/certs.d/r/hosts.toml": f'[host."https://m".header]\nAuthorization = "Basic {S}"\n',
        "/etc/containerd/conf.d/1.toml": f'env = ["A_TOKEN={S}"]\n',
        "/etc/kubernetes/kubelet/config.json": json.dumps({"a": {"bearerToken": S}}),
        "/etc/kubernetes/kubelet/config.json.d/1.conf": json.dumps({"clientSecret": S}),
        "/etc/eks/kubelet/environment": f"NODEADM_KUBELET_ARGS=--token {S}\nAPI_KEY={S}\n",
        "/etc/eks/nodeadm.d/90.yaml": f"spec:\n  password: |\n    {S}\n  url: https://u:{S}@m\n",
        "/etc/eks/nodeadm.d/91.json": "{" + every,
        "/etc/systemd/system/soci-snapshotter.service": f"[Service]\nEnvironment=HTTPS_PROXY=http://u:{S}@p:1\n",
        SERVICE_DROPIN: f"[Service]\nEnvironment=X_SECRET={S}\n",
        "/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf": every,
        "/etc/os-release": "NAME=kept\n",
    }
    programs: dict[str, nodes.Answer] = {
        name: Completed(0, every.encode(), every.encode())
        for name in ("containerd", "soci-snapshotter-grpc", "systemctl", "df", "journalctl")
    }
    nodes.write(tmp_path, {"/usr/local/bin/soci-snapshotter-grpc": "", "/usr/bin/ctr": ""})
    return nodes.Node(nodes.write(tmp_path, files), programs)


def members(node: nodes.Node) -> dict[str, bytes]:
    observed = Node(
        containerd=Containerd(config="/etc/containerd/config.toml"),
        files={
            path: Unknown("x")
            for path in (
                "/etc/systemd/system/soci-snapshotter.service",
                SERVICE_DROPIN,
                "/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf",
            )
        },
    )
    found = f"{TEXTS[0]}: found"
    document = {"verdict": "broken", "checks": [{"id": "x", "found": found, "hint": f"--token {S}"}]}
    return {member.name: member.data for member in bundle.members(node, observed, document, f"FAIL {found}")}


def test_no_secret_leaves_the_node(tmp_path: Path) -> None:
    found = members(planted(tmp_path))
    assert len(found) > 25
    assert [name for name, data in found.items() if S.encode() in data] == []
    assert b"kept" in found["files/etc/os-release"]
    assert b"kept" in found["journal/containerd.service.txt"]
    assert not [name for name in found if name.endswith(".missing")]


def test_what_cannot_be_had_is_said(tmp_path: Path) -> None:
    node = planted(tmp_path)
    node.programs["journalctl"] = CommandError("journalctl did not end", found=f"token={S}")
    (tmp_path / "usr/bin/df").unlink()
    found = members(node)
    assert b"journalctl did not end" in found["journal/containerd.service.txt.missing"]
    assert b"df is not on this node" in found["commands/df.txt.missing"]
    assert [name for name, data in found.items() if S.encode() in data] == []


def test_the_file_is_private_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.tar.gz"
    before = os.umask(0)
    try:
        with bundle.create(str(path)) as file:
            bundle.write(file, iter([bundle.Member("a/b", b"data")]))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with tarfile.open(path) as archive:
        [entry] = archive.getmembers()
        assert (entry.name, entry.mode, entry.uid, entry.mtime) == (f"{bundle.TOP}/a/b", 0o600, 0, 0)
        assert archive.extractfile(entry).read() == b"data"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "no directory"])
def test_nothing_is_overwritten(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "report", tmp_path / "other"
    if kind == "file":
        path.write_text("precious")
    elif kind == "no directory":
        path = tmp_path / "none" / "report"
    else:
        path.symlink_to(other)
        if kind == "link":
            other.write_text("precious")
    root = tmp_path / "root"
    root.mkdir()
    settings = load(["doctor", "--root", str(root), "--bundle", str(path)], {}, _no_file)
    with pytest.raises(UsageError, match="expected a new file"):
        doctor.run(settings, Console(stream=io.StringIO()))
    assert all(p.read_text() == "precious" for p in (path, other) if p.exists())
    assert other.exists() == (kind == "link")


def test_doctor_writes_it(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    stream = io.StringIO()
    path = tmp_path / "report.tar.gz"
    settings = load(["doctor", "--root", str(root), "--bundle", str(path)], {}, _no_file)
    result = doctor.run(settings, Console(stream=stream))
    assert str(path) in stream.getvalue()
    with tarfile.open(path) as archive:
        said = json.load(archive.extractfile(f"{bundle.TOP}/doctor.json"))  # type: ignore[arg-type]
    assert said == json.loads(json.dumps(result.document))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_no_half_a_bundle_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """The next run with the same name would be refused for it."""
    (tmp_path / "root").mkdir()

    def fail(*_: object) -> None:
        raise error

    path = tmp_path / "report.tar.gz"
    monkeypatch.setattr(bundle, "write", fail)
    settings = load(["doctor", "--root", str(tmp_path / "root"), "--bundle", str(path)], {}, _no_file)
    stream = io.StringIO()
    if isinstance(error, OSError):
        assert doctor.run(settings, Console(stream=stream)).exit_status == 3
        assert "could not be written: No space left" in stream.getvalue()
    else:
        with pytest.raises(KeyboardInterrupt):
            doctor.run(settings, Console(stream=stream))
    assert not path.exists()


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)
