"""``make package``: the folder and the zip that are deployed, the same bytes each time.

The platform installs nothing, has Python 3.10 on x86-64 Linux, and keeps the code in a read-only folder, so the
package brings its dependencies for that, whatever the host is, and compiled (583/40323, 583/32748).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
BUILD, ZIP = ROOT / "build", ROOT / "dist" / "live-record-reaper.zip"
NEW = ROOT / "build.new"
RUNTIME = "3.10"
PLATFORM = "manylinux2014_x86_64"
INSTALLED_AT = "/var/user"
LARGEST_ZIP = 12_000_000  # bytes

# What is pinned in requirements.txt for the resolver's sake, and never imported at run time.
NOT_INSTALLED = {
    "pycryptodome": "only the COS SDK's client-side encryption needs it",
    "charset-normalizer": "requests guesses encodings with it; ours are always named (index.py)",
}
# Exists as source only, with a compiled part for speed that is bound to one Python: its Python part does.
SOURCE_ONLY = "crcmod"
# What no module that is kept ever imports (a test reads them all), and what only people and type checkers read.
LEFT_OUT = (
    "bin/*", "*.dist-info/*", "*.pyi", "*/py.typed", "*/__main__.py", "annotated_types/test_cases.py",
    "certifi/tests/*", "crcmod/test.py", "idna/cli.py", "pydantic/experimental/pipeline.py", "pydantic/mypy.py",
    "pydantic/v1/*", "qcloud_cos/cos_encryption_client.py", "qcloud_cos/crypto.py",
    "qcloud_cos/intelligent_speech.py", "requests/help.py", "tencentcloud/*_async.py",
)  # fmt: skip

out = Console(highlight=False)


class PackageError(Exception):
    """There is no package; the text says why."""


def make(build: Path, version: str = RUNTIME) -> bool:
    """Makes the folder ``build`` for Python ``version``; returns whether it is compiled.

    Raises:
        PackageError: the dependencies could not be fetched.
    """
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    _install_dependencies(build, version)
    shutil.copytree(ROOT / "handler", build / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "index.py", build)
    _leave_out(build)
    return _compile(build, version)


def zip_of(build: Path, target: Path) -> None:
    """Writes ``build`` as a zip whose bytes depend on nothing but the files' names and contents."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.comment = hashlib.sha256((ROOT / "requirements.txt").read_bytes()).hexdigest().encode()
        for path in _files(build):
            entry = zipfile.ZipInfo(path.relative_to(build).as_posix())  # dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes())


def python(version: str) -> str | None:
    """An interpreter of that version, if there is one at hand."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    if version != RUNTIME:
        return None
    found = subprocess.run(  # noqa: S603  our own script
        ["bash", str(ROOT / "local" / "find-python-3.10")],  # noqa: S607
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() or None


def _install_dependencies(build: Path, version: str) -> None:
    pinned = dict(line.split()[0].split("==") for line in _requirements())
    wanted = [f"{name}=={pinned[name]}" for name in pinned if name not in (*NOT_INSTALLED, SOURCE_ONLY)]
    # All are pinned, so none is resolved: a wheel that is missing is an error, not an older release.
    pip = [
        sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--no-compile", "--target", str(build), "--platform", PLATFORM,
        "--implementation", "cp", "--python-version", version, "--only-binary", ":all:", *wanted,
    ]  # fmt: skip
    if subprocess.run(pip, check=False).returncode:  # noqa: S603  pip, with what requirements.txt pins
        raise PackageError("pip could not fetch the dependencies (above)")
    installed = importlib.metadata.version(SOURCE_ONLY)
    if installed != pinned[SOURCE_ONLY]:
        raise PackageError(f"{SOURCE_ONLY} {installed} is installed, not {pinned[SOURCE_ONLY]}: make clean")
    spec = importlib.util.find_spec(SOURCE_ONLY)
    sources = Path(spec.origin).parent if spec and spec.origin else None
    if sources is None:
        raise PackageError(f"{SOURCE_ONLY} cannot be found: make clean")
    (build / SOURCE_ONLY).mkdir()
    for source in sorted(sources.glob("*.py")):
        shutil.copy(source, build / SOURCE_ONLY)


def _requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _leave_out(build: Path) -> None:
    for path in _files(build):
        name = path.relative_to(build).as_posix()
        if any(fnmatchcase(name, pattern) for pattern in LEFT_OUT):
            path.unlink()
    for path in sorted(build.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _compile(build: Path, version: str) -> bool:
    """Compiles it so that nothing is compared with a source's date, which unpacking may change."""
    interpreter = python(version)
    if interpreter is None:
        return False
    command = [
        interpreter, "-S", "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash",
        "-s", str(build), "-p", INSTALLED_AT, str(build),
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"  # or sets of constants would come in another order each time
    subprocess.run(command, check=True, env=environment)  # noqa: S603  our own files
    return True


def _files(build: Path) -> list[Path]:
    return sorted(path for path in build.rglob("*") if path.is_file())


def main() -> int:
    """Makes the package and prints what weighs what; returns the exit status."""
    out.print(f"fetching the dependencies for Python {RUNTIME} on {PLATFORM} …")
    try:
        for old in (BUILD, ZIP):  # nobody is to deploy what an earlier attempt left
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        compiled = make(NEW)
        NEW.rename(BUILD)
    except PackageError as error:
        out.print(f"[red]{error}[/]")
        return 1
    zip_of(BUILD, ZIP)
    _print_weights()
    size = ZIP.stat().st_size
    digest = hashlib.sha256(ZIP.read_bytes()).hexdigest()
    out.print(f"\n{BUILD.relative_to(ROOT)}/ and {ZIP.relative_to(ROOT)}, {size:,} bytes, sha256 {digest}")
    if not compiled:
        out.print(
            f"[bold yellow]NOT COMPILED: no Python {RUNTIME} is at hand, so every cold start will compile it all."
            f"\nInstall one (pyenv install {RUNTIME}, or python{RUNTIME} on the PATH) and make it again.[/]"
        )
    if size > LARGEST_ZIP:
        out.print(f"[red]that is more than {LARGEST_ZIP:,} bytes[/]")
        return 1
    return 0


def _print_weights() -> None:
    weights: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    with zipfile.ZipFile(ZIP) as archive:
        for entry in archive.infolist():
            weight = weights[entry.filename.partition("/")[0]]
            for column, value in enumerate((1, entry.file_size, entry.compress_size)):
                weight[column] += value
    table = Table(box=None, pad_edge=False, show_footer=True)
    totals = [sum(weight[column] for weight in weights.values()) for column in range(3)]
    table.add_column("", "all")
    for heading, total in zip(("files", "kB", "kB zipped"), totals, strict=True):
        table.add_column(heading, f"{total if heading == 'files' else total / 1000:,.0f}", justify="right")
    for name, (count, size, zipped) in sorted(weights.items(), key=lambda item: -item[1][2]):
        table.add_row(name, str(count), f"{size / 1000:,.0f}", f"{zipped / 1000:,.0f}")
    out.print(table)
    for name, why in NOT_INSTALLED.items():
        out.print(f"[dim]without {name}: {why}[/]")


if __name__ == "__main__":
    sys.exit(main())
