//! One restore point: what a machine's disks held at one moment.
//!
//! These are the payloads of objects of kind 4 (`docs/repository-format.md` §6), as plain data.
//! Who fills them decides; this module only says what there is.

use serde::{Deserialize, Serialize};

use crate::{
    Damage, NodeId, PointFile, PointId, Timestamp,
    limits::{GREATEST, are_unique, is_file_name, is_text_if_any},
    object,
};

/// One machine at one moment. Always whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePoint {
    /// The id of the run that made it.
    pub id: PointId,
    /// The order of commit: one more than the greatest that stood when it was committed.
    pub sequence: u64,
    /// `file:NAME` or `vm:GUID`.
    pub machine: String,
    /// What people call the machine.
    pub name: String,
    /// When the run began.
    pub created: Timestamp,
    /// How long the run took.
    pub elapsed_micros: u64,
    /// What the machine was brought into before it was read: `application`, `crash`, `off`.
    #[serde(deserialize_with = "object::nullable")]
    pub consistency: Option<String>,
    /// The disks, in order of `index`.
    pub disks: Vec<PointDisk>,
    /// The machine's configuration.
    pub files: Vec<PointFile>,
}

impl RestorePoint {
    /// What `consistency` can be.
    pub const CONSISTENCIES: [&str; 3] = ["application", "crash", "off"];

    /// The roots of its disks and files that are not all zero: all that it refers to hangs below them.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> {
        let disks = self.disks.iter().filter_map(|disk| disk.root);
        disks.chain(self.files.iter().filter_map(|file| file.root))
    }

    /// Whether this can be the restore point of this id: what a hash cannot tell.
    pub(crate) fn check(&self, id: PointId) -> Result<(), Damage> {
        if self.id != id {
            return Err(Damage::Id);
        }
        let mut numbered = self.disks.iter().zip(0..);
        // As on the host that they come from, which takes names that differ in case for one.
        let names = self.files.iter().map(|file| file.name.to_ascii_lowercase());
        let is_possible = self.sequence.max(self.elapsed_micros) <= GREATEST
            && self
                .consistency
                .as_ref()
                .is_none_or(|reached| Self::CONSISTENCIES.contains(&reached.as_str()))
            && numbered.all(|(disk, index)| disk.index == index)
            && self.disks.iter().all(PointDisk::is_possible)
            && self.files.iter().all(PointFile::is_possible)
            && are_unique(names);
        is_possible.then_some(()).ok_or(Damage::Field)
    }
}

/// One disk of a restore point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointDisk {
    /// Its number in the point, from 0.
    pub index: u32,
    /// What people call it: for a file its stem.
    pub name: String,
    /// The VHDX `VirtualDiskId`, or the unique id of the last parent of a VHD; lower case without braces.
    #[serde(deserialize_with = "object::nullable")]
    pub disk_id: Option<String>,
    /// The length of the virtual disk in bytes.
    pub size: u64,
    /// The format that it was read from: `vhdx`, `vhd`, `raw`.
    pub format: String,
    /// Logical sector size in bytes: 512 or 4096.
    pub logical_sector_bytes: u32,
    /// Physical sector size in bytes: 512 or 4096.
    pub physical_sector_bytes: u32,
    /// Block size of the source file in bytes, if its format has blocks.
    #[serde(deserialize_with = "object::nullable")]
    pub block_bytes: Option<u32>,
    /// Where it hangs in the machine: `SCSI 0:1`.
    #[serde(deserialize_with = "object::nullable")]
    pub location: Option<String>,
    /// The name of the file that the machine wrote to until right before its checkpoint: changes since this point
    /// are changes of that file.
    #[serde(deserialize_with = "object::nullable")]
    pub sealed_in: Option<String>,
    /// What was read from layers above that file, as offset and length in bytes: sorted, disjoint, at most 4096.
    pub layer_extents: Vec<(u64, u64)>,
    /// The root of its tree; `None` if every byte is zero.
    #[serde(deserialize_with = "object::nullable")]
    pub root: Option<NodeId>,
    /// How it was read.
    pub method: Method,
    /// Why it was compared although something better was asked for.
    #[serde(deserialize_with = "object::nullable")]
    pub fallback_reason: Option<String>,
    /// The point whose tree was patched, or whose ids were expected.
    #[serde(deserialize_with = "object::nullable")]
    pub base: Option<PointId>,
    /// What the run did for this disk.
    pub stats: DiskStats,
    /// Where the audit stands.
    pub audit: AuditState,
}

impl PointDisk {
    /// More extents than this are joined across the smallest gaps.
    pub const MOST_LAYER_EXTENTS: usize = 4096;

    fn is_possible(&self) -> bool {
        let sectors = [self.logical_sector_bytes, self.physical_sector_bytes];
        self.size <= GREATEST
            && sectors.iter().all(|bytes| matches!(bytes, 512 | 4096))
            && is_text_if_any(self.location.as_ref())
            && self.are_layers_possible()
            && self.stats.numbers().all(|number| number <= GREATEST)
            && self.audit.is_possible()
    }

    /// Whether the extents are within the disk and in order, and above something.
    fn are_layers_possible(&self) -> bool {
        let extents = &self.layer_extents;
        let mut end = 0;
        let in_order = extents.iter().all(|&(at, len)| {
            let follows = at >= end && len > 0;
            at.checked_add(len).is_some_and(|next| {
                end = next;
                follows && next <= self.size
            })
        });
        in_order
            && extents.len() <= Self::MOST_LAYER_EXTENTS
            && match &self.sealed_in {
                Some(name) => is_file_name(name),
                None => extents.is_empty(),
            }
    }
}

/// How a disk was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Everything that is allocated, and every chunk stored that is not known.
    Full,
    /// As full, where an older point stands.
    Compare,
    /// What a caller's list says, on top of a base point.
    List,
    /// What Hyper-V says, on top of a base point.
    Rct,
}

/// What one backup of one disk did. All in bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskStats {
    /// The length of the disk.
    pub disk_bytes: u64,
    /// What is present in the source, in whole chunks clipped to the disk.
    pub allocated_bytes: u64,
    /// As claimed: clipped and merged, before widening to chunks. `None` for full and compare.
    #[serde(deserialize_with = "object::nullable")]
    pub changed_bytes: Option<u64>,
    /// Read from the source, the audit included.
    pub read_bytes: u64,
    /// Read by the audit alone.
    pub audited_bytes: u64,
    /// Non-zero in the base, not claimed, and now declared zero or unmapped by the source.
    pub unmapped_bytes: u64,
    /// Chunks looked at (a number).
    pub chunks: u64,
    /// Chunks that the repository did not know (a number).
    pub new_chunks: u64,
    /// Their size before compression.
    pub new_bytes: u64,
    /// Their size in the packs.
    pub stored_bytes: u64,
    /// Read and found to be zero.
    pub zero_bytes: u64,
    /// Nodes, footers, headers and index segments.
    pub metadata_bytes: u64,
    /// Missed changes that the audit found, in chunks (a number).
    pub missed_chunks: u64,
}

impl DiskStats {
    fn numbers(&self) -> impl Iterator<Item = u64> {
        [
            self.disk_bytes,
            self.allocated_bytes,
            self.changed_bytes.unwrap_or(0),
            self.read_bytes,
            self.audited_bytes,
            self.unmapped_bytes,
            self.chunks,
            self.new_chunks,
            self.new_bytes,
            self.stored_bytes,
            self.zero_bytes,
            self.metadata_bytes,
            self.missed_chunks,
        ]
        .into_iter()
    }
}

/// Where the rotation of the audit stands (design §5.3). Positions are chunk numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditState {
    /// The next chunk to be re-read.
    pub cursor: u64,
    /// Chunks that earlier runs owe, at most one period's worth.
    pub owed_chunks: u64,
    /// When each stretch of the disk was last read physically: sorted, disjoint, covering, at most 64.
    pub read: Vec<AuditSpan>,
}

impl AuditState {
    /// More stretches than this are joined, and keep the older time.
    pub const MOST_SPANS: usize = 64;

    fn is_possible(&self) -> bool {
        let spans = &self.read;
        let mut pairs = spans.windows(2);
        spans.len() <= Self::MOST_SPANS
            && spans.iter().all(|span| span.from < span.to)
            && pairs.all(|pair| matches!(pair, [one, next] if one.to <= next.from))
    }
}

/// A stretch of chunks, all of them read at this time or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditSpan {
    /// The first chunk.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// When.
    pub at: Timestamp,
}
