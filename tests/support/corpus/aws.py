"""A stand-in for the aws CLI: as much of ``s3 cp`` and ``s3api head-object`` as we call, on a directory."""

from __future__ import annotations

import sys
from pathlib import Path

SCRIPT = """#!{python} -I
import json, os, shutil, sys, time

HERE = {here!r}
arguments = sys.argv[1:]
with open(HERE + "/aws.log", "a") as log:
    log.write(" ".join(arguments) + "\\n")
if os.environ.get("AWS_SAYS"):
    sys.exit(os.environ["AWS_SAYS"])


def local(url):
    return HERE + "/s3/" + url[len("s3://"):]


def noted(path):
    return HERE + "/metadata/" + path.replace("/", "_")


def option(name):
    return arguments[arguments.index(name) + 1]


if arguments[:2] == ["s3api", "head-object"]:
    path = local("s3://" + option("--bucket") + "/" + option("--key"))
    if not os.path.exists(path):
        sys.exit("An error occurred (404) when calling the HeadObject operation: Not Found")
    metadata = open(noted(path)).read() if os.path.exists(noted(path)) else ""
    known = dict([metadata.split("=")]) if metadata else {{}}
    print(json.dumps({{"ContentLength": os.path.getsize(path), "Metadata": known}}))
elif arguments[:2] == ["s3", "cp"] and arguments[3] == "-":
    path = local(arguments[2])
    if not os.path.exists(path):
        sys.exit("fatal error: An error occurred (404) when calling HeadObject: Key does not exist")
    with open(path, "rb") as file:
        data = file.read()
    cut = HERE + "/cut"
    if os.path.exists(cut):
        os.unlink(cut)
        sys.stdout.buffer.write(data[: len(data) // 2])
        sys.stdout.flush()
        sys.exit("fatal error: Connection was closed before we received a valid response, token=hunter2")
    if os.path.exists(HERE + "/hang"):
        sys.stdout.buffer.write(data[: len(data) // 2])
        sys.stdout.flush()
        time.sleep(30)
    sys.stderr.write("warning\\n" * int(os.environ.get("AWS_CHATTER", "0")))
    sys.stdout.buffer.write(data)
elif arguments[:2] == ["s3", "cp"]:
    path = local(arguments[3])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    shutil.copyfile(arguments[2], path)
    os.makedirs(HERE + "/metadata", exist_ok=True)
    with open(noted(path), "w") as file:
        file.write(option("--metadata"))
else:
    sys.exit("Unknown options: " + " ".join(arguments))
"""


def install_aws(directory: Path) -> dict[str, str]:
    """Put it into ``directory``; the environment that finds it. Objects are files below ``s3/``."""
    program = directory / "bin" / "aws"
    program.parent.mkdir()
    program.write_text(SCRIPT.format(python=sys.executable, here=str(directory)))
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(directory / "cache"),
        "HOME": str(directory),
    }


def put(directory: Path, path: str, data: bytes) -> None:
    """An object that somebody else uploaded."""
    target = directory / "s3" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
