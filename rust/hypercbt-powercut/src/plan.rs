//! Which of the unsynced changes survive: the worst cases first, then by chance.

use std::collections::BTreeSet;

use crate::cut::{Cut, Item};
use crate::random::{Random, scramble};
use crate::volume::FileId;

/// What survives of each change of a cut that is not promised, and how long files are.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) keeps: Vec<Keep>,
    pub(crate) lengths: Lengths,
}

/// What survives of one change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    No,
    Yes,
    /// The first sectors, so many.
    First(u64),
    /// All but the first sectors.
    ButFirst(u64),
    /// Each sector with a chance of so many of 256.
    Some {
        seed: u64,
        chance: u8,
    },
}

impl Keep {
    pub(crate) fn sector(self, number: u64) -> bool {
        match self {
            Keep::No => false,
            Keep::Yes => true,
            Keep::First(sectors) => number < sectors,
            Keep::ButFirst(sectors) => number >= sectors,
            Keep::Some { seed, chance } => {
                scramble(seed.wrapping_add(number)) & 0xFF < u64::from(chance)
            }
        }
    }
}

/// Which of its lengths a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// What is durable.
    Oldest,
    /// The last.
    Newest,
    /// The shortest that holds what survives.
    Fitting,
    /// Any.
    Drawn(u64),
}

/// More cases than this are not "extreme". The index of one is a seed, so they stay below random ones.
const MOST_EXTREMES: usize = 192;
/// So many changes are lost and kept one by one; of more, the last ones and some others.
const MOST_ALONE: usize = 32;
/// So many files are lost or kept whole.
const MOST_GROUPS: usize = 16;
/// So many borders of a write are tried.
const MOST_BORDERS: u64 = 16;

impl Cut {
    /// The plan of a seed: the extremes have small ones.
    pub(crate) fn plan(&self, seed: u64) -> Plan {
        let extreme = usize::try_from(seed).ok().filter(|&n| n < MOST_EXTREMES);
        extreme
            .and_then(|number| self.extremes().into_iter().nth(number))
            .unwrap_or_else(|| self.drawn(seed))
    }

    /// Nothing survives; all does; all of one file, or nothing of it; the last write torn; each lost, each kept alone.
    pub(crate) fn extremes(&self) -> Vec<Plan> {
        let mut plans = vec![self.all(Keep::No, Lengths::Oldest)];
        if self.free.is_empty() {
            return plans;
        }
        plans.push(self.all(Keep::Yes, Lengths::Newest));
        plans.push(self.all(Keep::Yes, Lengths::Oldest));
        plans.push(self.all(Keep::No, Lengths::Newest));
        let groups: BTreeSet<Option<FileId>> = self.free.iter().map(Item::file).collect();
        for &group in groups.iter().rev().take(MOST_GROUPS) {
            for (of_group, others, lengths) in [
                (Keep::No, Keep::Yes, Lengths::Oldest),
                (Keep::No, Keep::Yes, Lengths::Newest),
                (Keep::Yes, Keep::No, Lengths::Oldest),
                (Keep::Yes, Keep::No, Lengths::Fitting),
            ] {
                let keep = |item: &Item| {
                    if item.file() == group {
                        of_group
                    } else {
                        others
                    }
                };
                let keeps = self.free.iter().map(keep).collect();
                plans.push(Plan { keeps, lengths });
            }
        }
        self.add_torn(&mut plans);
        for alone in self.alone() {
            plans.push(self.all(Keep::Yes, Lengths::Newest).with(alone, Keep::No));
            plans.push(self.all(Keep::No, Lengths::Fitting).with(alone, Keep::Yes));
        }
        plans.truncate(MOST_EXTREMES);
        plans
    }

    /// The last write of several sectors at each of its borders.
    fn add_torn(&self, plans: &mut Vec<Plan>) {
        let torn = (0..self.free.len())
            .rev()
            .find(|&item| self.free[item].sectors > 1);
        let Some(torn) = torn else { return };
        let sectors = self.free[torn].sectors;
        let borders = (sectors - 1).min(MOST_BORDERS);
        for border in 1..=borders {
            let border = (sectors * border / (borders + 1)).clamp(1, sectors - 1);
            let first = Keep::First(border);
            plans.push(self.all(Keep::Yes, Lengths::Newest).with(torn, first));
            plans.push(
                self.all(Keep::Yes, Lengths::Newest)
                    .with(torn, Keep::ButFirst(border)),
            );
            plans.push(self.all(Keep::Yes, Lengths::Fitting).with(torn, first));
            plans.push(self.all(Keep::No, Lengths::Fitting).with(torn, first));
        }
    }

    /// The changes that are tried alone.
    fn alone(&self) -> Vec<usize> {
        let len = self.free.len();
        if len <= MOST_ALONE {
            return (0..len).rev().collect();
        }
        let last = len - MOST_ALONE / 2;
        let others = (0..MOST_ALONE / 2).map(|n| n * last / (MOST_ALONE / 2));
        (last..len).rev().chain(others).collect()
    }

    fn all(&self, keep: Keep, lengths: Lengths) -> Plan {
        Plan {
            keeps: vec![keep; self.free.len()],
            lengths,
        }
    }

    /// By chance, in one of several ways that find different faults: what is likely to survive together on a real
    /// disk, and what is unlikely but legal.
    fn drawn(&self, seed: u64) -> Plan {
        let mut random = Random::new(seed, self.at as u64);
        let mut plan = self.all(Keep::No, Lengths::Oldest);
        let len = self.free.len();
        if len == 0 {
            return plan;
        }
        let chance = random.pick(&[16, 64, 128, 128, 192, 240]);
        match random.below(8) {
            // Sector by sector.
            0 | 1 => plan.keeps.fill_with(|| some(&mut random, chance)),
            // Change by change, and one of them torn.
            2 => {
                plan.keeps.fill_with(|| whole(&mut random, chance));
                let torn = random.index(len);
                plan.keeps[torn] = some(&mut random, 128);
            }
            // Each file in its own way.
            3 => self.draw_by_file(&mut plan, &mut random),
            // As if in order, up to somewhere.
            4 => {
                let torn = random.index(len);
                plan.keeps[..torn].fill(Keep::Yes);
                plan.keeps[torn] = some(&mut random, 128);
            }
            // As if in the opposite order.
            5 => {
                let torn = random.index(len);
                plan.keeps[torn..].fill(Keep::Yes);
                plan.keeps[torn] = some(&mut random, 128);
            }
            // All but a few.
            6 => {
                plan.keeps.fill(Keep::Yes);
                for _ in 0..=random.below(3) {
                    let lost = random.index(len);
                    plan.keeps[lost] = random.pick(&[Keep::No, some(&mut random.clone(), 128)]);
                }
            }
            // A few.
            _ => {
                for _ in 0..=random.below(3) {
                    let kept = random.index(len);
                    plan.keeps[kept] = random.pick(&[Keep::Yes, some(&mut random.clone(), 128)]);
                }
            }
        }
        plan.lengths = match random.below(8) {
            0 => Lengths::Oldest,
            1 | 2 => Lengths::Newest,
            3 | 4 => Lengths::Fitting,
            _ => Lengths::Drawn(random.next()),
        };
        plan
    }

    fn draw_by_file(&self, plan: &mut Plan, random: &mut Random) {
        let groups: BTreeSet<Option<FileId>> = self.free.iter().map(Item::file).collect();
        for group in groups {
            let way = random.below(4);
            for (item, keep) in self.free.iter().zip(&mut plan.keeps) {
                if item.file() == group {
                    *keep = match way {
                        0 => Keep::No,
                        1 => Keep::Yes,
                        2 => whole(random, 128),
                        _ => some(random, 128),
                    };
                }
            }
        }
    }
}

impl Plan {
    fn with(mut self, item: usize, keep: Keep) -> Self {
        self.keeps[item] = keep;
        self
    }
}

fn some(random: &mut Random, chance: u8) -> Keep {
    let seed = random.next();
    Keep::Some { seed, chance }
}

fn whole(random: &mut Random, chance: u8) -> Keep {
    if random.below(256) < u64::from(chance) {
        Keep::Yes
    } else {
        Keep::No
    }
}
