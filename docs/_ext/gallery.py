"""The gallery: a page for each script of experiments/, with what it prints, its picture, and its time.

Each script runs in a process of its own, as users run it, since some set up devices before JAX starts.
Scripts that take less than a minute run in a build if they or the library have changed. The others are
recorded with their date in docs/gallery/recorded, by

    python docs/_ext/gallery.py NAME ...      # or `make gallery`, for all that are recorded
"""

import ast
import concurrent.futures
import dataclasses
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parents[1]
EXPERIMENTS = DOCS.parent / "experiments"
GALLERY = DOCS / "gallery"
RECORDED = GALLERY / "recorded"
PAGES = GALLERY / "scripts"  # generated
WIDTH = 1200  # pixels of a recorded picture


@dataclasses.dataclass(frozen=True)
class Record:
    """What one execution of a script has shown."""

    output: str
    seconds: float
    cores: int | None
    date: str
    code: str


def code_digest(name: str) -> str:
    """A digest of a script without its docstring, which may change without a new record."""
    text = (EXPERIMENTS / f"{name}.py").read_text()
    return hashlib.sha256(text.partition('"""\n\n')[2].encode()).hexdigest()[:16]


def run(name: str, folder: Path) -> Record:
    """Run a script, and put its record and its picture into `folder`."""
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONWARNINGS": "default"}
        started = time.perf_counter()
        process = subprocess.run(
            [sys.executable, str(EXPERIMENTS / f"{name}.py")],
            cwd=place,
            env=environment,
            text=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"experiments/{name}.py failed:\n{process.stderr}")
        today = datetime.date.today().isoformat()
        record = Record(process.stdout, seconds, os.cpu_count(), today, code_digest(name))
        folder.mkdir(parents=True, exist_ok=True)
        for picture in sorted(Path(place).glob("runs/**/*.png"))[:1]:
            image = Image.open(picture).convert("RGB")
            image.thumbnail((WIDTH, WIDTH))
            image.quantize(128).save(folder / f"{name}.png", optimize=True)
    (folder / f"{name}.json").write_text(json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    return record


def question_and_text(name: str) -> tuple[str, str]:
    """The question that a script answers, and the rest of its docstring."""
    text = ast.get_docstring(ast.parse((EXPERIMENTS / f"{name}.py").read_text())) or ""
    head, _, rest = text.partition("\n\n")
    question, _, remark = head.replace("\n", " ").partition("? ")
    rest = re.sub(r"^ *python experiments/\S+\.py.*\n*", "", rest)
    return question.rstrip("?") + "?", f"{remark}\n\n{rest}".strip()


PAGE = """\
# {question}

{text}

{picture}

`python experiments/{name}.py` took {seconds:.0f} seconds on {cores} cores {when}, and printed:

```text
{output}
```

## The script

```{{literalinclude}} ../../../experiments/{name}.py
:language: python
```
"""


def page(name: str, record: Record, folder: Path, alt: str, is_recorded: bool) -> str:
    question, text = question_and_text(name)
    picture = ""
    if (folder / f"{name}.png").exists():
        if not alt:
            raise ValueError(f"gallery.toml must say what the picture of {name}.py shows, under [alt].")
        picture = f"```{{image}} {os.path.relpath(folder / name, PAGES)}.png\n:alt: {alt}\n```"
    return PAGE.format(
        question=question,
        text=text,
        picture=picture,
        name=name,
        seconds=record.seconds,
        cores=record.cores,
        when=f"on {record.date}, recorded by `make gallery`" if is_recorded else "in this build",
        output=record.output.rstrip(),
    )


def index(groups: list[dict[str, Any]], records: dict[str, tuple[Record, Path, bool]]) -> str:
    parts = []
    for group in groups:
        parts.append(f"## {group['title']}\n\n::::{{grid}} 1 2 3 3\n:gutter: 3\n")
        for name in group["scripts"]:
            record, folder, _ = records[name]
            picture = folder / f"{name}.png"
            image = (
                f":img-top: {os.path.relpath(picture, GALLERY)}\n:img-alt: \n" if picture.exists() else ""
            )
            parts.append(
                f":::{{grid-item-card}} {question_and_text(name)[0]}\n:link: scripts/{name}\n"
                f":link-type: doc\n{image}\n`{name}.py` {record.seconds:.0f}\u00a0s\n:::\n"
            )
        parts.append("::::\n")
    names = "\n".join(f"scripts/{name}" for group in groups for name in group["scripts"])
    return "\n".join(parts) + f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def contents() -> dict[str, Any]:
    return tomllib.loads((GALLERY / "gallery.toml").read_text())


def is_recorded(name: str) -> bool:
    return (RECORDED / f"{name}.json").exists()


def build(app: Any) -> None:
    """Run the short scripts where something has changed, and write all pages."""
    groups, alts = contents()["group"], contents()["alt"]
    names = [name for group in groups for name in group["scripts"]]
    cache = DOCS / "_build" / "gallery"
    library = hashlib.sha256(app.config.code_digest.encode())

    def load(name: str) -> tuple[Record, Path, bool]:
        if is_recorded(name):
            record = Record(**json.loads((RECORDED / f"{name}.json").read_text()))
            if record.code != code_digest(name):
                raise ValueError(f"{name}.py has changed since: make gallery SCRIPTS={name}")
            return record, RECORDED, True
        digest = library.copy()
        digest.update((EXPERIMENTS / f"{name}.py").read_bytes())
        folder = cache / digest.hexdigest()[:16]
        if not (folder / f"{name}.json").exists():
            run(name, folder)
        return Record(**json.loads((folder / f"{name}.json").read_text())), folder, False

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        records = dict(zip(names, pool.map(load, names), strict=True))
    PAGES.mkdir(exist_ok=True)
    pages = {
        PAGES / f"{name}.md": page(name, r, f, alts.get(name, ""), old)
        for name, (r, f, old) in records.items()
    }
    pages[GALLERY / "contents.md"] = index(groups, records)
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:  # Sphinx reads again what is newer
            path.write_text(text)
    for path in set(PAGES.glob("*.md")) - set(pages):
        path.unlink()


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("code_digest", "", "")  # of the library
    app.connect("builder-inited", build)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for script in sys.argv[1:] or sorted(path.stem for path in RECORDED.glob("*.json")):
        print(script, run(script, RECORDED), flush=True)
