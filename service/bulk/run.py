"""A whole run: what is not done yet goes to Ray Data, then come the albums."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from rich.console import Console

from facewright.service.bulk.albums import albums_written, write_albums
from facewright.service.bulk.manifest import FACES_FOLDER, BulkOptions, Run, open_run
from facewright.service.bulk.progress import BulkProgress
from facewright.service.bulk.worker import part_summary
from facewright.service.errors import InvalidParameter
from facewright.service.settings import Settings

UNFINISHED = 3
"""Exit code of a run that stopped before its end."""
_INTERRUPTED = 130
_SUMMARY_READERS = 16


def run_bulk(options: BulkOptions, worker_cpus: int) -> int:
    """Reconstruct all photos of a source into a table; goes on where it was interrupted.

    Args:
        options: what is asked for.
        worker_cpus: processors of one worker without a GPU, >= 1.

    Returns:
        0; 1 when a photo failed; `UNFINISHED` when a part could not be done, which another start
        may mend.

    Raises:
        InvalidParameter: see `open_run`; or the cluster is not there.
        ModelError: a model is missing or unusable.
    """
    from facewright.service.bulk.cluster import ray_cluster, work_on_parts

    console = Console(stderr=True, soft_wrap=True)
    run = open_run(options, Settings())
    try:
        with BulkProgress(console, run.photos) as progress:
            missing = set(range(run.parts)) - _count_done(run, progress)
            reason = None
            while missing:
                before = len(missing)

                def done(part: int, summary: dict[str, Any]) -> None:
                    missing.discard(part)
                    progress.count(summary)

                with ray_cluster():
                    reason = work_on_parts(run, sorted(missing), worker_cpus, done)
                if len(missing) == before:
                    break
        if not missing and options.albums is not None and not albums_written(run):
            with console.status("Albums"):
                write_albums(run)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on", markup=False)
        return _INTERRUPTED
    except ConnectionError as error:
        raise InvalidParameter(f"there is no Ray cluster: {error}") from None
    told = f"{progress.photos:,} of {run.photos:,} photos, {progress.faces:,} faces"
    console.print(
        f"{told}, {progress.failures()}, {progress.rate:.1f} photos/s, in {options.out}",
        markup=False,
    )
    if missing:
        parts = ", ".join(map(str, sorted(missing)[:5])) + (", ..." if len(missing) > 5 else "")
        console.print(
            f"parts {parts} are not done{f' ({reason})' if reason else ''}; the same command "
            "tries again",
            markup=False,
        )
        return UNFINISHED
    run.out.delete_unfinished()
    return int(progress.failed.total() > 0)


def _count_done(run: Run, progress: BulkProgress) -> set[int]:
    """The parts that are done, which are counted."""
    folder = run.out / FACES_FOLDER
    present = set(folder.files())
    parts = [part for part in range(run.parts) if run.faces_file(part).path in present]
    done = set()
    with ThreadPoolExecutor(_SUMMARY_READERS) as pool:
        for part, summary in zip(parts, pool.map(partial(part_summary, run), parts), strict=True):
            if summary is not None:
                done.add(part)
                progress.count(summary, before=True)
    return done
