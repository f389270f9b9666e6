//! A raw file: the bytes of the disk and nothing else, less its holes.

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::segments::{Here, Run};
use crate::source::Source;
use crate::{Error, FileOffset, NotADisk, Result};

/// The sector of a raw disk.
pub(crate) const SECTOR_BYTES: u32 = 512;

/// A disk that lies in its file as it is, from the first byte on.
#[derive(Debug)]
pub(crate) struct RawMap {
    size: ByteLen,
}

impl RawMap {
    /// Refuses a file that cannot be a disk.
    pub(crate) fn open(source: &Source) -> Result<Self> {
        let size = source.file_len();
        let refuse = |reason| {
            Err(Error::NotADisk {
                file: source.name().to_owned(),
                reason,
            })
        };
        if size.0 == 0 {
            return refuse(NotADisk::Empty);
        }
        if !size.0.is_multiple_of(u64::from(SECTOR_BYTES)) {
            return refuse(NotADisk::OddLength(size));
        }
        Ok(Self { size })
    }

    /// A disk of which the caller knows the size: the bytes of the file up to there.
    pub(crate) fn of_size(size: ByteLen) -> Self {
        Self { size }
    }

    /// The size of the disk.
    pub(crate) fn size(&self) -> ByteLen {
        self.size
    }

    /// What is at `at`, which is inside the disk, and how far it goes on like that.
    pub(crate) fn run_at(&self, source: &Source, at: DiskOffset) -> Run {
        let size = DiskOffset(self.size.0);
        let rest = Extent::between(at, size);
        match rest.and_then(|rest| source.data().intersecting(rest).first().copied()) {
            Some(data) if data.start() <= at => Run {
                here: Here::Data(FileOffset(at.0)),
                end: data.end().min(size),
            },
            Some(data) => Run {
                here: Here::Zero,
                end: data.start().min(size),
            },
            None => Run {
                here: Here::Zero,
                end: size,
            },
        }
    }
}
