"""Build the image from the Dockerfile on a machine without Docker, and without its registry.

    python docker/build_with_buildah.py TAG

buildah (chroot isolation) runs the Dockerfile; a Debian root file system made by debootstrap, and
slimmed as Debian's own image is, stands in for the base image. The machine's own pip settings
(index, certificates, local wheels) are mounted into the build and leave empty mount points only.
Needs root and the Debian packages buildah and debootstrap.
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
BASE = "localhost/facewright-base:bookworm-slim"
MIRROR = "http://deb.debian.org/debian"

UNREAD = tuple(
    f"/usr/share/{name}" for name in ("doc", "groff", "info", "lintian", "locale", "man")
)
COPYRIGHTS = "/usr/share/doc/*/copyright"
APT_WITHOUT_CACHES = """\
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
"""

MOUNTS = "/mnt"
LOCAL = re.compile(r"(?<!\S)(file://|)(/\S+)")
"""A path in a value of pip's settings."""


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command; its failure ends the program with the command's own message above."""
    return subprocess.run([str(c) for c in command], check=True, text=True, **options)  # type: ignore[call-overload,no-any-return]


def slim(rootfs: Path) -> None:
    """Take out what Debian's slim images go without, and let nothing of it come again."""
    exclude = "".join(f"path-exclude {path}/*\n" for path in UNREAD)
    (rootfs / "etc/dpkg/dpkg.cfg.d/docker").write_text(f"{exclude}path-include {COPYRIGHTS}\n")
    (rootfs / "etc/apt/apt.conf.d/docker").write_text(APT_WITHOUT_CACHES)
    for file in (
        *rootfs.glob("var/cache/apt/*.bin"),
        *rootfs.glob("var/cache/apt/archives/*.deb"),
        *rootfs.glob("var/lib/apt/lists/*_*"),
        *(file for path in UNREAD for file in (rootfs / path[1:]).rglob("*")),
    ):
        if not file.is_dir() and not file.match(COPYRIGHTS[1:]):
            file.unlink()


def make_base() -> None:
    """Make the stand-in for the base image, unless it is there."""
    known = run("buildah", "images", "--format={{.Name}}:{{.Tag}}", capture_output=True).stdout
    if BASE in known.splitlines():
        return
    with tempfile.TemporaryDirectory(prefix="facewright-base-") as directory:
        rootfs = Path(directory) / "rootfs"
        run("debootstrap", "--variant=minbase", "bookworm", rootfs, MIRROR)
        slim(rootfs)
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
        for scheme, word in LOCAL.findall(value):
            # The pages of an index on disk point to packages beside it.
            path = Path(word).parent if scheme else Path(word)
            if path.exists():
                yield path


def moved(value: str) -> str:
    """A setting with its local paths below `MOUNTS`.

    In their own places they would be in the way of packages that bring or write the same files.
    """
    return LOCAL.sub(
        lambda found: f"{found[1]}{MOUNTS if Path(found[2]).exists() else ''}{found[2]}", value
    )


def main() -> None:
    """Build the image and tag it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tag", help="name of the image, such as localhost/facewright:test")
    tag = parser.parse_args().tag
    make_base()
    settings = pip_settings()
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as configuration:
        configuration.write("[global]\n")
        configuration.writelines(f"{name} = {moved(v)}\n" for name, v in settings.items())
        configuration.flush()
        Path(configuration.name).chmod(0o644)
        volumes = [f"--volume={configuration.name}:/etc/pip.conf:ro"]
        paths = dict.fromkeys(local_paths(settings))
        volumes += [f"--volume={path}:{MOUNTS}{path}:ro" for path in paths]
        # HEALTHCHECK is no part of the OCI format.
        run(
            *("buildah", "build", "--isolation=chroot", "--layers", "--format=docker"),
            *(f"--build-arg=BASE={BASE}", "--pull-never", *volumes),
            *(f"--tag={tag}", ROOT),
        )


if __name__ == "__main__":
    main()
