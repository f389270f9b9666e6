//! The region table: where the block allocation table and the metadata are (MS-VHDX 2.2.3).
//!
//! There are two copies. A copy is valid by signature, checksum and count; the second is read only where the first
//! is not valid. What a valid copy says is then checked in full: breaking a rule is corruption, never a reason to
//! look at the other copy.

use hypercbt_extent::ByteLen;
use zerocopy::FromBytes;

use crate::error::Defect;
use crate::format::{
    BAT_REGION, HEADER_SECTION_BYTES, MAX_TABLE_ENTRIES, METADATA_REGION, MIB, REGION_REQUIRED,
    REGION_TABLE_BYTES, REGION_TABLE_OFFSETS, REGION_TABLE_SIGNATURE, RegionEntry,
    RegionTableHeader,
};
use crate::header::{Header, checksum_without_field};
use crate::source::Source;
use crate::{FileOffset, Guid, Part, Reason, Result};

/// A place of the file that nothing else may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) guid: Guid,
    pub(crate) at: FileOffset,
    pub(crate) len: ByteLen,
}

/// All regions of a file: disjoint, aligned, behind the header section, inside the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regions {
    pub(crate) bat: Region,
    pub(crate) metadata: Region,
    /// All of them, unknown ones included, by place.
    pub(crate) all: Vec<Region>,
}

/// Reads the region table and checks it against the file and its log.
pub(crate) fn read(source: &Source, header: &Header) -> Result<Regions> {
    let mut bytes = vec![0; REGION_TABLE_BYTES];
    for at in REGION_TABLE_OFFSETS {
        source.read(&mut bytes, FileOffset(at))?;
        if let Some(entries) = valid_entries(&bytes) {
            let regions = decode(entries, header).map_err(|defect| source.blame(defect))?;
            for region in &regions.all {
                source.require(Part::RegionTable, region.end())?;
            }
            return Ok(regions);
        }
    }
    Err(source.corrupt(Part::RegionTable, Reason::NoValidCopy))
}

impl Region {
    /// One past the last byte. Cannot overflow: [`decode`] checked it.
    pub(crate) fn end(&self) -> u64 {
        self.at.0.saturating_add(self.len.0)
    }
}

/// A copy of the table with one region elsewhere, or `None` if this copy is not valid or has no such region.
pub(crate) fn moved(bytes: &[u8], to: &Region) -> Option<Vec<u8>> {
    let entries = valid_entries(bytes)?;
    let number = entries.iter().position(|entry| entry.guid == to.guid.0)?;
    let mut moved = bytes.to_vec();
    let at = size_of::<RegionTableHeader>() + number * size_of::<RegionEntry>();
    let (entry, _) = RegionEntry::mut_from_prefix(moved.get_mut(at..)?).ok()?;
    entry.file_offset = to.at.0.into();
    entry.length = u32::try_from(to.len.0).ok()?.into();
    let checksum = checksum_without_field(&moved, 4)?;
    moved
        .get_mut(4..8)?
        .copy_from_slice(&checksum.to_le_bytes());
    Some(moved)
}

/// The entries of one copy, or `None` if the copy is not valid.
fn valid_entries(bytes: &[u8]) -> Option<&[RegionEntry]> {
    let (header, rest) = RegionTableHeader::ref_from_prefix(bytes).ok()?;
    let count = u64::from(header.entry_count.get());
    if header.signature != REGION_TABLE_SIGNATURE
        || header.checksum.get() != checksum_without_field(bytes, 4)?
        || count > MAX_TABLE_ENTRIES
    {
        return None;
    }
    let (entries, _) =
        <[RegionEntry]>::ref_from_prefix_with_elems(rest, usize::try_from(count).ok()?).ok()?;
    Some(entries)
}

fn decode(entries: &[RegionEntry], header: &Header) -> std::result::Result<Regions, Defect> {
    let refuse = |reason| Defect::new(Part::RegionTable, reason);
    let mut all = Vec::with_capacity(entries.len());
    for entry in entries {
        let (at, len) = (
            FileOffset(entry.file_offset.get()),
            ByteLen(u64::from(entry.length.get())),
        );
        let guid = Guid(entry.guid);
        let fits = at.0.checked_add(len.0).is_some();
        if at.0 < HEADER_SECTION_BYTES || at.0 % MIB != 0 || len.0 % MIB != 0 || len.0 == 0 || !fits
        {
            return Err(refuse(Reason::Place { at, len }));
        }
        // qemu does not set the flag for the two that we know, so it says nothing about those.
        let known = guid == BAT_REGION || guid == METADATA_REGION;
        if !known && entry.flags.get() & REGION_REQUIRED != 0 {
            return Err(refuse(Reason::UnknownRequired(guid)));
        }
        all.push(Region { guid, at, len });
    }
    check_unique(&all)?;
    all.sort_unstable_by_key(|region| region.at);
    check_disjoint(&all, header)?;
    let find = |guid| {
        let found = all.iter().find(|region| region.guid == guid).copied();
        found.ok_or(refuse(Reason::Missing(guid)))
    };
    Ok(Regions {
        bat: find(BAT_REGION)?,
        metadata: find(METADATA_REGION)?,
        all,
    })
}

fn check_unique(regions: &[Region]) -> std::result::Result<(), Defect> {
    let mut guids: Vec<Guid> = regions.iter().map(|region| region.guid).collect();
    guids.sort_unstable();
    let mut pairs = guids.iter().zip(guids.iter().skip(1));
    match pairs.find(|(left, right)| left == right) {
        Some((guid, _)) => Err(Defect::new(Part::RegionTable, Reason::Duplicate(*guid))),
        None => Ok(()),
    }
}

/// `regions` are sorted by place.
fn check_disjoint(regions: &[Region], header: &Header) -> std::result::Result<(), Defect> {
    let overlap = |region: &Region| {
        Err(Defect::new(
            Part::RegionTable,
            Reason::Overlap { at: region.at },
        ))
    };
    for (left, right) in regions.iter().zip(regions.iter().skip(1)) {
        if left.end() > right.at.0 {
            return overlap(right);
        }
    }
    match regions
        .iter()
        .find(|region| region.at.0 < header.log_end() && header.log_at.0 < region.end())
    {
        Some(region) => overlap(region),
        None => Ok(()),
    }
}
