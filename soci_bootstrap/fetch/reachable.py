"""Ask registries whether SOCI reaches them directly."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.system import signals

SECONDS = 2.0
# What Go's HTTP client, which SOCI uses, does not look at.
_NOT_GO = frozenset({"all_proxy", "requests_ca_bundle"})


def ask(urls: Mapping[str, str], environ: Mapping[str, str], seconds: float = SECONDS) -> dict[str, str]:
    """Ask every registry for its ``/v2/``, all at once; any HTTP answer counts.

    Args:
        urls: what to ask, by the registry's name.
        environ: SOCI's own, for its proxies and its trust.
        seconds: for all of them together.

    Returns:
        By name: empty where it answered, else why not.
    """
    environ = {name: value for name, value in environ.items() if name.lower() not in _NOT_GO}
    answers: dict[str, str] = {}
    # Daemon threads: a name server that hangs must not keep the process from ending.
    threads = [
        threading.Thread(target=_ask_one, args=(name, url, environ, seconds, answers), daemon=True)
        for name, url in urls.items()
    ]
    end = time.monotonic() + seconds
    for thread in threads:
        signals.start(thread)
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return {name: answers.get(name, f"no answer in {seconds:g} s") for name in urls}


def _ask_one(
    name: str, url: str, environ: Mapping[str, str], seconds: float, answers: dict[str, str]
) -> None:
    from soci_bootstrap.fetch.http import HttpSource
    from soci_bootstrap.fetch.source import TransientError

    try:
        HttpSource(url, environ).ask(seconds)
    except TransientError as error:
        answers[name] = error.reason
    except BootstrapError as error:
        answers[name] = error.found or error.problem
    except Exception as error:  # noqa: BLE001 - no answer, whatever kept it away
        answers[name] = f"{type(error).__name__}: {error}"
    else:
        answers[name] = ""
