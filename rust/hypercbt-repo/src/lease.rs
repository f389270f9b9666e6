//! That a run has begun, what it builds on, and how it ended.
//!
//! A collection reads these: it keeps what an open run may refer to. The roots stand in the lease itself, so
//! that a base point that is deleted while the run works on it takes nothing from under it.

use serde::{Deserialize, Serialize};

use crate::{NodeId, PointId, RunId, Timestamp};

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
