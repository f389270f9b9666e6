//! What the guest does, and what is noted of it.

use hypercbt_extent::DiskOffset;

use crate::promises::{Change, Flush, SECTORS, Sealed, bytes_of};
use crate::story::{NEVER, Teller, said};
use crate::support::{KIB, MIB, SECTOR, extent};

impl Teller {
    /// One to three sectors that lie side by side.
    pub(crate) fn write(&mut self) -> Result<(), String> {
        let first = usize::try_from(self.draw(SECTORS.len() as u64)).unwrap();
        let most = 1 + usize::try_from(self.draw(3)).unwrap();
        let beside = |sector: &usize| {
            SECTORS[*sector] == SECTORS[first] + ((sector - first) * SECTOR) as u64
        };
        let sectors: Vec<usize> = (first..SECTORS.len())
            .take_while(beside)
            .take(most)
            .collect();
        let begun = self.files.ops();
        let mut bytes = Vec::new();
        for sector in &sectors {
            self.now[*sector] = self.next_value;
            bytes.extend(bytes_of(self.next_value));
            self.next_value += 1;
        }
        let at = DiskOffset(SECTORS[first]);
        let written = self.disk().write_at(at, &bytes).map_err(said("write"));
        self.changed(begun);
        written
    }

    /// A piece of the disk: a sector or two, or whole blocks.
    pub(crate) fn piece(&mut self) -> (u64, u64) {
        let start = SECTORS[usize::try_from(self.draw(SECTORS.len() as u64)).unwrap()];
        match self.draw(3) {
            0 => (start, 512),
            1 => (start / (4 * KIB) * (4 * KIB), 4 * KIB),
            _ => (start / MIB * MIB, MIB),
        }
    }

    pub(crate) fn zero(&mut self) -> Result<(), String> {
        let (at, len) = self.piece();
        let begun = self.files.ops();
        self.disk().zero(extent(at, len)).map_err(said("zero"))?;
        for (sector, place) in SECTORS.iter().enumerate() {
            if (at..at + len).contains(place) {
                self.now[sector] = 0;
            }
        }
        self.changed(begun);
        Ok(())
    }

    /// What is unmapped stays or becomes zeros, and is settled with the call.
    pub(crate) fn unmap(&mut self) -> Result<(), String> {
        let (at, len) = self.piece();
        let begun = self.files.ops();
        self.disk().unmap(extent(at, len)).map_err(said("unmap"))?;
        for (sector, place) in SECTORS.iter().enumerate() {
            let value = self.read(sector)?;
            let is_inside = (at..at + len).contains(place);
            if value != self.now[sector] && !(is_inside && value == 0) {
                return Err(format!("unmap({at}, {len}) made {place} {value}"));
            }
            self.now[sector] = value;
        }
        self.changed(begun);
        Ok(())
    }

    /// Notes what has another value than before.
    pub(crate) fn changed(&mut self, begun: usize) {
        for (changes, value) in self.promises.changes.iter_mut().zip(&self.now) {
            let before = changes.last().map_or(0, |change| change.value);
            if before != *value {
                changes.push(Change {
                    begun,
                    value: *value,
                });
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), String> {
        self.disk().flush().map_err(said("flush"))?;
        self.flushed();
        Ok(())
    }

    /// Nothing was changed while it ran.
    pub(crate) fn flushed(&mut self) {
        self.promises.flushes.push(Flush {
            ended: self.files.ops(),
            changes: self.promises.changes.iter().map(Vec::len).collect(),
        });
    }

    pub(crate) fn seal(&mut self) -> Result<(), String> {
        let id = self.disk().seal().map_err(said("seal"))?;
        self.flushed();
        self.sealed(id);
        Ok(())
    }

    pub(crate) fn sealed(&mut self, id: hypercbt_rct::RctId) {
        self.promises.sealed.push(Sealed {
            id,
            at: self.files.ops(),
            forgotten: NEVER,
            given_up: NEVER,
            values: self.now.clone(),
        });
    }

    pub(crate) fn forget(&mut self) -> Result<(), String> {
        let kept = self.promises.sealed.iter_mut();
        let Some(oldest) = kept
            .into_iter()
            .find(|sealed| sealed.forgotten == NEVER && sealed.given_up == NEVER)
        else {
            return Ok(());
        };
        oldest.forgotten = self.files.ops();
        let id = oldest.id.clone();
        self.disk().forget(&id).map_err(said("forget"))
    }
}
