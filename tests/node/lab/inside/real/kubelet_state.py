#!/usr/bin/python3
"""Watches the real kubelet and writes what its stand-in would: is it well, and do both its endpoints answer.

Takes kubelet's own arguments, and writes /run/lab/kubelet.json again each half second.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request

sys.path.insert(0, "/opt/lab/python")

from kubelet_endpoints import CALLS, STATE, answers, effective  # type: ignore[import-not-found]

HEALTH = "http://127.0.0.1:10248/healthz"


def unwell() -> str:
    """Why kubelet does not say that it is well; empty where it does."""
    try:
        with urllib.request.urlopen(HEALTH, timeout=2):
            return ""
    except OSError as error:
        return f"{HEALTH}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser("kubelet-state")
    parser.add_argument("--config", required=True)
    parser.add_argument("--config-dir", default="")
    options, _ = parser.parse_known_args()
    config = effective(options.config, options.config_dir)
    runtime = config["containerRuntimeEndpoint"]
    endpoints = {"runtime": runtime, "image": config.get("imageServiceEndpoint") or runtime}
    os.makedirs(os.path.dirname(STATE), exist_ok=True)
    while True:
        errors = [problem for kind, call in CALLS.items() if (problem := answers(endpoints[kind], call))]
        if problem := unwell():
            errors.append(problem)
        with open(f"{STATE}.tmp", "w") as target:
            json.dump({"ready": not errors, **endpoints, "errors": errors}, target)
        os.rename(f"{STATE}.tmp", STATE)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
