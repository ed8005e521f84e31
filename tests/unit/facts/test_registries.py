from __future__ import annotations

import signal
import socket
import time

import pytest

from soci_bootstrap.apply.preflight import refuse_unreachable
from soci_bootstrap.errors import StateError, WiringError
from soci_bootstrap.facts.registries import DEFAULT, Registry, direct_urls, observe, url
from soci_bootstrap.fetch.reachable import ask
from soci_bootstrap.system import System
from tests.support.corpus import servers
from tests.support.nodes import captured, write

CONFIG = captured("containerd-nodeadm-v3.toml")
V2 = b"""version = 2
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
"""
DIRECTORY = "/etc/containerd/certs.d"
OWN = 'server = "https://registry.test"\n[host."https://registry.test"]\n'


def seen(tmp_path, files, config=CONFIG, version=(2, 2, 6)) -> dict[str, str]:
    found = observe(System(str(write(tmp_path, files))), config, "/etc/containerd/config.toml", version)
    return {registry.name: registry.why for registry in found}


@pytest.mark.parametrize("config", [CONFIG, V2, captured("containerd-nodeadm-user-v2-migrated.toml")])
@pytest.mark.parametrize(
    ("directory", "hosts", "expected"),
    [
        ("registry.test", '[host."https://mirror.test"]\n', {"registry.test": "a mirror"}),
        ("registry.test", '[host."mirror.test"]\n', {"registry.test": "a mirror"}),
        ("registry.test_5000_", '[host."https://mirror.test"]\n', {"registry.test:5000": "a mirror"}),
        ("registry.test:5000", '[host."https://mirror.test"]\n', {"registry.test:5000": "a mirror"}),
        ("registry.test:5000", 'server = "https://registry.test:5000"\n', {}),
        ("registry.test", 'server = "https://registry.test:5000"\n', {"registry.test": "another server"}),
        ("docker.io", 'server = "https://registry-1.docker.io"\n', {}),
        ("docker.io", 'server = "https://docker.io"\n[host."https://registry-1.docker.io/v2"]\n', {}),
        ("docker.io", '[host."https://mirror.gcr.io"]\n', {"docker.io": "a mirror"}),
        ("registry.test", OWN, {}),
        ("registry.test", OWN + 'capabilities = ["pull"]\n', {}),
        ("registry.test", OWN + 'ca = "ca.crt"\n', {"registry.test": "a CA"}),
        ("registry.test", 'ca = ["/a", "/b"]\n', {"registry.test": "a CA"}),
        ("registry.test", OWN + 'client = [["/c", "/k"]]\n', {"registry.test": "a client certificate"}),
        ("registry.test", OWN + "skip_verify = true\n", {"registry.test": "skip_verify"}),
        ("registry.test", OWN + "skip_verify = false\n", {}),
        (
            "registry.test",
            OWN + '[host."https://registry.test".header]\nX = "y"\n',
            {"registry.test": "a header"},
        ),
        (
            "registry.test",
            '[host."https://a.test"]\nca = "a"\n[host."https://b.test"]\nca = "b"\n',
            {"registry.test": "a mirror and a CA"},
        ),
        # Plain http, or a path of its own, is not how SOCI asks.
        ("registry.test", '[host."http://registry.test"]\n', {"registry.test": "a mirror"}),
        ("registry.test", '[host."https://registry.test/proxy"]\n', {"registry.test": "a mirror"}),
        ("registry.test", '[host."https://registry.test:https"]\n', {"registry.test": "a mirror"}),
        ("localhost:5000", '[host."http://localhost:5000"]\n', {}),
        ("[::1]:5000", 'server = "http://[::1]:5000/v2/"\n', {}),
        ("_default", '[host."https://mirror.test"]\n', {DEFAULT: "a mirror"}),
        ("_default", "", {}),
        # As containerd goes on where it can't read one; other values than the documented ones, too.
        ("registry.test", "[host.\n", {}),
        ("registry.test", 'host = "x"\nserver = 1\n', {}),
    ],
)
def test_hosts_toml(tmp_path, config, directory, hosts, expected) -> None:
    assert seen(tmp_path, {f"{DIRECTORY}/{directory}/hosts.toml": hosts}, config) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"ca.crt": "x"}, {"registry.test": "a CA"}),
        ({"client.cert": "x", "client.key": "x"}, {"registry.test": "a client certificate"}),
        ({"hosts.toml": "[broken", "ca.crt": "x"}, {"registry.test": "a CA"}),
        ({"hosts.toml": OWN, "ca.crt": "x"}, {}),
        ({"README": "x"}, {}),
    ],
)
def test_docker_certificates(tmp_path, files, expected) -> None:
    directory = "/etc/docker/certs.d/registry.test"
    assert seen(tmp_path, {f"{directory}/{name}": data for name, data in files.items()}) == expected


@pytest.mark.parametrize(
    ("registry", "expected"),
    [
        ("registry.mirrors.'docker.io']\nendpoint = ['https://mirror.test']", {"docker.io": "a mirror"}),
        ("registry.mirrors.'docker.io']\nendpoint = ['https://registry-1.docker.io']", {}),
        ("registry.mirrors.'*']\nendpoint = ['https://mirror.test']", {DEFAULT: "a mirror"}),
        ("registry.mirrors.'docker.io']\nx = 1", {}),
        ("registry.configs.'r.test'.tls]\nca_file = '/a'", {"r.test": "TLS settings"}),
        ("registry.configs.'r.test'.tls]\ninsecure_skip_verify = false", {}),
        ("registry.configs.'r.test'.auth]\nusername = 'u'", {}),
        ("registry.configs]\n'r.test' = 1", {}),
        ("registry.mirrors]\n'r.test' = 1", {}),
        ("registry]\nmirrors = 1\nconfigs = 2", {}),
    ],
)
def test_containerds_own_configuration(tmp_path, registry, expected) -> None:
    for plugin in ("io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"):
        assert seen(tmp_path, {}, f"[plugins.'{plugin}'.{registry}\n".encode()) == expected


def test_the_first_directory_counts(tmp_path) -> None:
    files = {f"{DIRECTORY}/r.test/hosts.toml": "skip_verify = true", "/etc/docker/certs.d/r.test/ca.crt": "x"}
    assert seen(tmp_path, files) == {"r.test": "skip_verify"}


MIRRORS = (
    b"[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'m.test']\nendpoint = ['https://x.test']\n"
)


@pytest.mark.parametrize(
    ("config", "version", "expected"),
    [
        (b"", (2, 0, 9), {}),
        (b"version = 3\n", (1, 7, 27), {}),
        (b"# registry\n", (2, 0, 0), {}),
        # From 2.1 on that is containerd's default, where nothing else is said.
        (b"", (2, 1, 0), {"r.test": "a CA"}),
        (b"version = 3\n# registry\n", None, {"r.test": "a CA"}),
        (MIRRORS, (2, 2, 6), {"m.test": "a mirror"}),
    ],
)
def test_directories_that_nobody_configured(tmp_path, config, version, expected) -> None:
    assert seen(tmp_path, {"/etc/docker/certs.d/r.test/ca.crt": "x"}, config, version) == expected


def test_a_configuration_that_is_not_toml(tmp_path) -> None:
    with pytest.raises(StateError, match=r"config\.toml is not TOML"):
        seen(tmp_path, {}, b"[registry")


@pytest.mark.parametrize(
    ("name", "location"),
    [
        ("docker.io", "https://registry-1.docker.io/v2/"),
        ("registry.test:5000", "https://registry.test:5000/v2/"),
        ("localhost:5000", "http://localhost:5000/v2/"),
        ("localhost", "http://localhost/v2/"),
        ("127.0.0.9:5000", "http://127.0.0.9:5000/v2/"),
        ("[::1]:5000", "http://[::1]:5000/v2/"),
        ("[::1]", "http://[::1]/v2/"),
        ("localhost.test", "https://localhost.test/v2/"),
    ],
)
def test_where_soci_looks(name, location) -> None:
    assert url(name) == location


def wants(*names: str) -> list[Registry]:
    return [Registry(name, "a mirror", f"{DIRECTORY}/{name}") for name in names]


def urls(*names: str) -> dict[str, str]:
    return direct_urls(wants(*names))


@pytest.mark.parametrize("status", [200, 401, 404, 500, 301, 429])
def test_any_answer_counts(status) -> None:
    with servers.Server(
        lambda exchange: exchange.reply(status, Location="https://elsewhere.test/")
    ) as server:
        name = server.origin.partition("://")[2]
        assert ask(urls(name), {}) == {name: ""}
        assert [exchange.path for exchange in server.seen] == ["/v2/"]


def refusing(exchange: servers.Exchange) -> None:
    exchange.reply(403)


def test_a_proxy_that_refuses_is_no_answer() -> None:
    with servers.Server(refusing) as proxy:
        answers = ask(
            urls("registry.test", DEFAULT), {"HTTPS_PROXY": proxy.origin, "SSL_CERT_FILE": servers.CA}
        )
        assert list(answers) == ["registry.test"]
        assert "403" in answers["registry.test"]
        assert [exchange.path for exchange in proxy.seen] == ["registry.test:443"]


def test_variables_that_go_does_not_know_are_not_used() -> None:
    with servers.Server(refusing) as proxy:
        environ = {"ALL_PROXY": proxy.origin, "all_proxy": proxy.origin, "NO_PROXY": "*"}
        assert ask(urls("registry.invalid"), environ)["registry.invalid"]
        assert proxy.seen == []


def test_no_trust() -> None:
    answers = ask(urls("registry.test"), {"SSL_CERT_FILE": "/none"})
    assert answers == {"registry.test": "no file /none"}


def test_a_signal_is_given_to_no_thread_that_asks(monkeypatch) -> None:
    """It may wait for longer than we do, while the run goes on to steps that nothing interrupts."""
    masks: list[set[int]] = []

    def note(*_) -> int:
        masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
        return 200

    monkeypatch.setattr("soci_bootstrap.fetch.http.HttpSource.ask", note)
    ask(urls("registry.test"), {})
    assert [mask >= {signal.SIGTERM, signal.SIGINT} for mask in masks] == [True]


def test_whatever_keeps_an_answer_away(monkeypatch) -> None:
    def fail(*_):
        raise RuntimeError("anything")

    monkeypatch.setattr("soci_bootstrap.fetch.http.HttpSource.ask", fail)
    assert ask(urls("registry.test"), {}) == {"registry.test": "RuntimeError: anything"}


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
    assert "refused" in ask(urls(name), {})[name]


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        assert "no answer" in ask(urls(name), {}, 0.1)[name]


def test_what_never_returns_is_not_waited_for(monkeypatch) -> None:
    with servers.Server(lambda exchange: exchange.reply(200)) as server:
        name = server.origin.partition("://")[2]
        monkeypatch.setattr("soci_bootstrap.fetch.http.HttpSource.ask", lambda *_: time.sleep(1))
        assert ask(urls(name), {}, 0.1) == {name: "no answer in 0.1 s"}


def test_a_name_that_is_no_host() -> None:
    assert ask(urls("a b:x"), {"SSL_CERT_FILE": servers.CA})["a b:x"]


@pytest.mark.parametrize(
    ("answers", "wired", "refused"),
    [
        ({"r.test": ""}, False, None),
        ({"r.test": "no answer in 2 s"}, False, "https://r.test/v2/: no answer in 2 s"),
        ({"r.test": "no answer in 2 s"}, True, "https://r.test/v2/: no answer in 2 s"),
        ({}, False, "it has not been asked yet"),
        ({}, True, None),
    ],
)
def test_refusal(answers, wired, refused) -> None:
    found = wants(DEFAULT, "r.test")
    if refused is None:
        refuse_unreachable(found, answers, wired=wired)
        return
    with pytest.raises(WiringError) as caught:
        refuse_unreachable(found, answers, wired=wired)
    assert refused in str(caught.value)
    assert "soci-bootstrap install" in caught.value.remedy


def test_warnings_name_the_source() -> None:
    assert Registry("r.test", "a CA", "/d/r.test").warning == (
        "/d/r.test names a CA for r.test: SOCI's parallel pull asks the registry itself, without it"
    )
    assert "every registry" in Registry(DEFAULT, "a mirror", "/d/_default").warning
