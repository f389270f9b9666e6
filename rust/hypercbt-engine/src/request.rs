//! What a caller says of a machine's run, and of each disk in it.

use std::num::NonZeroUsize;

use hypercbt_repo::{PointId, RunId, Timestamp, VmState};
use hypercbt_vhdx::VirtualDisk;

use crate::{AuditPolicy, Wanted};

/// What is decided when the run of a machine begins.
#[derive(Debug, Clone)]
pub struct MachineOptions {
    /// 16 random bytes.
    pub run: RunId,
    /// Now.
    pub created: Timestamp,
    /// What the point belongs to: `file:NAME` or `vm:GUID`.
    pub machine: String,
    /// What people call the machine.
    pub name: String,
    /// The points that disks may be built on.
    pub bases: Vec<PointId>,
    /// Who runs it.
    pub owner: Option<String>,
    /// What stands on the host of the machine, if there is one.
    pub vm: Option<VmState>,
    /// The zstd level.
    pub level: i32,
    /// When a pack is full.
    pub pack_bytes: u64,
}

/// One disk, and how it is to be read.
pub struct DiskRequest<'a> {
    /// The disk, opened.
    pub disk: &'a VirtualDisk,
    /// What people call it.
    pub name: String,
    /// Where it hangs in the machine: `SCSI 0:1`.
    pub location: Option<String>,
    /// How it is to be read.
    pub wanted: Wanted,
    /// Why nothing better is wanted than to compare it.
    pub fallback_reason: Option<String>,
    /// The name of the file that the machine wrote to right before its checkpoint. Where no layer of the disk, or
    /// more than one, has this name, the point does not hold it, and nothing can later be built on it by RCT.
    pub sealed_in: Option<String>,
    /// How much of what is claimed unchanged is re-read.
    pub audit: AuditPolicy,
    /// Picks the audit's random chunks.
    pub seed: u64,
    /// Threads that hash and compress; one for each core if not given.
    pub workers: Option<NonZeroUsize>,
}
