//! What a new point is built on: which older point, and whether what the caller says of it holds.

use hypercbt_extent::{ByteLen, Extents};
use hypercbt_repo::{Method, PointDisk, PointId, RestorePoint, Timestamp};
use hypercbt_vhdx::VirtualDisk;

use crate::{
    Error, Result, allocation::Grid, claims::Claims, error::WrongSince, identity::Identity, layers,
};

/// How the caller wants a disk to be read.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Everything, and nothing expected.
    Full,
    /// Everything that is allocated, stored where the repository does not know it.
    Compare,
    /// What changed since a point.
    List {
        /// What changed; may say too much, never too little.
        changes: Extents,
        /// Since when.
        since: PointId,
    },
    /// What Hyper-V says has changed since a point, and what no answer of it can cover: layers above the file that
    /// it counts from, now and at that point.
    Rct {
        /// What changed in that file; may say too much, never too little.
        changes: Extents,
        /// Since when. The disk is compared where that point turns out not to fit.
        base: PointId,
    },
}

impl Wanted {
    /// Refuses changes that are not of this disk.
    pub(crate) fn check(&self, disk_bytes: u64) -> Result<()> {
        let (Self::List { changes, .. } | Self::Rct { changes, .. }) = self else {
            return Ok(());
        };
        match changes.as_slice().last() {
            Some(last) if last.end().0 > disk_bytes => Err(Error::ChangeOutside {
                extent: *last,
                disk_len: ByteLen(disk_bytes),
            }),
            _ => Ok(()),
        }
    }
}

/// What was decided.
#[derive(Debug)]
pub(crate) struct Basis {
    pub(crate) method: Method,
    /// Why nothing better was used.
    pub(crate) fallback_reason: Option<String>,
    /// What the tree is patched on (list, rct), or what tells what to expect (compare).
    pub(crate) base: Option<Base>,
    /// What is read.
    pub(crate) claims: Claims,
    /// How much is said to have changed.
    pub(crate) changed_bytes: Option<u64>,
}

impl Basis {
    /// Everything is read, and nothing expected.
    pub(crate) fn everything(method: Method, fallback_reason: Option<String>) -> Self {
        Self {
            method,
            fallback_reason,
            base: None,
            claims: Claims::All,
            changed_bytes: None,
        }
    }
}

/// A disk of an older point.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) point: PointId,
    /// When that point was made.
    pub(crate) created: Timestamp,
    pub(crate) disk: PointDisk,
}

impl Base {
    fn new(point: &RestorePoint, disk: &PointDisk) -> Self {
        Self {
            point: point.id,
            created: point.created,
            disk: disk.clone(),
        }
    }
}

/// A disk for which a base is to be chosen.
pub(crate) struct Choice<'a> {
    pub(crate) disk: &'a VirtualDisk,
    pub(crate) grid: Grid,
    pub(crate) identity: Identity<'a>,
    /// Whether no other disk of the machine is known to have its id.
    pub(crate) alone: bool,
    pub(crate) machine: &'a str,
    /// All points, newest first.
    pub(crate) points: &'a [RestorePoint],
}

impl Choice<'_> {
    /// Decides. A base is one for which `usable` holds.
    pub(crate) fn choose(
        &self,
        wanted: &Wanted,
        reason: Option<&str>,
        usable: impl Fn(PointId) -> bool,
    ) -> Result<Basis> {
        match wanted {
            Wanted::Full => Ok(Basis::everything(Method::Full, None)),
            Wanted::Compare => Ok(self.compare(reason.map(str::to_owned), usable)),
            Wanted::List { changes, since } => {
                let base = self.since(self.of_machine(*since, &usable)?)?;
                Ok(match self.resized(&base.disk) {
                    Some(reason) => self.compare(Some(reason), usable),
                    None => self.patch(Method::List, base, changes, None),
                })
            }
            Wanted::Rct { changes, base } => {
                Ok(match self.rct_base(self.of_machine(*base, &usable)?) {
                    Ok((base, above)) => self.patch(Method::Rct, base, changes, Some(above)),
                    Err(reason) => self.compare(Some(reason), usable),
                })
            }
        }
    }

    /// Everything is read; the newest usable point that holds the disk tells what to expect.
    fn compare(&self, reason: Option<String>, usable: impl Fn(PointId) -> bool) -> Basis {
        let own = self.points.iter().filter(|p| p.machine == self.machine);
        let mut holding = own
            .filter_map(|point| Some((point, self.identity.find(point, self.alone)?)))
            .peekable();
        if holding.peek().is_none() {
            return Basis::everything(Method::Full, None);
        }
        let base = holding.find(|(point, _)| usable(point.id));
        Basis {
            base: base.map(|(point, disk)| Base::new(point, disk)),
            ..Basis::everything(Method::Compare, reason)
        }
    }

    fn patch(&self, method: Method, base: Base, changes: &Extents, above: Option<usize>) -> Basis {
        let mut claims = Claims::touching(self.grid, changes);
        if let Some(index) = above {
            let before = layers::recorded(&base.disk.layer_extents, self.grid.disk_bytes);
            claims = claims
                .and(Claims::touching(self.grid, &before))
                .and(layers::claims_above(self.disk, self.grid, index));
        }
        Basis {
            base: Some(base),
            claims,
            changed_bytes: Some(changes.total().0),
            ..Basis::everything(method, None)
        }
    }

    /// The point that changes are relative to.
    fn of_machine(
        &self,
        since: PointId,
        usable: impl Fn(PointId) -> bool,
    ) -> Result<&RestorePoint> {
        let point = self.points.iter().find(|point| point.id == since);
        let point = point.ok_or_else(|| wrong(since, WrongSince::Missing))?;
        if point.machine != self.machine {
            return Err(wrong(since, WrongSince::AnotherMachine));
        }
        if !usable(since) {
            return Err(wrong(since, WrongSince::NotLeased));
        }
        Ok(point)
    }

    /// The base that a caller's list is relative to.
    fn since(&self, point: &RestorePoint) -> Result<Base> {
        let Some(disk) = self.identity.find(point, self.alone) else {
            return Err(wrong(point.id, WrongSince::AnotherDisk));
        };
        // A resize is a change that no list describes. It is the same disk only if its id says so.
        if disk.size != self.grid.disk_bytes && self.identity.disk_id.is_none() {
            return Err(wrong(point.id, WrongSince::AnotherSize));
        }
        Ok(Base::new(point, disk))
    }

    /// The base that Hyper-V's answer counts from, and the layer; or why there is none.
    fn rct_base(&self, point: &RestorePoint) -> std::result::Result<(Base, usize), String> {
        let identity = self.identity;
        if identity.disk_id.is_none() {
            return Err("the disk has no id".to_owned());
        }
        let disk = identity.find(point, self.alone).ok_or_else(|| {
            let twins = point.disks.iter().any(|disk| identity.shares_id(disk));
            let id = point.id;
            if twins {
                format!("several disks have this id, and none of restore point {id} hung here")
            } else {
                format!("restore point {id} does not hold this disk")
            }
        })?;
        if let Some(reason) = self.resized(disk) {
            return Err(reason);
        }
        let name = disk.sealed_in.as_deref().ok_or_else(|| {
            format!(
                "restore point {} does not say which file its changes count from",
                point.id
            )
        })?;
        match layers::find(self.disk, name) {
            layers::Found::At(index) => Ok((Base::new(point, disk), index)),
            layers::Found::Nowhere => Err(format!(
                "changes count from the file {name}, which is no longer part of the disk"
            )),
            layers::Found::Often(times) => Err(format!(
                "changes count from the file {name}, and {times} files of the disk have this name"
            )),
        }
    }

    fn resized(&self, base: &PointDisk) -> Option<String> {
        (base.size != self.grid.disk_bytes).then(|| {
            format!(
                "the disk changed its size from {} to {} bytes",
                base.size, self.grid.disk_bytes
            )
        })
    }
}

fn wrong(since: PointId, reason: WrongSince) -> Error {
    Error::WrongSince { since, reason }
}

/// Refuses another disk than the newest point of a machine of one disk holds.
pub(crate) fn check_identity(
    points: &[RestorePoint],
    machine: &str,
    name: &str,
    disk_id: Option<&str>,
) -> Result<()> {
    let unnamed = || "without an id".to_owned();
    let latest = latest(points, machine).and_then(|point| point.disks.first());
    match latest {
        Some(before) if before.disk_id.as_deref() != disk_id => Err(Error::AnotherDisk {
            name: name.to_owned(),
            expected: before.disk_id.clone().unwrap_or_else(unnamed),
            found: disk_id.map_or_else(unnamed, str::to_owned),
        }),
        _ => Ok(()),
    }
}

/// The newest of the points of a machine, which come newest first.
pub(crate) fn latest<'a>(points: &'a [RestorePoint], machine: &str) -> Option<&'a RestorePoint> {
    points
        .iter()
        .find(|point| point.machine == machine && !point.disks.is_empty())
}

/// Whether a disk was taken for the base's although it hangs somewhere else: only its id says so.
pub(crate) fn is_by_id_alone(identity: Identity<'_>, basis: &Basis) -> bool {
    let patched = matches!(basis.method, Method::List | Method::Rct);
    let base = basis.base.as_ref().filter(|_| patched);
    base.is_some_and(|base| base.disk.location.as_deref() != identity.location)
}
