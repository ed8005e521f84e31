"""gzip and tar: however the stream comes in pieces, the same member or the same refusal."""

from __future__ import annotations

import gzip

from soci_bootstrap.errors import ArchiveError
from soci_bootstrap.fetch.gunzip import Gunzip, load_igzip
from soci_bootstrap.fetch.tar import MEMBER, TarReader
from tests.support.corpus.archives import CASES

SEEDS = [
    *(b"\0" + case.data for case in CASES if len(case.data) < 20_000),
    *(b"\1" + _plain for case in CASES if case.problem is None and (_plain := gzip.decompress(case.data))),
]
_LIMIT = 8 << 20
_IGZIP = load_igzip()


def one(data: bytes) -> None:
    """The first byte says whether what follows is packed, and how it is cut."""
    kind, body = data[:1], data[1:]
    size = (kind[0] >> 1) * 7 + 1 if kind else 1
    if kind and kind[0] & 1:
        outcomes = [_unpack([body]), _unpack([body[at : at + size] for at in range(0, len(body), size)])]
    else:
        pieces = [body[at : at + size] for at in range(0, len(body), size)][:4000]
        outcomes = [_inflate([body], None), _inflate(pieces, None), _inflate([body], _IGZIP)]
        if sum(map(len, pieces)) < len(body):
            outcomes.pop(1)
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0], (outcomes[0], outcome)
    if outcomes[0] is None:
        raise ArchiveError("refused", remedy="-")


def _inflate(pieces: list[bytes], igzip: object) -> bytes | None:
    gunzip = Gunzip(igzip, _LIMIT)
    plain: list[bytes] = []
    try:
        for piece in pieces:
            plain += [bytes(inflated) for inflated in gunzip.feed(piece)]
        gunzip.finish()
    except ArchiveError:
        return None
    return _unpack(plain)


def _unpack(pieces: list[bytes]) -> bytes | None:
    sizes: list[int] = []
    member: list[bytes] = []
    tar = TarReader(sizes.append, lambda view: member.append(bytes(view)))
    try:
        for piece in pieces:
            tar.feed(piece)
        tar.finish()
    except ArchiveError as error:
        assert str(error).isprintable(), "the archive's own bytes reach a terminal"
        return None
    found = b"".join(member)
    assert sizes == [len(found)]
    assert MEMBER.encode() in b"".join(pieces)
    return found
