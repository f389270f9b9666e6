"""`hypercbt backup hyperv://HOST/VM …`: one virtual machine, or several of one host.

One machine by name or id gives the JSON of one backup, and fails as a command. Several machines, by several sources, a
pattern or --all, give the JSON of a batch (`hypercbt.hyperv.batch`), also where some failed.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Literal
from urllib.parse import unquote

from rich.console import Console

from hypercbt.api import audit_of
from hypercbt.cli.host_options import HostOptions, open_host
from hypercbt.cli.options import parse_audit, parse_size
from hypercbt.cli.outcome import Outcome
from hypercbt.cli.points import STATES
from hypercbt.cli.progress import Lines, shown_progress
from hypercbt.cli.stats import exit_code, print_stats
from hypercbt.errors import UnfinishedWarning
from hypercbt.hyperv.backup import Done, backup_machine
from hypercbt.hyperv.batch import (
    BatchReport,
    VmBackup,
    backup_all,
    chosen,
    is_pattern,
)
from hypercbt.hyperv.hosted import HostedMachine
from hypercbt.hyperv.limits import Limits
from hypercbt.hyperv.machines import VirtualMachine
from hypercbt.hyperv.order import Order
from hypercbt.models import BackupStats, Progress, asdict
from hypercbt.repository import Repository

SCHEMES = {"hyperv": "", "hyperv+http": "http://", "hyperv+https": "https://"}
"""What a source begins with before `://`, and what the host's text begins with then."""


@dataclass(frozen=True, slots=True)
class Source:
    """What `hyperv://HOST/VM` says."""

    host: str
    vm: str | None


def is_vm(source: str) -> bool:
    """Tell whether a source is on a host, and not a file."""
    scheme, colon, _ = source.partition("://")
    return bool(colon) and scheme.lower() in SCHEMES


def parse_source(text: str) -> Source:
    """Return host and machine. Letters that a URL has other uses for may be written as `%20`.

    Raises:
        ValueError: There is no host in it.
    """
    scheme, _, rest = text.partition("://")
    host, _, vm = rest.partition("/")
    if not is_vm(text) or not host:
        raise ValueError(f"{text!r} is no virtual machine; write it hyperv://HOST/VM")
    return Source(SCHEMES[scheme.lower()] + host, unquote(vm) or None)


def order_of(
    *,
    consistency: Literal["prefer", "require", "crash"],
    disks: Sequence[str],
    exclude: Sequence[str],
    full: bool,
    audit: str,
    adopt: bool,
    space_floor: str | None,
    merge_timeout: float,
) -> Order:
    """Return what the options ask for."""
    if not 0 <= merge_timeout < float("inf"):
        raise ValueError(f"{merge_timeout} is no number of minutes")
    mode, period = audit_of(parse_audit(audit))
    return Order(
        consistency=consistency,
        only=disks or None,
        exclude=exclude,
        full=full,
        audit=mode,
        audit_period_seconds=period,
        adopt=adopt,
        space_floor_bytes=None if space_floor is None else parse_size(space_floor),
        limits=Limits(merge_seconds=merge_timeout * 60),
    )


def backup(
    sources: Sequence[str],
    *,
    all: bool,
    parallel: int,
    repository: Path,
    connection: HostOptions | None,
    order: Order,
) -> Outcome:
    """Back up what the sources mean."""
    host, names = _one_host([parse_source(source) for source in sources], all)
    if parallel < 1:
        raise ValueError("at least one machine is backed up at a time")
    single = len(names) == 1 and not all and not is_pattern(names[0])
    if not single and (order.only or order.exclude):
        raise ValueError("--disk and --exclude are for one virtual machine at a time")
    if not single and connection is not None and connection.record is not None:
        # Each machine has a conversation of its own, and a transcript holds one.
        raise ValueError("--record is for one virtual machine at a time")
    with Repository.open(repository) as repo:
        if single:
            return _backup_one(host, names[0], connection, repo, order)
        return _backup_several(host, names, connection, repo, order, parallel)


def _one_host(sources: Sequence[Source], all: bool) -> tuple[str, list[str]]:
    """Return the host, and what machines of it are meant."""
    hosts = {source.host for source in sources}
    if len(hosts) > 1:
        raise ValueError(f"one host at a time, not {', '.join(sorted(hosts))}")
    names = [source.vm for source in sources if source.vm is not None]
    if all:
        if names:
            raise ValueError("--all means every machine: say hyperv://HOST without one")
        return hosts.pop(), ["*"]
    if len(names) < len(sources):
        raise ValueError("say which machine: hyperv://HOST/VM, or --all")
    return hosts.pop(), names


def _backup_one(
    host: str,
    name: str,
    connection: HostOptions | None,
    repository: Repository,
    order: Order,
) -> Outcome:
    with open_host(host, connection) as opened, shown_progress(name) as progress:
        machine = HostedMachine(opened, opened.vm(name).id)
        done = backup_machine(machine, repository, replace(order, progress=progress))
    for text in done.warnings:
        warnings.warn(text, UnfinishedWarning, stacklevel=1)
    stats = done.point.stats
    return Outcome(
        asdict(stats), lambda console: _print_stats(console, stats), exit_code(stats)
    )


def _backup_several(
    host: str,
    names: Sequence[str],
    connection: HostOptions | None,
    repository: Repository,
    order: Order,
    parallel: int,
) -> Outcome:
    def one(vm: VirtualMachine, order: Order) -> Done:
        """Back up one machine, in a conversation of its own: a session is not for several threads."""
        with open_host(host, connection) as own:
            limits = order.limits
            machine = HostedMachine(own, vm.id, limits.clock, limits.tidy_clock)
            mine = replace(order, progress=_lines(vm))
            return backup_machine(machine, repository, mine)

    with open_host(host, connection) as opened:
        vms = chosen(opened.vms(), names)
        made = backup_all(vms, order, one, parallel=parallel)
        report = BatchReport(opened.session.host, made)
    for entry in made:
        for text in entry.warnings:
            warnings.warn(f"{entry.vm}: {text}", UnfinishedWarning, stacklevel=1)
    return Outcome(
        asdict(report), lambda console: _print(console, report), report.exit_code
    )


def _lines(vm: VirtualMachine) -> Progress:
    """Return a line now and then: several bars at a time would tear each other up."""
    console = Console(stderr=True, markup=False)
    return Lines(vm.name, console.print, monotonic)


def _print(console: Console, report: BatchReport) -> None:
    for entry in report.backups:
        _print_entry(console, entry)
    console.print(
        f"{len(report.backups) - report.failed} backed up, {report.failed} failed"
    )


def _print_entry(console: Console, entry: VmBackup) -> None:
    if entry.stats is not None:
        _print_stats(console, entry.stats)
        return
    console.print(f"{entry.vm} failed: {entry.error}", soft_wrap=True)
    for note in getattr(entry.error, "__notes__", ()):
        console.print(f"  {note}", soft_wrap=True)


def _print_stats(console: Console, stats: BackupStats) -> None:
    print_stats(console, stats)
    if stats.consistency is not None:
        console.print(STATES.get(stats.consistency, stats.consistency))
