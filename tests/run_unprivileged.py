"""Run the tests without any privilege: `.venv/bin/python tests/run_unprivileged.py [pytest arguments]`, as root.

The user need not exist; it has real supplementary groups and no capability in any set. Because it may not be able to
enter the directory of the checkout, the tree and its virtual environment are copied to a temporary directory, which is
removed afterwards. Nothing is downloaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(sys.prefix)
USER, GROUPS = 61234, (61235, 61236)
NOT_COPIED = (".git", ".venv", "__pycache__", "dist", "build", ".*_cache", ".hypothesis")
AS_USER = [
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    f"--groups={','.join(map(str, GROUPS))}",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--bounding-set=-all",
]


def tracked_files() -> list[str] | None:
    """Return the files that git tracks or would track, relative to the root; None without a repository."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists():
        return None
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return sorted({name for name in done.stdout.split("\0") if name and os.path.lexists(ROOT / name)})


def copy_tree(target: Path) -> None:
    """Copy the sources to `target`; symbolic links stay links."""
    files = tracked_files()
    if files is None:
        shutil.copytree(ROOT, target, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
        return
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


def copy_environment(tree: Path) -> Path:
    """Copy the virtual environment into `tree` and make the paths in it lead there. Returns its interpreter."""
    target = tree / ".venv"
    shutil.copytree(ENVIRONMENT, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    site_packages = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    texts = [target / "pyvenv.cfg", *site_packages.glob("*.pth"), *site_packages.glob("*.dist-info/direct_url.json")]
    scripts = [path for path in (target / "bin").iterdir() if path.is_file() and not path.is_symlink()]
    for path in [*texts, *scripts]:
        content = path.read_bytes()
        moved = content.replace(bytes(ENVIRONMENT), bytes(target)).replace(bytes(ROOT), bytes(tree))
        if moved != content and (path in texts or content.startswith(b"#!")):
            path.write_bytes(moved)
    return target / "bin" / "python"


def give_away(tree: Path) -> None:
    """Let the user own everything in `tree`."""
    for directory, names, files in os.walk(tree):
        for name in (".", *names, *files):
            os.chown(Path(directory, name), USER, USER, follow_symlinks=False)


def environment_of_user() -> dict[str, str]:
    """Return the environment of the tests: no home directory, nothing else that leads to root's."""
    kept = ("CI", "LANG", "LC_ALL", "TERM", "SSL_CERT_FILE")
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, **{name: os.environ[name] for name in kept if name in os.environ}}


def main() -> int:
    """Copy, run, clean up; returns pytest's exit status."""
    if os.geteuid() != 0:
        sys.exit("run_unprivileged: only root can become another user; as yourself, run pytest")
    if Path(sys.base_prefix) == ENVIRONMENT:
        sys.exit("run_unprivileged: run it with the interpreter of the virtual environment (make setup)")
    directory = Path(tempfile.mkdtemp(prefix="unprivileged-tests-"))
    try:
        directory.chmod(0o755)
        tree = directory / "tree"
        copy_tree(tree)
        python = copy_environment(tree)
        give_away(tree)
        can_run = subprocess.run([*AS_USER, python, "-c", "import stockade"], env=environment_of_user(), check=False)
        if can_run.returncode != 0:
            real = python.resolve()
            sys.exit(f"run_unprivileged: uid {USER} cannot use {real}; choose another: make setup PYTHON=...")
        pytest = [str(python), "-m", "pytest", f"--basetemp={tree / '.basetemp'}", *sys.argv[1:]]
        return subprocess.run([*AS_USER, *pytest], cwd=tree, env=environment_of_user(), check=False).returncode
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    sys.exit(main())
