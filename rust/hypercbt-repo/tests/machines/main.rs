//! What a run on a virtual machine leaves beside its chunks, and what others do with it: leases, fences, baselines,
//! voids, and the rules of each field.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets an error has failed"
)]

#[path = "../common/mod.rs"]
mod common;

mod baselines;
mod closing;
mod fencing;
mod leases;
mod payloads;

use hypercbt_repo::{Baseline, BaselineDisk, Repository, RestorePoint, Result, Timestamp, VmState};

use common::{options, run_id, store};

pub(crate) const MACHINE: &str = "vm:4f2b";

pub(crate) fn vm_state() -> VmState {
    VmState {
        host: "hv01".to_owned(),
        checkpoints: vec!["Microsoft:A".to_owned()],
        reference_points: vec!["Microsoft:B".to_owned(), "Microsoft:C".to_owned()],
    }
}

pub(crate) fn baseline_disk(disk_id: &str, location: Option<&str>) -> BaselineDisk {
    BaselineDisk {
        machine: MACHINE.to_owned(),
        disk_id: disk_id.to_owned(),
        location: location.map(str::to_owned),
        size: 65_536,
        rct_id: "rctX:1".to_owned(),
    }
}

pub(crate) fn baseline(number: u8, disks: &[&str]) -> Baseline {
    let disks = disks.iter().map(|id| baseline_disk(id, None));
    Baseline {
        point: run_id(number),
        created: Timestamp(i64::from(number)),
        reference_point: format!("Microsoft:{number}"),
        disks: disks.collect(),
    }
}

/// A whole backup of a machine, with a baseline of these disks.
pub(crate) fn backup(repository: &Repository, number: u8, disks: &[&str]) -> Result<RestorePoint> {
    let mut run = repository.begin(options(number, &[]))?;
    let mut point = store(&run, &[u64::from(number)])?;
    MACHINE.clone_into(&mut point.machine);
    let point = run.commit(point)?;
    run.add_baseline(&baseline(number, disks))?;
    run.close()?;
    Ok(point)
}
