//! What changes the files that a disk has: freezing, thawing, reverting, and being killed meanwhile.

use hypercbt_tracked::{Lost, Tracking};

use crate::promises::{Flush, Revert, Turn};
use crate::story::{NEVER, Teller, said};
use crate::support::open;

/// As many checkpoints as the stories have at once: each rests on all that are below, and a third shows nothing new.
const MOST_CHECKPOINTS: usize = 3;

/// What a process does, and may be killed meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Freeze,
    Thaw,
    Discard,
    WriteAndFlush,
}

/// Something that was begun and not told to be done.
pub(crate) struct Tried {
    deed: Deed,
    begun: usize,
    flush: Flush,
}

impl Teller {
    /// What can be done with the files that there are.
    pub(crate) fn choose(&mut self) -> Deed {
        match (self.stack.len(), self.draw(100)) {
            (0, _) | (1..MOST_CHECKPOINTS, 0..40) => Deed::Freeze,
            (_, 0..80) => Deed::Thaw,
            _ => Deed::Discard,
        }
    }

    pub(crate) fn act(&mut self, deed: Deed) -> Result<(), String> {
        let begun = self.files.ops();
        match deed {
            Deed::Freeze => {
                let frozen = self.disk().freeze().map_err(said("freeze"))?;
                self.flushed();
                self.stack.push(self.now.clone());
                self.sealed(frozen.id);
            }
            Deed::Thaw => {
                self.disk().thaw().map_err(said("thaw"))?;
                self.flushed();
                self.stack.pop();
            }
            Deed::Discard => {
                self.disk().discard().map_err(said("discard"))?;
                self.now = self.stack.last().ok_or("nothing is frozen")?.clone();
                self.changed(begun);
                self.flushed();
                self.give_ids_up(begun);
                let ended = self.files.ops();
                self.promises.reverts.push(Revert { begun, ended });
            }
            Deed::WriteAndFlush => {
                self.write()?;
                return self.flush();
            }
        }
        self.turned(begun);
        Ok(())
    }

    /// The files are those of the stack.
    fn turned(&mut self, begun: usize) {
        self.promises.turns.push(Turn {
            begun,
            ended: self.files.ops(),
            stack: self.stack.clone(),
        });
    }

    fn give_ids_up(&mut self, begun: usize) {
        for sealed in &mut self.promises.sealed {
            sealed.given_up = sealed.given_up.min(begun);
        }
    }

    /// Does something that may fail. What was not told to be done, and is to be [`settle`](Self::settle)d, is
    /// returned: from its begin on both may be.
    pub(crate) fn try_to(&mut self, deed: Deed) -> Option<Tried> {
        let tried = Tried {
            deed,
            begun: self.files.ops(),
            flush: Flush {
                ended: NEVER,
                changes: self.promises.changes.iter().map(Vec::len).collect(),
            },
        };
        let (now, mut stack) = (self.now.clone(), self.stack.clone());
        if self.act(deed).is_ok() || deed == Deed::WriteAndFlush {
            return None;
        }
        let (begun, ended) = (tried.begun, NEVER);
        match deed {
            Deed::Freeze => stack.push(now),
            Deed::Thaw => drop(stack.pop()),
            Deed::Discard | Deed::WriteAndFlush => {
                self.now.clone_from(stack.last().unwrap());
                self.changed(begun);
                self.now = now;
                self.promises.reverts.push(Revert { begun, ended });
            }
        }
        let turn = Turn {
            begun,
            ended,
            stack,
        };
        self.promises.turns.push(turn);
        Some(tried)
    }

    /// Looks what became of it. From now on only that is.
    pub(crate) fn settle(&mut self, mut tried: Tried) -> Result<(), String> {
        let now = self.files.ops();
        let depth = self.disk().checkpoints().len();
        let was = self.stack.len();
        tried.flush.ended = now;
        match tried.deed {
            Deed::Freeze if depth == was + 1 => {
                self.promises.flushes.push(tried.flush);
                let attempt = self.promises.turns.last().unwrap();
                self.stack.clone_from(&attempt.stack);
            }
            Deed::Thaw if depth + 1 == was => drop(self.stack.pop()),
            _ if depth != was => return Err(format!("{depth} checkpoints, after {was}")),
            Deed::Discard => {
                if let Some(revert) = self.promises.reverts.last_mut() {
                    revert.ended = now;
                }
                if self.is_reverted()? {
                    self.give_ids_up(tried.begun);
                }
            }
            _ => {}
        }
        self.turned(tried.begun);
        Ok(())
    }

    /// Whether the ids that were kept before the last attempt are gone; and then all are.
    fn is_reverted(&self) -> Result<bool, String> {
        let ids = self.disk().ids().map_err(said("ids"))?;
        let kept = self.promises.sealed.iter();
        let kept = kept.filter(|sealed| sealed.forgotten == NEVER && sealed.given_up == NEVER);
        let known = kept.clone().filter(|sealed| ids.contains(&sealed.id));
        match (known.count(), kept.count()) {
            (0, _) => Ok(true),
            (known, kept) if known == kept => Ok(false),
            (known, kept) => Err(format!("of {kept} ids {known} are known")),
        }
    }

    /// A process is killed while it opens the disk, or does something to it; another goes on.
    pub(crate) fn be_killed(&mut self, operations: usize, deed: Deed) -> Result<(), String> {
        drop(self.disk.take());
        let begun = self.files.ops();
        self.sessions += 1;
        let doomed = open(&self.files.killed_after(begun + operations), self.sessions);
        let mut tried = None;
        self.was_killed = true;
        if let Ok(disk) = doomed {
            self.disk = Some(disk);
            if self.look(begun).is_ok() {
                tried = self.try_to(deed);
                self.was_killed = tried.is_some();
            }
        }
        drop(self.disk.take());
        let begun = self.files.ops();
        match tried {
            Some(tried) => {
                self.open_after(&tried)?;
                self.settle(tried)?;
            }
            None => self.open()?,
        }
        self.look(begun)
    }

    /// Opens the disk after something that may have reverted it.
    pub(crate) fn open_after(&mut self, tried: &Tried) -> Result<(), String> {
        use hypercbt_rct::Lost::DiskChanged;
        match (self.open_anyhow()?, tried.deed) {
            (Tracking::Continued, _)
            | (Tracking::Lost(Lost::Found(DiskChanged { .. })), Deed::Discard) => Ok(()),
            (tracking, _) => Err(format!("tracking is {tracking:?}")),
        }
    }

    /// A disk with so many checkpoints, each of which the guest wrote to.
    pub(crate) fn frozen(depth: usize) -> Result<Self, String> {
        let mut teller = Self::new(1)?;
        for _ in 0..depth {
            teller.write()?;
            teller.act(Deed::Freeze)?;
        }
        teller.write()?;
        teller.seal()?;
        teller.write()?;
        teller.flush()?;
        Ok(teller)
    }
}
