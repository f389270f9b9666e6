//! The metadata region: what the virtual disk is (MS-VHDX 2.6).

use hypercbt_extent::ByteLen;
use zerocopy::{FromBytes, IntoBytes};

use crate::error::Defect;
use crate::format::{
    DISK_ID_ITEM, DISK_SIZE_ITEM, FILE_PARAMETERS_ITEM, HAS_PARENT, LEAVE_BLOCKS_ALLOCATED,
    LOGICAL_SECTOR_ITEM, MAX_BLOCK_BYTES, MAX_DISK_BYTES, MAX_METADATA_ITEM_BYTES,
    MAX_TABLE_ENTRIES, MAX_USER_METADATA_ENTRIES, METADATA_REQUIRED, METADATA_SIGNATURE,
    METADATA_TABLE_BYTES, METADATA_USER, METADATA_VIRTUAL_DISK, MIN_BLOCK_BYTES, MetadataEntry,
    MetadataTableHeader, PARENT_LOCATOR_ITEM, PHYSICAL_SECTOR_ITEM, UNFINISHED_ITEM,
};
use crate::locator::{self, ParentLocator};
use crate::region::Region;
use crate::source::Source;
use crate::{FileOffset, Guid, Part, Reason, Result};

/// What the metadata say of the virtual disk. All numbers are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) block_bytes: u32,
    pub(crate) leave_blocks_allocated: bool,
    pub(crate) size: ByteLen,
    pub(crate) disk_id: Guid,
    pub(crate) logical_sector_bytes: u32,
    pub(crate) physical_sector_bytes: u32,
    /// Only a differencing disk has one.
    pub(crate) parent: Option<ParentLocator>,
}

/// Reads the metadata of a file.
pub(crate) fn read(source: &Source, region: Region) -> Result<Metadata> {
    let mut bytes = vec![0; METADATA_TABLE_BYTES];
    source.read(&mut bytes, region.at)?;
    let entries = decode_table(&bytes, region.len).map_err(|defect| source.blame(defect))?;
    let items = Items {
        source,
        region,
        entries: &entries,
    };
    items.metadata()
}

/// One item that we know or may ignore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    guid: Guid,
    user: bool,
    offset: u64,
    len: u32,
}

/// Decodes and checks the table alone.
fn decode_table(bytes: &[u8], region_len: ByteLen) -> std::result::Result<Vec<Item>, Defect> {
    let refuse = |reason| Defect::new(Part::Metadata, reason);
    let (header, rest) =
        MetadataTableHeader::ref_from_prefix(bytes).map_err(|_| refuse(Reason::Signature))?;
    if header.signature != METADATA_SIGNATURE {
        return Err(refuse(Reason::Signature));
    }
    if header.reserved.get() != 0 || header.reserved2 != [0; 20] {
        return Err(refuse(Reason::ReservedBits));
    }
    let count = header.entry_count.get();
    let too_many = |count| refuse(Reason::TooManyEntries(count));
    let entries = <[MetadataEntry]>::ref_from_prefix_with_elems(rest, usize::from(count));
    let (entries, _) = entries.map_err(|_| too_many(u64::from(count)))?;
    if u64::from(count) > MAX_TABLE_ENTRIES {
        return Err(too_many(u64::from(count)));
    }
    let items = entries.iter().map(|entry| decode_entry(entry, region_len));
    let items = items.collect::<std::result::Result<Vec<Item>, Defect>>()?;
    let users = items.iter().filter(|item| item.user).count() as u64;
    if users > MAX_USER_METADATA_ENTRIES {
        return Err(too_many(users));
    }
    check_unique(&items)?;
    check_disjoint(&items)?;
    Ok(items)
}

fn decode_entry(entry: &MetadataEntry, region_len: ByteLen) -> std::result::Result<Item, Defect> {
    let refuse = |reason| Err(Defect::new(Part::Metadata, reason));
    let flags = entry.flags.get();
    if flags & !(METADATA_USER | METADATA_VIRTUAL_DISK | METADATA_REQUIRED) != 0
        || entry.reserved.get() != 0
    {
        return refuse(Reason::ReservedBits);
    }
    let item = Item {
        guid: Guid(entry.item),
        user: flags & METADATA_USER != 0,
        offset: u64::from(entry.offset.get()),
        len: entry.length.get(),
    };
    let (at, len) = (FileOffset(item.offset), ByteLen(u64::from(item.len)));
    let fits = if item.len == 0 {
        item.offset == 0 // "present but empty"
    } else {
        at.0 >= METADATA_TABLE_BYTES as u64
            && at.0 + len.0 <= region_len.0
            && len.0 <= MAX_METADATA_ITEM_BYTES
    };
    if !fits {
        return refuse(Reason::Place { at, len });
    }
    if flags & METADATA_REQUIRED != 0 && !item.is_known() {
        let unfinished = item.guid == UNFINISHED_ITEM;
        return refuse(if unfinished {
            Reason::Unfinished
        } else {
            Reason::UnknownRequired(item.guid)
        });
    }
    Ok(item)
}

impl Item {
    fn is_known(&self) -> bool {
        let known = [
            FILE_PARAMETERS_ITEM,
            DISK_SIZE_ITEM,
            DISK_ID_ITEM,
            LOGICAL_SECTOR_ITEM,
            PHYSICAL_SECTOR_ITEM,
            PARENT_LOCATOR_ITEM,
        ];
        !self.user && known.contains(&self.guid)
    }
}

fn check_unique(items: &[Item]) -> std::result::Result<(), Defect> {
    let mut names: Vec<(Guid, bool)> = items.iter().map(|item| (item.guid, item.user)).collect();
    names.sort_unstable();
    let mut pairs = names.iter().zip(names.iter().skip(1));
    match pairs.find(|(left, right)| left == right) {
        Some(((guid, _), _)) => Err(Defect::new(Part::Metadata, Reason::Duplicate(*guid))),
        None => Ok(()),
    }
}

fn check_disjoint(items: &[Item]) -> std::result::Result<(), Defect> {
    let mut places: Vec<(u64, u64)> = items
        .iter()
        .filter(|item| item.len > 0)
        .map(|item| (item.offset, item.offset + u64::from(item.len)))
        .collect();
    places.sort_unstable();
    let mut pairs = places.iter().zip(places.iter().skip(1));
    match pairs.find(|((_, left_end), (right, _))| left_end > right) {
        Some((_, (right, _))) => Err(Defect::new(
            Part::Metadata,
            Reason::Overlap {
                at: FileOffset(*right),
            },
        )),
        None => Ok(()),
    }
}

/// The items of one file, and where to read them from.
struct Items<'a> {
    source: &'a Source,
    region: Region,
    entries: &'a [Item],
}

impl Items<'_> {
    fn metadata(&self) -> Result<Metadata> {
        let [block_bytes, flags] = self.numbers::<2>(FILE_PARAMETERS_ITEM)?;
        let [size_low, size_high] = self.numbers::<2>(DISK_SIZE_ITEM)?;
        let [logical] = self.numbers::<1>(LOGICAL_SECTOR_ITEM)?;
        let [physical] = self.numbers::<1>(PHYSICAL_SECTOR_ITEM)?;
        let mut disk_id = [0; 16];
        self.read_exactly(DISK_ID_ITEM, &mut disk_id)?;
        let size = ByteLen(u64::from(size_high) << 32 | u64::from(size_low));
        let refuse = |reason| Err(self.source.corrupt(Part::Metadata, reason));
        if flags & !(LEAVE_BLOCKS_ALLOCATED | HAS_PARENT) != 0 {
            return refuse(Reason::ReservedBits);
        }
        if let Err(reason) = check_numbers(block_bytes, size, logical, physical) {
            return refuse(reason);
        }
        let has_parent = flags & HAS_PARENT != 0;
        Ok(Metadata {
            block_bytes,
            leave_blocks_allocated: flags & LEAVE_BLOCKS_ALLOCATED != 0,
            size,
            disk_id: Guid(disk_id),
            logical_sector_bytes: logical,
            physical_sector_bytes: physical,
            parent: if has_parent {
                Some(self.parent()?)
            } else {
                None
            },
        })
    }

    fn parent(&self) -> Result<ParentLocator> {
        let item = self.find(PARENT_LOCATOR_ITEM)?;
        let mut bytes = vec![0; usize::try_from(item.len).unwrap_or_default()];
        self.read_item(item, &mut bytes)?;
        locator::decode(&bytes).map_err(|defect| self.source.blame(defect))
    }

    fn numbers<const N: usize>(&self, guid: Guid) -> Result<[u32; N]> {
        let mut numbers = [zerocopy::little_endian::U32::ZERO; N];
        self.read_exactly(guid, numbers.as_mut_bytes())?;
        Ok(numbers.map(zerocopy::little_endian::U32::get))
    }

    fn read_exactly(&self, guid: Guid, buf: &mut [u8]) -> Result<()> {
        let item = self.find(guid)?;
        if u64::from(item.len) != buf.len() as u64 {
            let reason = Reason::ItemLength {
                item: guid,
                len: item.len,
            };
            return Err(self.source.corrupt(Part::Metadata, reason));
        }
        self.read_item(item, buf)
    }

    fn find(&self, guid: Guid) -> Result<&Item> {
        let mut items = self.entries.iter().filter(|item| item.is_known());
        let found = items.find(|item| item.guid == guid);
        found.ok_or_else(|| self.source.corrupt(Part::Metadata, Reason::Missing(guid)))
    }

    fn read_item(&self, item: &Item, buf: &mut [u8]) -> Result<()> {
        self.source.read(
            buf,
            FileOffset(self.region.at.0.saturating_add(item.offset)),
        )
    }
}

/// The limits of MS-VHDX 2.6.2.
pub(crate) fn check_numbers(
    block_bytes: u32,
    size: ByteLen,
    logical_sector_bytes: u32,
    physical_sector_bytes: u32,
) -> std::result::Result<(), Reason> {
    let possible = MIN_BLOCK_BYTES..=MAX_BLOCK_BYTES;
    if !block_bytes.is_power_of_two() || !possible.contains(&u64::from(block_bytes)) {
        return Err(Reason::BlockSize(block_bytes));
    }
    for sector in [logical_sector_bytes, physical_sector_bytes] {
        if !matches!(sector, 512 | 4096) {
            return Err(Reason::SectorSize(sector));
        }
    }
    if size.0 == 0
        || size.0 > MAX_DISK_BYTES
        || !size.0.is_multiple_of(u64::from(logical_sector_bytes))
    {
        return Err(Reason::DiskSize(size.0));
    }
    Ok(())
}
