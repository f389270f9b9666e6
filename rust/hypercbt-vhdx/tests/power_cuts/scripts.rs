//! What a guest may do, in rows that meet every rule of writing.

use crate::common::{KIB, MIB};
use crate::story::{Story, Teller};
use crate::support::{Disk, Kind};

/// Numbers by chance, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// A little of everything.
fn mixed(disk: Disk, seed: u64) -> Teller {
    let mut dice = Dice(seed);
    let mut teller = Teller::new(disk);
    // Right after opening, so that two changes of the header meet.
    teller.write(0, 4 * KIB);
    for _ in 0..36 {
        let block = dice.roll(disk.size.div_ceil(MIB)) * MIB;
        let whole = MIB.min(disk.size - block);
        let piece = block + dice.roll(6) * 4 * KIB;
        let len = (1 + dice.roll(3)) * 4 * KIB;
        match dice.roll(14) {
            0..=3 => teller.write(piece, len),
            4 => teller.write(block, whole),
            5 => teller.write((block + whole).saturating_sub(8 * KIB), 8 * KIB),
            6 => teller.zero(piece, len),
            7 => teller.zero(block, whole),
            8 if disk.kind != Kind::Fixed => teller.unmap(block, whole),
            9 if dice.roll(3) == 0 => teller.close(),
            10 if dice.roll(3) == 0 => teller.crash(),
            _ => teller.flush(),
        }
    }
    teller
}

/// The name of a mixed story, its disk, and where its chance begins.
type Mixed = (&'static str, Kind, u64, u64);

const FIXED: Mixed = ("fixed", Kind::Fixed, 512, 3);
const DYNAMIC: Mixed = ("dynamic", Kind::Dynamic, 512, 4);
const DYNAMIC_4096: Mixed = ("dynamic, 4096", Kind::Dynamic, 4096, 5);
const CHILD: Mixed = ("child", Kind::Child, 512, 6);
const CHILD_4096: Mixed = ("child, 4096", Kind::Child, 4096, 7);

fn story((name, kind, sector_bytes, seed): Mixed, round: u64) -> Story {
    let seed = seed + 1000 * round;
    mixed(Disk::small(kind, sector_bytes), seed).end(name)
}

/// Other rows of everything, other ones each round.
pub(crate) fn round(round: u64) -> Vec<Story> {
    let all = [FIXED, DYNAMIC, DYNAMIC_4096, CHILD, CHILD_4096];
    all.map(|mixed| story(mixed, round)).into()
}

pub(crate) fn dynamic() -> Story {
    story(DYNAMIC, 0)
}

pub(crate) fn child() -> Story {
    story(CHILD, 0)
}

/// Room is given up and used again, by blocks and by a sector bitmap.
pub(crate) fn reuse() -> Story {
    let mut teller = Teller::new(Disk::small(Kind::Child, 512));
    teller.write(0, MIB);
    teller.flush();
    teller.zero(0, MIB);
    teller.write(MIB, MIB);
    teller.flush();
    // Into the room of block 0: the bitmap, which must hold no old bits.
    teller.write(2 * MIB, 4 * KIB);
    teller.flush();
    teller.write(0, 8 * KIB);
    teller.unmap(MIB, MIB);
    teller.flush();
    teller.write(3 * MIB, 4 * KIB);
    teller.write(2 * MIB + 64 * KIB, 4 * KIB);
    teller.crash();
    teller.write(2 * MIB, MIB);
    teller.zero(2 * MIB, MIB);
    teller.write(2 * MIB + 4 * KIB, 4 * KIB);
    teller.end("reuse")
}

/// Both halves of the log are filled more than once, the first one with something that no later entry repeats.
pub(crate) fn long_log() -> Story {
    let disk = Disk::large();
    let mut teller = Teller::new(disk);
    teller.write(disk.size - MIB, 4 * KIB);
    for round in 0..135 {
        if round % 2 == 0 {
            teller.write(0, 4 * KIB);
        } else {
            teller.zero(0, MIB);
        }
        teller.flush();
    }
    teller.write(disk.size - 4 * KIB, 4 * KIB);
    teller.end("long log")
}
