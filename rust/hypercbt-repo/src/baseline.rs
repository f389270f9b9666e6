//! What a later incremental of a virtual machine can start from.
//!
//! It is made after the restore point, when the checkpoint has become a reference point: only then do the
//! RCT ids exist. A restore point without one is whole all the same.

use serde::{Deserialize, Serialize};

use crate::{PointId, Timestamp};

/// The payload of `baseline/<point>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The restore point.
    pub point: PointId,
    /// When the reference point was made.
    pub created: Timestamp,
    /// The `InstanceID` of the reference point.
    pub reference_point: String,
    /// The disks that changes can be asked for.
    pub disks: Vec<BaselineDisk>,
}

/// One disk of a baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineDisk {
    /// `vm:GUID`.
    pub machine: String,
    /// The VHDX `VirtualDiskId`, lower case without braces.
    pub disk_id: String,
    /// The length of the virtual disk in bytes.
    pub size: u64,
    /// The RCT id, as Hyper-V gave it. Never parsed.
    pub rct_id: String,
}
