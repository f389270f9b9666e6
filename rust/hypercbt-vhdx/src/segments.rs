//! Which bytes of which file are which bytes of the disk: the answer of a whole chain, piece by piece.

use hypercbt_extent::{DiskOffset, Extent};

use crate::FileOffset;
use crate::layer::OpenFile;

/// The number of a file of the chain: an index into [`layers`](crate::VirtualDisk::layers), 0 the leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileIndex(pub u32);

/// Where the bytes of a segment are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In a file, from this offset on, all in one piece.
    Data {
        /// Which file.
        file: FileIndex,
        /// Where in it.
        at: FileOffset,
    },
    /// Nowhere: they are zero.
    Zero,
}

/// An extent of the disk whose bytes are all in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Which bytes of the disk.
    pub extent: Extent,
    /// Where they are.
    pub place: Place,
}

/// What one file says of a byte, and of how many after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) here: Here,
    /// Where it ends, exclusive: behind the byte that was asked for, and inside the file's disk.
    pub(crate) end: DiskOffset,
}

/// Where one file has a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Here {
    /// In the file, at this offset.
    Data(FileOffset),
    /// Nowhere: it is zero, whatever the parent holds.
    Zero,
    /// The parent knows.
    Below,
}

/// The segments of an extent, in order. See [`VirtualDisk::segments`](crate::VirtualDisk::segments).
#[derive(Debug)]
pub struct Segments<'disk> {
    files: &'disk [OpenFile],
    /// The run of each file that was asked for last, and where the question was. One run of a child may span many
    /// of its parent, and is then not looked up again.
    runs: Vec<Option<(DiskOffset, Run)>>,
    at: DiskOffset,
    end: DiskOffset,
    /// Read ahead, and found not to belong to the one before.
    ahead: Option<Segment>,
}

impl<'disk> Segments<'disk> {
    /// The segments of `extent`, which is inside the disk, in a chain of files, leaf first.
    pub(crate) fn new(files: &'disk [OpenFile], extent: Extent) -> Self {
        let (at, end) = (extent.start(), extent.end());
        Self {
            files,
            runs: vec![None; files.len()],
            at,
            end,
            ahead: None,
        }
    }

    /// The next stretch as the files have it, not merged with its neighbours.
    fn next_piece(&mut self) -> Option<(Extent, Option<Place>)> {
        let at = self.at;
        let rest = Extent::between(at, self.end)?;
        let (place, end) = self.place_at(at, rest.end());
        // A file that answered with an empty run would make this loop forever; it would be our bug.
        debug_assert!(end > at, "every run has a byte");
        let extent = Extent::between(at, end).unwrap_or(rest);
        self.at = extent.end();
        Some((extent, place))
    }

    /// Where the byte at `at` is, and up to where (at most `end`) those behind it are in the same place. `None`: none
    /// of the files says anything of it, not even that it is zero.
    fn place_at(&mut self, at: DiskOffset, mut end: DiskOffset) -> (Option<Place>, DiskOffset) {
        for (number, (file, known)) in (0..).zip(self.files.iter().zip(&mut self.runs)) {
            // A child may be larger than its parent: past the parent's end is nothing.
            let size = DiskOffset(file.size().0);
            if at >= size {
                return (Some(Place::Zero), end);
            }
            let (start, run) = match *known {
                Some((start, run)) if at < run.end => (start, run),
                _ => *known.insert((at, file.run_at(at))),
            };
            end = end.min(run.end);
            match run.here {
                Here::Below => {}
                Here::Zero => return (Some(Place::Zero), end),
                Here::Data(place) => {
                    let file = FileIndex(number);
                    let at = FileOffset(place.0.saturating_add(at.0 - start.0));
                    return (Some(Place::Data { file, at }), end);
                }
            }
        }
        (None, end)
    }

    /// The next segment, not merged with its neighbours; what no file says anything of is zero.
    fn next_segment(&mut self) -> Option<Segment> {
        let (extent, place) = self.next_piece()?;
        let place = place.unwrap_or(Place::Zero);
        Some(Segment { extent, place })
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let mut segment = match self.ahead.take() {
            Some(segment) => segment,
            None => self.next_segment()?,
        };
        while let Some(next) = self.next_segment() {
            let Some(both) = segment.joined(next) else {
                self.ahead = Some(next);
                break;
            };
            segment = both;
        }
        Some(segment)
    }
}

impl std::iter::FusedIterator for Segments<'_> {}

/// The stretches of which one of the files says something, in order, disjoint.
pub(crate) struct Held<'disk>(pub(crate) Segments<'disk>);

impl Iterator for Held<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        loop {
            if let (extent, Some(_)) = self.0.next_piece()? {
                return Some(extent);
            }
        }
    }
}

impl Segment {
    /// Both as one, if `next`, which begins where this ends, goes on in the same place.
    pub(crate) fn joined(self, next: Self) -> Option<Self> {
        let goes_on = match (self.place, next.place) {
            (Place::Zero, Place::Zero) => true,
            (
                Place::Data { file, at },
                Place::Data {
                    file: next_file,
                    at: next_at,
                },
            ) => file == next_file && at.0.checked_add(self.extent.len().0) == Some(next_at.0),
            _ => false,
        };
        let extent = Extent::between(self.extent.start(), next.extent.end())?;
        goes_on.then_some(Self {
            extent,
            place: self.place,
        })
    }
}
