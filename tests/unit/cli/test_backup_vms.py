"""What the sources of `hypercbt backup` mean."""

import pytest

from hypercbt.cli.backup_vms import Source, is_vm, order_of, parse_source


@pytest.mark.parametrize(
    ("text", "host", "vm"),
    [
        ("hyperv://hv01/web01", "hv01", "web01"),
        ("HyperV://hv01:5985/web01", "hv01:5985", "web01"),
        ("hyperv+http://hv01/web01", "http://hv01", "web01"),
        ("hyperv+https://[::1]:5986/web01", "https://[::1]:5986", "web01"),
        ("hyperv://hv01/web%2001", "hv01", "web 01"),
        ("hyperv://hv01/a/b", "hv01", "a/b"),
        ("hyperv://hv01/web*", "hv01", "web*"),
        ("hyperv://hv01", "hv01", None),
        ("hyperv://hv01/", "hv01", None),
    ],
)
def test_a_source_names_host_and_machine(text: str, host: str, vm: str | None) -> None:
    assert is_vm(text)
    assert parse_source(text) == Source(host, vm)


@pytest.mark.parametrize(
    "text", ["web01.vhdx", "/x/hyperv.vhdx", r"C:\a.vhdx", "hyperv:x"]
)
def test_everything_else_is_a_file(text: str) -> None:
    assert not is_vm(text)


@pytest.mark.parametrize("text", ["hyperv://", "hyperv:///web01"])
def test_a_source_without_a_host_is_misuse(text: str) -> None:
    with pytest.raises(ValueError, match="hyperv://HOST/VM"):
        parse_source(text)


def test_options_become_an_order() -> None:
    order = order_of(
        consistency="require",
        disks=(),
        exclude=("SCSI 0:1",),
        full=True,
        audit="7",
        adopt=True,
        space_floor="1GiB",
        merge_timeout=2.5,
    )
    assert order.only is None
    assert (order.consistency, order.exclude, order.full) == (
        "require",
        ("SCSI 0:1",),
        True,
    )
    assert (order.audit, order.audit_period_seconds) == ("rotate", 7 * 24 * 3600)
    assert order.adopt
    assert order.space_floor_bytes == 1 << 30
    assert order.limits.merge_seconds == 150.0
