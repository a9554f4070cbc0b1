"""Build the image from the Dockerfile on a machine without Docker, and without its registry.

    python docker/build_with_buildah.py TAG

buildah (chroot isolation) runs the Dockerfile; a Debian root file system with Python, made by
debootstrap, stands in for the base image. The machine's own pip settings (index, certificates,
local wheels) are mounted into the build and leave nothing in the image. Needs root and the
Debian packages buildah and debootstrap.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = "localhost/facewright-base:bookworm"
MIRROR = "http://deb.debian.org/debian"


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; its failure ends the program with the command's own message above."""
    return subprocess.run([str(c) for c in command], check=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def make_base() -> None:
    """Make the stand-in for the base image, unless it is there: Debian with python3 and venv."""
    known = run("buildah", "images", "--format={{.Name}}:{{.Tag}}", capture_output=True).stdout
    if BASE in known.splitlines():
        return
    with tempfile.TemporaryDirectory(prefix="facewright-base-") as directory:
        rootfs = Path(directory) / "rootfs"
        packages = "python3,python3-venv,ca-certificates"
        run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", rootfs, MIRROR)
        for cache in (
            *rootfs.glob("var/cache/apt/archives/*.deb"),
            *rootfs.glob("var/lib/apt/lists/*_*"),
        ):
            cache.unlink()
        container = run("buildah", "from", "scratch", capture_output=True).stdout.strip()
        run("buildah", "add", "-q", container, f"{rootfs}/", "/")
        run("buildah", "commit", "-q", "--rm", container, BASE)


def pip_settings() -> dict[str, str]:
    """The settings of pip on this machine by option name; what the environment says comes last."""
    listed = run(sys.executable, "-m", "pip", "config", "list", capture_output=True).stdout
    pairs = (line.partition("=") for line in sorted(listed.splitlines(), key=_is_environment))
    return {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in pairs}


def _is_environment(line: str) -> bool:
    return line.startswith(":env:")


def local_paths(settings: dict[str, str]) -> Iterator[Path]:
    """Files and directories of this machine that pip's settings name."""
    for value in settings.values():
        for scheme, word in re.findall(r"(?<!\S)(file://)?(/\S+)", value):
            # The pages of an index on disk point to packages beside it.
            path = Path(word).parent if scheme else Path(word)
            if path.exists():
                yield path


def main() -> None:
    """Build the image and tag it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tag", help="name of the image, such as localhost/facewright:test")
    tag = parser.parse_args().tag
    make_base()
    settings = pip_settings()
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as configuration:
        configuration.write("[global]\n" + "".join(f"{k} = {v}\n" for k, v in settings.items()))
        configuration.flush()
        Path(configuration.name).chmod(0o644)
        volumes = [f"--volume={configuration.name}:/etc/pip.conf:ro"]
        volumes += [f"--volume={path}:{path}:ro" for path in dict.fromkeys(local_paths(settings))]
        # HEALTHCHECK is no part of the OCI format.
        run(
            *("buildah", "build", "--isolation=chroot", "--layers", "--format=docker"),
            *(f"--build-arg=BASE={BASE}", "--pull-never", *volumes),
            *(f"--tag={tag}", ROOT),
        )


if __name__ == "__main__":
    main()
