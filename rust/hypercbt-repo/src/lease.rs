//! That a run has begun, what it builds on, and how it ended.
//!
//! A collection reads these: it keeps what an open run may refer to. The roots stand in the lease itself, so
//! that a base point that is deleted while the run works on it takes nothing from under it.

use serde::{Deserialize, Serialize};

use crate::{
    Damage, NodeId, PointId, RunId, Timestamp,
    limits::{is_text, is_text_if_any},
    object,
};

/// The payload of `lease/<run>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub created: Timestamp,
    /// What it backs up: `file:NAME` or `vm:GUID`.
    pub machine: String,
    /// The restore points that it builds on.
    pub bases: Vec<Base>,
    /// Who runs it, in the words of whoever judges later whether that one still lives.
    #[serde(deserialize_with = "object::nullable")]
    pub owner: Option<String>,
    /// What stood on the host before; none where no host is involved.
    #[serde(deserialize_with = "object::nullable")]
    pub vm: Option<VmState>,
}

impl Lease {
    /// Whether this can be the lease of this run: what a hash cannot tell.
    pub(crate) fn check(&self, run: RunId) -> Result<(), Damage> {
        if self.run != run {
            return Err(Damage::Id);
        }
        let possible = |vm: &VmState| {
            let mut ids = vm.checkpoints.iter().chain(&vm.reference_points);
            is_text(&vm.host) && ids.all(|id| is_text(id))
        };
        if is_text_if_any(self.owner.as_ref()) && self.vm.as_ref().is_none_or(possible) {
            Ok(())
        } else {
            Err(Damage::Field)
        }
    }
}

/// What a host held of a virtual machine when a run on it began: what is there beside it later, and not in these
/// lists, the run may have made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmState {
    /// The host.
    pub host: String,
    /// The `InstanceID`s of the checkpoints.
    pub checkpoints: Vec<String>,
    /// The `InstanceID`s of the reference points.
    pub reference_points: Vec<String>,
}

/// A restore point that a run builds on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The restore point.
    pub point: PointId,
    /// The roots of its disks that are not all zero.
    pub roots: Vec<NodeId>,
}

/// The payload of `closed/<run>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It made its restore point.
    Committed,
    /// It did not, and will not.
    Aborted,
}

/// The payload of `point/<run>` where a collection was first: that run can make no restore point any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The run.
    pub run: RunId,
    /// When it was declared dead.
    pub created: Timestamp,
}
