//! A tracked disk as the NBD server sees it.

use std::{error::Error, io};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};
use hypercbt_nbd::{Content, Export};
use hypercbt_vhdx::Place;

use crate::tracked::{Refused, Shared};

impl Export for Shared {
    fn size(&self) -> ByteLen {
        self.disk_size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn block_bytes(&self) -> ByteLen {
        ByteLen(u64::from(self.sector_bytes()))
    }

    fn read_at(&self, at: DiskOffset, buf: &mut [u8]) -> io::Result<()> {
        self.with(|disk| disk.read_at(at, buf)).map_err(told)
    }

    fn write_at(&self, at: DiskOffset, bytes: &[u8]) -> io::Result<()> {
        self.with(|disk| disk.write_at(at, bytes)).map_err(told)
    }

    fn zero(&self, extent: Extent, may_unmap: bool) -> io::Result<()> {
        if may_unmap {
            return self.with(|disk| disk.zero(extent)).map_err(told);
        }
        self.with(|disk| disk.write_zeros(extent)).map_err(told)
    }

    fn unmap(&self, extent: Extent) -> io::Result<()> {
        self.with(|disk| disk.unmap(extent)).map_err(told)
    }

    fn flush(&self) -> io::Result<()> {
        self.with(hypercbt_tracked::TrackedDisk::flush)
            .map_err(told)
    }

    fn segments(&self, extent: Extent) -> io::Result<Vec<(Extent, Content)>> {
        let segments = self.with(|disk| disk.segments(extent)).map_err(told)?;
        let told = segments.into_iter().map(|segment| {
            let content = match segment.place {
                Place::Data { .. } => Content::Data,
                Place::Zero => Content::Zero,
            };
            (segment.extent, content)
        });
        Ok(told.collect())
    }
}

/// The error with the kind that the system gave, so that a client hears of a full volume as such.
fn told(refused: Refused) -> io::Error {
    let error = match refused {
        Refused::Closed => return io::Error::other("the disk is closed"),
        Refused::Disk(error) => error,
    };
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    let mut kind = io::ErrorKind::Other;
    while let Some(found) = cause {
        if let Some(system) = found.downcast_ref::<io::Error>() {
            kind = system.kind();
        }
        cause = found.source();
    }
    io::Error::new(kind, error)
}
