"""What the README shows works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hypercbt import Repository, VirtualDisk, backup_disk
from hypercbt.lab import LabHost
from support import write_disk

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def shell_function() -> str:
    """Make `hypercbt` mean this checkout's."""
    cli = f"{sys.executable} -c 'import sys; from hypercbt.cli import main; sys.exit(main())'"
    return f'hypercbt() {{ {cli} "$@"; }}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the disk that the README speaks of."""
    raw = tmp_path / "raw.img"
    write_disk(raw)
    with Repository.create(tmp_path / "workshop") as repository:
        backup_disk(raw, repository=repository).restore(tmp_path / "web01.vhdx")
    return tmp_path


def test_the_python_of_the_readme_runs(folder: Path) -> None:
    (code,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "66048 changed, 0 stored\n"
    with (
        VirtualDisk.open(folder / "web01.vhdx") as one,
        VirtualDisk.open(folder / "restored.vhdx") as two,
    ):
        assert one.read_at(0, one.size) == two.read_at(0, two.size)


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
def test_the_commands_of_the_readme_run(folder: Path) -> None:
    script = [line for line in commands() if not line.startswith("make ")]
    assert len(script) >= 7
    text = "\n".join(["set -eu", shell_function(), *script])
    done = subprocess.run(
        ["sh", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "nothing is damaged" in done.stdout
    assert (folder / "out.vhdx").exists()


@pytest.mark.skipif(os.name == "nt", reason="the commands are for a POSIX shell")
@pytest.mark.parametrize("document", ["README.md", "docs/hyper-v.md"])
def test_the_commands_for_a_hyper_v_host_run(tmp_path: Path, document: str) -> None:
    """On a lab host: `hv01` is its name, and the folder is where its files are."""
    text = (ROOT / document).read_text(encoding="utf-8")
    (script,) = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    Repository.create(tmp_path / "backups").close()
    with LabHost(tmp_path / "host") as lab:
        for name in ("web01", "web02", "db01"):
            lab.add_vm(name, disks=[8 << 20]).disks[0].write(0, b"x" * 512)
        (storage,) = lab.map.values()
        user, password = lab.credentials
        script = re.sub(r"^export .*$", "", script, flags=re.MULTILINE)
        script = script.replace(
            "hyperv://hv01", lab.host.replace("http", "hyperv+http")
        )
        script = re.sub(r"\bhv01\b(?!/VMs)", lab.host, script)
        script = script.replace("/mnt/hv01/VMs", str(storage)).replace(
            "…", f"--map 'C:\\VMs={storage}'"
        )
        # This machine's volume may be fuller than a host's should be.
        script = re.sub(
            r"^(hypercbt (?:check|backup) )",
            r"\1--space-floor 0 ",
            script,
            flags=re.MULTILINE,
        )
        done = subprocess.run(
            ["sh", "-c", f"set -eu\n{shell_function()}\n{script}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "HYPERCBT_REPOSITORY": str(tmp_path / "backups"),
                "HYPERCBT_USER": user,
                "HYPERCBT_PASSWORD": password,
            },
        )
    assert done.returncode == 0, done.stderr
    with Repository.open(tmp_path / "backups") as repository:
        assert repository.latest("web01") is not None


def test_the_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
