"""Host names that are not ASCII, by Python's own codec, where requests and urllib3 ask for idna.

Stands in for idna in the zipapp: its tables are larger than all of requests, and every registry,
bucket and release host is ASCII.
"""

from __future__ import annotations


class IDNAError(UnicodeError):
    """The name can't be encoded."""


def encode(name: str, *, strict: bool = False, uts46: bool = False, std3_rules: bool = False) -> bytes:
    """The ASCII form of a host name; the options are the real package's and change nothing here."""
    try:
        return name.encode("idna")
    except UnicodeError as error:
        raise IDNAError(str(error)) from error
