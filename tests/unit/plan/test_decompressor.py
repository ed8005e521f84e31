"""The decompressor we bring, and the self-test that all must pass."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from soci_bootstrap import paths
from soci_bootstrap.errors import CommandError, DecompressorError
from soci_bootstrap.plan.decompressor import carried
from soci_bootstrap.runtime.self_test import Case, cases, faster_than, self_test
from soci_bootstrap.system import System, resources
from soci_bootstrap.system.programs import Completed

DATA = Path(resources.__file__).parents[1] / "data"
TEXT = b"one layer after the other\n" * 5000
WHOLE = gzip.compress(TEXT)
EXTRAS = b"\x1f\x8b\x08\x18" + bytes(6) + b"n" * 300 + b"\0c\0"


def inflate_all(stream: bytes) -> bytes:
    """What a right decompressor writes; raises where it must fail."""
    output = b""
    while stream.strip(b"\0"):
        member = zlib.decompressobj(31)
        output += member.decompress(stream)
        if not member.eof:
            raise EOFError
        stream = member.unused_data
    return output


class Pretender(System):
    """A decompressor that is right but for one case."""

    def __init__(self, wrong: str = "", answer: Completed | None = None) -> None:
        super().__init__()
        self.wrong = wrong
        self.answer = answer
        self.calls: list[list[str]] = []

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        self.calls.append(list(argv))
        case = next(case for case in cases() if case.stream == input)
        if case.name == self.wrong:
            if self.answer is None:
                raise CommandError("/x did not end", found="no end after 5 s")
            return self.answer
        try:
            return Completed(0, inflate_all(input), b"")
        except (EOFError, zlib.error):
            return Completed(1, b"", b"bad stream")


class TestCases:
    def test_covers_what_the_design_names(self) -> None:
        assert [case.name for case in cases()] == [
            "a known stream",
            "several members and zeros",
            "a truncated stream",
            "a corrupt stream",
        ]

    @pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
    def test_agrees_with_zlib(self, case: Case) -> None:
        if case.output is None:
            with pytest.raises((EOFError, zlib.error)):
                inflate_all(case.stream)
        else:
            assert inflate_all(case.stream) == case.output

    def test_only_the_checksum_tells_the_corrupt_stream(self) -> None:
        stream = next(case.stream for case in cases() if case.name == "a corrupt stream")
        assert len(zlib.decompressobj(-15).decompress(stream[10:])) > 1000


class TestSelfTest:
    def test_a_right_one_passes_with_its_arguments(self) -> None:
        system = Pretender()
        self_test("/x", ["-d", "-c"], system)
        assert system.calls == [["/x", "-d", "-c"]] * len(cases())

    @pytest.mark.parametrize(
        ("wrong", "answer", "found"),
        [
            ("a known stream", Completed(0, b"other", b""), "status 0 and 5 bytes"),
            (
                "a known stream",
                Completed(127, b"", b"no such library"),
                "status 127 and 0 bytes (no such library)",
            ),
            ("several members and zeros", Completed(0, TEXT, b""), f"status 0 and {len(TEXT)} bytes"),
            ("several members and zeros", Completed(2, b"", b"trailing garbage"), "status 2"),
            ("a truncated stream", Completed(0, b"", b""), "status 0"),
            ("a corrupt stream", Completed(0, b"", b""), "status 0"),
            ("a known stream", None, "did not end"),
        ],
    )
    def test_a_wrong_one_is_named_with_the_case(
        self, wrong: str, answer: Completed | None, found: str
    ) -> None:
        with pytest.raises(DecompressorError) as caught:
            self_test("/x", [], Pretender(wrong, answer))
        assert wrong in str(caught.value)
        assert found in str(caught.value)

    @pytest.mark.subprocess
    def test_a_missing_one_fails(self) -> None:
        with pytest.raises(DecompressorError, match="/nowhere/igzip"):
            self_test("/nowhere/igzip", [], System())


class TestCarried:
    def test_nothing_for_another_python_or_machine(self) -> None:
        assert carried("amd64", (3, 6)) is None
        assert carried("riscv64", (3, 9)) is None

    @pytest.mark.parametrize(("arch", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
    def test_names_the_library_for_one_python_alone(
        self, monkeypatch: pytest.MonkeyPatch, arch: str, machine: str
    ) -> None:
        monkeypatch.setattr(resources, "read", lambda name: name.encode())
        files = carried(arch, (3, 9))
        assert files is not None
        assert [(file.path, file.data, file.mode) for file in files] == [
            (
                f"/usr/local/libexec/soci-bootstrap/igzip_lib.cpython-39-{machine}-linux-gnu.so",
                f"igzip_lib-39-{machine}.so".encode(),
                0o644,
            ),
            ("/usr/local/libexec/soci-bootstrap/inflate.py", b"inflate.py", 0o644),
            ("/usr/local/libexec/soci-bootstrap/gunzip", b"gunzip", 0o755),
        ]


class Racer(System):
    """Decompressors that take a set time on a clock of the test's."""

    def __init__(self, seconds: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.seconds = seconds
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(resources, "read", lambda _: TEXT)

    def run(self, argv, *, timeout, input=b"", env=None):  # noqa: A002
        taken = self.seconds[argv[3]].pop(0)
        self.now += taken
        if taken > timeout:
            raise CommandError("did not end", found="no end after 10 s")
        return Completed(0 if taken else 1, b"", b"")


class TestFasterThan:
    def test_the_best_round_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        system = Racer({"/a": [9, 1, 9], "/b": [2, 2, 2]}, monkeypatch)
        assert faster_than("/a", [], "/b", ["-dc"], system) is True

    def test_a_tie_goes_to_what_the_node_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        system = Racer({"/a": [2, 2, 2], "/b": [2, 2, 2]}, monkeypatch)
        assert faster_than("/a", [], "/b", [], system) is False

    @pytest.mark.parametrize("taken", [0, 11])
    def test_one_that_fails_is_no_racer(self, monkeypatch: pytest.MonkeyPatch, taken: float) -> None:
        with pytest.raises(DecompressorError, match="/b failed while its speed was measured"):
            faster_than("/a", [], "/b", [], Racer({"/a": [1], "/b": [taken]}, monkeypatch))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Our decompressor as on a node, with the library for the system's Python where we have it."""
    igzip_lib = pytest.importorskip("isal.igzip_lib")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    system = subprocess.run(["/usr/bin/python3", "-V"], capture_output=True, text=True, check=True).stdout
    if f" {version}." not in system:
        pytest.skip(f"/usr/bin/python3 is {system.strip()}, the library is for {version}")
    tmp_path.chmod(0o755)
    for source in (DATA / "gunzip", DATA / "inflate.py", Path(igzip_lib.__file__)):
        shutil.copy(source, tmp_path)
    return tmp_path / "gunzip"


def without(what: str, ours: Path) -> Path:
    if what == "library":
        next(ours.parent.glob("igzip_lib*")).unlink()
    elif what == "python":
        ours.write_text(ours.read_text().replace("/usr/bin/python3", "/nowhere/python3"))
    return ours


def run(script: Path, stream: bytes, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(script)], input=stream, capture_output=True, env={"PATH": path}, check=False)


@pytest.mark.subprocess
class TestOurs:
    def test_is_executable_in_the_checkout(self) -> None:
        assert os.access(DATA / "gunzip", os.X_OK)

    def test_passes_the_self_test(self, ours: Path) -> None:
        self_test(str(ours), [], System())

    @pytest.mark.parametrize("lost", ["library", "python"])
    def test_survives_the_loss_of(self, ours: Path, lost: str) -> None:
        self_test(str(without(lost, ours)), [], System())

    def test_uses_the_library(self, ours: Path) -> None:
        # gzip and unpigz would be called by PATH: without one, only the library is left.
        done = subprocess.run(
            [str(ours)], input=WHOLE, capture_output=True, env={"PATH": "/nowhere"}, check=True
        )
        assert done.stdout == TEXT

    def test_says_so_when_nothing_is_left(self, ours: Path) -> None:
        script = without("library", ours)
        done = subprocess.run(
            [str(script)], input=WHOLE, capture_output=True, env={"PATH": "/nowhere"}, check=False
        )
        assert done.returncode == 1
        assert b"no igzip_lib for this Python, no unpigz, no gzip" in done.stderr

    @pytest.mark.parametrize(
        ("name", "stream", "output"),
        [
            ("an empty member", gzip.compress(b""), b""),
            ("members and zeros in between", WHOLE + bytes(70000) + WHOLE, TEXT * 2),
            (
                "a name and a comment",
                EXTRAS + WHOLE[10:],
                TEXT,
            ),
            ("a megabyte of zeros behind", WHOLE + bytes(1 << 20), TEXT),
            ("three hundred members", gzip.compress(b"x") * 300, b"x" * 300),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_takes(self, ours: Path, name: str, stream: bytes, output: bytes) -> None:
        done = run(ours, stream)
        assert (done.returncode, done.stdout, done.stderr) == (0, output, b"")

    @pytest.mark.parametrize(
        ("name", "stream"),
        [
            ("nothing", b""),
            ("zeros alone", bytes(100)),
            ("one byte", WHOLE[:1]),
            ("half a header", WHOLE[:5]),
            ("a header", WHOLE[:10]),
            ("half of it", WHOLE[: len(WHOLE) // 2]),
            ("no checksum", WHOLE[:-8]),
            ("half a length", WHOLE[:-2]),
            ("a wrong checksum", WHOLE[:-8] + bytes(4) + WHOLE[-4:]),
            ("a wrong length", WHOLE[:-4] + bytes(4)),
            ("garbage", os.urandom(5000)),
            ("garbage behind", WHOLE + b"garbage"),
            ("garbage behind zeros", WHOLE + bytes(1000) + b"garbage"),
            ("a cut second member", WHOLE + WHOLE[:-1]),
            ("zlib's format", zlib.compress(TEXT)),
            ("another method", b"\x1f\x8b\x07" + WHOLE[3:]),
            ("a name without end", b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 5000),
            ("a distance before the start", b"\x1f\x8b\x08" + bytes(7) + b"\x4b\x04\x42\x00" + bytes(8)),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refuses(self, ours: Path, name: str, stream: bytes) -> None:
        done = run(ours, stream)
        assert done.returncode == 1
        assert done.stderr.startswith(b"soci-bootstrap gunzip: ")
        assert done.stderr.count(b"\n") == 1

    @pytest.mark.parametrize("flags", [2, 4 | 8, 2 | 4 | 8 | 16])
    def test_a_header_that_comes_in_pieces(self, ours: Path, flags: int) -> None:
        # The library fails on some of these when a header is split between two calls.
        fields = (b"\x02\0ab" if flags & 4 else b"") + (b"name\0" if flags & 8 else b"")
        head = (
            b"\x1f\x8b\x08"
            + bytes([flags])
            + b"\0" * 4
            + b"\0\x03"
            + fields
            + (b"why\0" if flags & 16 else b"")
        )
        if flags & 2:
            head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
        member = head + WHOLE[10:]
        with subprocess.Popen(
            [ours], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            for piece in (
                WHOLE,
                *(member[at : at + 1] for at in range(len(head) + 1)),
                member[len(head) + 1 :],
            ):
                process.stdin.write(piece)
                process.stdin.flush()
                time.sleep(0.002)
            output, errors = process.communicate()
        assert (process.returncode, output, errors) == (0, TEXT * 2, b"")

    def test_a_bomb_takes_no_memory(self, ours: Path) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
        limited = ["/bin/sh", "-c", 'ulimit -v 65536; exec "$0" >/dev/null', str(ours)]
        done = subprocess.run(limited, input=bomb, stderr=subprocess.PIPE, check=False)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_a_reader_that_leaves_ends_it(self, ours: Path) -> None:
        child = subprocess.Popen(
            [str(ours)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.close()
        _, errors = child.communicate(WHOLE)
        assert child.returncode == 1
        assert b"Broken pipe" in errors

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
    def test_is_nobody_while_it_reads(self, ours: Path) -> None:
        with subprocess.Popen([str(ours)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(gzip.compress(b"first") + WHOLE[:10])
            child.stdin.flush()
            assert child.stdout.read(5) == b"first"
            status = Path(f"/proc/{child.pid}/status").read_text()
            child.kill()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert fields["Uid"].split() == ["65534"] * 4
        assert fields["Gid"].split() == ["65534"] * 4
        assert fields["Groups"].split() == []
        assert int(fields["CapEff"], 16) == 0


def test_the_constants_fit_the_node() -> None:
    assert paths.DECOMPRESSOR.startswith(paths.LIBEXEC + "/")
