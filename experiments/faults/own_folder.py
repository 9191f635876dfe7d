"""The folder that a fuzzer writes to, and nothing else."""

import shutil
from pathlib import Path


def prepare_folder(out: Path, mark: str, kept: str, *, keep: bool) -> None:
    """Raise unless `out` is a folder of our own or an empty one; remove what an earlier call wrote.

    Args:
        out: the folder.
        mark: the name of a file that shows whose it is.
        kept: the name of a folder in it with the files that findings are replayed from.
        keep: whether these and the findings stay.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise SystemExit(f"--out must be a plain directory, got {out}.")
    if out.is_dir() and any(out.iterdir()) and not (out / mark).is_file():
        raise SystemExit(
            f"--out must be a new or an empty directory, or one of an earlier call, got {out}."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / mark).write_text("{}\n")
    shutil.rmtree(out / "work", ignore_errors=True)
    if not keep:
        shutil.rmtree(out / kept, ignore_errors=True)
        (out / "findings.jsonl").write_text("")
