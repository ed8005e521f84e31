from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from soci_bootstrap.errors import StateError, UsageError
from soci_bootstrap.settings import LASTING, Settings, from_json, load, to_json
from soci_bootstrap.settings.options import OPTIONS

DIGEST = "ab" * 32
DEFAULT = "/etc/soci-bootstrap/config.toml"


def loaded(line: str, environ: dict[str, str] | None = None, files: dict[str, str] | None = None) -> Settings:
    def read_file(path: str) -> bytes:
        if files is None or path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return files[path].encode()

    return load(line.split(), environ or {}, read_file)


def refused(
    line: str, environ: dict[str, str] | None = None, files: dict[str, str] | None = None
) -> tuple[str, ...]:
    with pytest.raises(UsageError) as caught:
        loaded(line, environ, files)
    return caught.value.problems


def test_defaults() -> None:
    assert loaded("install") == Settings("install")


@pytest.mark.parametrize(
    ("arguments", "attribute", "value"),
    [
        ("--soci-version v0.14.1", "soci_version", "0.14.1"),
        ("--soci-version=0.11.0", "soci_version", "0.11.0"),
        (
            "--mirror https://mirror.example.com/soci?sig=x/",
            "mirror",
            "https://mirror.example.com/soci?sig=x/",
        ),
        ("--mirror s3://bucket/prefix", "mirror", "s3://bucket/prefix"),
        ("--mirror ./here", "mirror", "./here"),
        ("--tarball soci.tar.gz", "tarball", "soci.tar.gz"),
        (f"--sha256 {DIGEST.upper()}", "sha256", DIGEST),
        ("--wiring direct", "wiring", "direct"),
        ("--snapshotter-root /mnt/soci/", "snapshotter_root", "/mnt/soci"),
        ("--decompressor unpigz", "decompressor", "unpigz"),
        ("--decompressor /usr/bin/pigz", "decompressor", "/usr/bin/pigz"),
        ("--deadline 0.5", "deadline", 0.5),
        ("--deadline 10 --deadline=60", "deadline", 60.0),
        ("--strict", "strict", True),
        ("--force", "force", True),
        ("--json", "json", True),
        ("-v", "verbosity", 1),
        ("--quiet", "verbosity", -1),
        ("--set max_concurrent_unpacks=-1", "parallel_pull", {"max_concurrent_unpacks": -1}),
        (
            "--set enable=true --set concurrent_download_chunk_size=8mb",
            "parallel_pull",
            {"enable": True, "concurrent_download_chunk_size": "8mb"},
        ),
    ],
)
def test_flags(arguments: str, attribute: str, value: object) -> None:
    for line in (f"install {arguments}", f"{arguments} install"):
        settings = loaded(line)
        assert getattr(settings, attribute) == value
        assert settings.given


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("SOCI_VERSION", "0.14.1", "soci_version", "0.14.1"),
        ("STRICT", "yes", "strict", True),
        ("STRICT", "0", "strict", False),
        ("JSON", "1", "json", True),
        ("VERBOSE", "true", "verbosity", 1),
        ("DEADLINE", "30", "deadline", 30.0),
        ("WIRING", "", "wiring", "auto"),
        (
            "SET",
            "max_concurrent_unpacks=8,max_concurrent_unpacks_per_image=4",
            "parallel_pull",
            {"max_concurrent_unpacks": 8, "max_concurrent_unpacks_per_image": 4},
        ),
        (
            "SET",
            'decompress_streams.gzip.args=["-d", "-c"],decompress_streams."gzip".path=/x,enable=on',
            "parallel_pull",
            {"enable": True},
        ),
    ],
)
def test_environment(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(loaded("install", {f"SOCI_BOOTSTRAP_{name}": text}), attribute) == value


FILE = """\
soci-version = "0.14.1"
deadline = 30
strict = true
wiring = "none"
snapshotter_root = "/mnt/soci"
[set]
max_concurrent_downloads_per_image = 30
discard_unpacked_layers = false
[set.decompress_streams.gzip]
path = "/usr/bin/pigz"
args = ["-dc"]
"""


def test_file() -> None:
    settings = loaded("install", files={DEFAULT: FILE})
    assert (settings.soci_version, settings.deadline, settings.strict) == ("0.14.1", 30.0, True)
    assert (settings.wiring, settings.snapshotter_root) == ("none", "/mnt/soci")
    assert settings.parallel_pull == {
        "max_concurrent_downloads_per_image": 30,
        "discard_unpacked_layers": False,
    }
    assert (settings.decompressor, settings.decompressor_args) == ("/usr/bin/pigz", ("-dc",))
    for line, environ in (("--config x.toml", {}), ("", {"SOCI_BOOTSTRAP_CONFIG": "x.toml"})):
        named = loaded(f"install {line}", environ, {"x.toml": FILE})
        assert replace(named, given=settings.given) == settings


def test_the_file_lies_below_root(tmp_path: Path) -> None:
    files = {f"{tmp_path}{DEFAULT}": 'wiring = "none"', DEFAULT: 'wiring = "direct"'}
    assert loaded(f"install --root {tmp_path}", files=files).wiring == "none"
    assert loaded("install", {"SOCI_BOOTSTRAP_ROOT": str(tmp_path)}, files).wiring == "none"
    assert loaded("install --root /", files=files).wiring == "direct"


def test_precedence() -> None:
    files = {
        DEFAULT: 'wiring = "none"\ndeadline = 1\nstrict = true\n[set]\nenable = false\n'
        "max_concurrent_unpacks = 9"
    }
    environ = {
        "SOCI_BOOTSTRAP_WIRING": "direct",
        "SOCI_BOOTSTRAP_DEADLINE": "2",
        "SOCI_BOOTSTRAP_SET": "enable=1",
    }
    settings = loaded("install --wiring nodeadm --set max_concurrent_downloads=50", environ, files)
    assert (settings.wiring, settings.deadline, settings.strict) == ("nodeadm", 2.0, True)
    # Keys of [set] are settled one by one.
    assert settings.parallel_pull == {
        "enable": True,
        "max_concurrent_unpacks": 9,
        "max_concurrent_downloads": 50,
    }


def test_the_stronger_source_settles_what_excludes_each_other() -> None:
    settings = loaded("install --tarball /t", {"SOCI_BOOTSTRAP_MIRROR": "/m", "SOCI_BOOTSTRAP_VERBOSE": "1"})
    assert (settings.tarball, settings.mirror, settings.verbosity) == ("/t", None, 1)
    assert loaded("install -q", {"SOCI_BOOTSTRAP_VERBOSE": "1"}).verbosity == -1
    assert loaded("install --mirror /m", {}, {DEFAULT: 'tarball = "/t"'}).tarball is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no command given; known: install, bake"),
        ("instal", "unknown command 'instal'; did you mean install?"),
        ("xyzzy", "unknown command 'xyzzy'; known: install"),
        ("install --strct", "unknown option --strct; did you mean --strict?"),
        ("install -x", "unknown option -x"),
        ("install --STRICT", "did you mean --strict?"),
        ("install --Soci_Version 0.15.0", "did you mean --soci-version?"),
        (
            "install --max-concurrent-downloads 5",
            "unknown option --max-concurrent-downloads; did you mean --set max_concurrent_downloads=VALUE?",
        ),
        ("install --deadline", "--deadline needs a value: --deadline SECONDS"),
        ("install --deadline --strict", "--deadline needs a value"),
        ("install --strict=yes", "--strict takes no value: found 'yes'"),
        ("install now", "install: unexpected word 'now'"),
        ("install -- --strict", "install: unexpected word '--strict'"),
        ("install --deadline 0", "--deadline: found '0', expected seconds more than 0"),
        ("install --deadline inf", "--deadline: found 'inf'"),
        ("install --deadline=-5", "--deadline: found '-5'"),
        ("install --soci-version 0.10.0", "no parallel pull"),
        ("install --soci-version newest", "--soci-version: 'newest' is not a SOCI version"),
        ("install --sha256 abc", "--sha256: found 'abc', expected 64 hex digits"),
        ("install --mirror ftp://host/x", "expected https://"),
        ("install --mirror https://", "and a place"),
        ("install --wiring nodeadmn", "did you mean nodeadm?"),
        ("install --decompressor gzip", "or an absolute path; did you mean igzip?"),
        ("install --snapshotter-root var/lib", "absolute path"),
        ("install --snapshotter-root /", "absolute path other than /"),
        ("install --snapshotter-root /a/../b", "without .."),
        ("install --root /does/not/exist", "a directory that exists"),
        ("install --set max_concurrent_unpacks", "found 'max_concurrent_unpacks', expected KEY=VALUE"),
        ("install --set max_concurent_unpacks=1", "did you mean max_concurrent_unpacks?"),
        ("install --set concurrent_download_chunk_size=8MiB", "found '8MiB', expected a number and b, kb"),
        (
            "install --set max_concurrent_unpacks=2 --set max_concurrent_unpacks_per_image=3",
            "expected at most max_concurrent_unpacks, which is 2",
        ),
        ("install --set decompress_streams.gzip.args=[]", "needs a program"),
        (
            "install --decompressor igzip --set decompress_streams.gzip.path=/x",
            "--decompressor and decompress_streams.gzip.path name different programs",
        ),
        ("install --tarball /t --mirror /m", "--tarball and --mirror exclude each other"),
        *(
            (f"{command} --soci-version 0.99.0 --{option}", "SOCI 0.99.0 is not pinned: give it with")
            for command in ("install", "bake", "plan", "render userdata")
            for option in ("mirror http://mirror.test", "tarball /t")
        ),
        ("mirror /d --soci-version 0.99.0 --mirror http://mirror.test", "--mirror is plain http"),
        ("plan --mirror https://host:port/x", "is not a URL"),
        ("bake --mirror https://[::1", "is not a URL"),
        ("mirror /d --arch riscv64", "--arch: found 'riscv64', expected amd64 or arm64"),
        ("mirror /d --soci-version 0.10.0", "no parallel pull"),
        ("install -v -q", "exclude each other"),
        ("install --arch arm64", "--arch: found arm64, expected it only with --root or mirror"),
        ("install --vcpus 4", "--vcpus: found 4, expected it only with --root or config"),
        ("config --vcpus 0", "--vcpus: found '0', expected a whole number"),
        ("config --vcpus 1.5", "a whole number"),
        ("config --memory-gib lots", "--memory-gib: found 'lots', expected GiB"),
        ("config --arch riscv64 --root /", "expected amd64 or arm64"),
        ("doctor --force", "--force is not an option of doctor; it is for install"),
        ("render", "render needs KIND: one of userdata"),
        ("render userdta", "unknown KIND 'userdta'; did you mean userdata?"),
        ("render userdata --static-node-config v3", "unknown option --static-node-config"),
        ("mirror", "mirror needs DEST"),
        (f"mirror /d --sha256 {DIGEST}", "needs --soci-version and --arch"),
        ("install --config /does/not/exist", "found no file /does/not/exist"),
    ],
)
def test_refusals(line: str, said: str) -> None:
    problems = refused(line)
    assert len(problems) == 1, problems
    assert said in problems[0]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("DEADLIN", "5", "SOCI_BOOTSTRAP_DEADLIN: no such setting; did you mean SOCI_BOOTSTRAP_DEADLINE?"),
        ("strict", "1", "SOCI_BOOTSTRAP_strict: no such setting; did you mean SOCI_BOOTSTRAP_STRICT?"),
        ("STRICT", "maybe", "SOCI_BOOTSTRAP_STRICT: found 'maybe', expected true or false"),
        ("SET", "enable=true,oops", "SOCI_BOOTSTRAP_SET: found 'oops', expected KEY=VALUE"),
        ("ARCH", "arm64", "SOCI_BOOTSTRAP_ARCH: found arm64, expected it only with --root"),
    ],
)
def test_refusals_of_the_environment(name: str, text: str, said: str) -> None:
    (problem,) = refused("install", {f"SOCI_BOOTSTRAP_{name}": text})
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wirin = 1", f"{DEFAULT}: wirin: no such setting; did you mean wiring?"),
        ('root = "/mnt"', f"{DEFAULT}: root: says where the file is: expected it as a flag"),
        ('config = "/x"', "expected it as a flag or in the environment"),
        ("max_concurrent_unpacks = 3", "max_concurrent_unpacks: found outside of [set], expected it there"),
        ('MIRROR = "/m"', "no such setting; did you mean mirror?"),
        ("wiring = 1", f"{DEFAULT}: wiring: found 1, expected auto"),
        ("strict = 1", "found 1, expected"),
        ("deadline = true", "found True, expected seconds"),
        ("set = 'enable=1'", "expected a table of SOCI's keys"),
        ("[set]\nmax_concurrent_unpack = 3", "set max_concurrent_unpack: no parallel-pull key; did you mean"),
        ("wiring = ", "expected a TOML document"),
    ],
)
def test_refusals_of_the_file(text: str, said: str) -> None:
    (problem,) = refused("install", files={DEFAULT: text})
    assert said in problem


def test_every_problem_of_every_source_is_told_at_once() -> None:
    problems = refused(
        "install --strct --deadline 0 --set a=1",
        {"SOCI_BOOTSTRAP_WIRING": "x", "SOCI_BOOTSTRAP_NOPE": "1"},
        {DEFAULT: "json = 3\nnope = 1"},
    )
    assert len(problems) == 7


def test_an_unreadable_file_is_told() -> None:
    def read_file(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    for line in ("install", "rollback", "config --config /etc/soci-bootstrap/config.toml"):
        with pytest.raises(UsageError, match="can't be read: Permission denied"):
            load(line.split(), {}, read_file)
    # Who may run these without rights does without it, and is told so.
    for line in ("config", "plan", "doctor", "mirror /d", "render userdata --zipapp-url https://x.example/y"):
        (unseen,) = load(line.split(), {}, read_file).unseen
        assert unseen == f"{DEFAULT}: can't be read: Permission denied"


def test_settings_of_other_commands_are_ignored_outside_flags() -> None:
    assert loaded("doctor", {"SOCI_BOOTSTRAP_WIRING": "none"}, {DEFAULT: "deadline = 5"}) == Settings(
        "doctor"
    )
    with pytest.raises(UsageError, match="not an option of doctor"):
        loaded("doctor --wiring none")


def test_the_variable_of_the_build_breaks_no_command() -> None:
    for line in ("install", "doctor", "render userdata"):
        assert loaded(line, {"SOCI_BOOTSTRAP_COMMIT": "abc"}) == loaded(line)
    assert "COMMIT" not in refused("install", {"SOCI_BOOTSTRAP_COMIT": "abc"})[0]


def test_the_stub_keeps_its_own_variables() -> None:
    environ = {"SOCI_BOOTSTRAP_ZIPAPP_URL": "https://x.example/y", "SOCI_BOOTSTRAP_ZIPAPP_SHA256": "nonsense"}
    assert loaded("install", environ) == Settings("install")
    del environ["SOCI_BOOTSTRAP_ZIPAPP_SHA256"]
    assert loaded("render userdata", environ).render.zipapp_url == "https://x.example/y"


def test_another_node_is_described_for_config_and_root(tmp_path: Path) -> None:
    assert loaded("config --vcpus 4 --memory-gib 7.5").memory_gib == 7.5
    settings = loaded(f"install --root {tmp_path} --vcpus 4 --memory-gib 7.5 --arch arm64")
    assert (settings.vcpus, settings.memory_gib, settings.arch) == (4, 7.5, "arm64")
    assert (settings.root, settings.live) == (str(tmp_path), False)


def test_only_render_has_render_options() -> None:
    options = loaded("render ec2nodeclass --instance-store-policy RAID0 --name soci").render
    assert (options.kind, options.instance_store_policy, options.name) == ("ec2nodeclass", "RAID0", "soci")
    with pytest.raises(ValueError, match="no options of render"):
        _ = loaded("install").render


def test_a_credential_in_a_mirror_is_not_told() -> None:
    (problem,) = refused("install --mirror ftp://user:secret@host/x")
    assert "secret" not in problem


def test_lasting_settings_survive_the_record() -> None:
    line = (
        "install --soci-version 0.14.1 --wiring direct --force --decompressor /usr/bin/pigz --json --strict"
    )
    settings = loaded(f"{line} --set max_concurrent_unpacks=3 --snapshotter-root /mnt/soci")
    kept = from_json(json.loads(json.dumps(to_json(settings))), "install")
    assert to_json(kept) == to_json(settings)
    assert (kept.soci_version, kept.parallel_pull, kept.force) == (
        "0.14.1",
        {"max_concurrent_unpacks": 3},
        True,
    )
    assert (kept.json, kept.strict) == (False, False)
    assert from_json(to_json(Settings("install")), "install").wiring == "auto"


def test_a_decompressor_given_by_its_path_gets_the_usual_arguments() -> None:
    for line in ("--decompressor /usr/bin/pigz", "--set decompress_streams.gzip.path=/usr/bin/pigz"):
        settings = loaded(f"install {line}")
        assert (settings.decompressor, settings.decompressor_args) == ("/usr/bin/pigz", ("-d", "-c"))
        assert "decompressor" in settings.given
        assert from_json(to_json(settings), "install").decompressor_args == ("-d", "-c")
    bare = loaded("install --decompressor /x --set decompress_streams.gzip.args=[]")
    assert bare.decompressor_args == ()
    assert loaded("install --decompressor igzip").decompressor_args is None


@pytest.mark.parametrize(
    "broken",
    [
        {"parallel_pull": 3},
        {"parallel_pull": {"max_concurrent_unpacks": "0"}},
        {"decompressor_args": "x"},
        {"wiring": 7},
        {"force": "perhaps"},
    ],
)
def test_a_broken_record_is_told(broken: dict[str, object]) -> None:
    with pytest.raises(StateError, match="run install again"):
        from_json(broken, "install")


def test_the_table_is_sound() -> None:
    names = [option.name for option in OPTIONS]
    assert len(set(names)) == len(names)
    assert all(option.help and option.commands for option in OPTIONS)


def test_the_record_and_the_nodes_get_what_the_table_says() -> None:
    assert set(LASTING) == {
        *("soci_version", "wiring", "snapshotter_root", "parallel_pull"),
        *("decompressor", "decompressor_args", "force"),
    }
    here_alone = {option.name for option in OPTIONS if "render" in option.commands and not option.for_nodes}
    assert here_alone == {
        *(option.name for option in OPTIONS if option.commands == ("render",)),
        *("config", "json", "verbose", "quiet"),
    }
    assert all(hasattr(Settings("install"), name) for name in LASTING)
