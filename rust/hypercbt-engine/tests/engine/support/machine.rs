//! A machine of several disks, its runs, and how a run is known to have failed.

use hypercbt_engine::{Error, MachineRun, Observer, Silent, Turn, Wanted};
use hypercbt_extent::Extents;
use hypercbt_repo::RestorePoint;
use hypercbt_vhdx::VirtualDisk;

use super::{Chain, DAY, FakeClock, Lab, rct};

pub(crate) const PLACES: [&str; 3] = ["SCSI 0:0", "SCSI 0:1", "SCSI 0:2"];

/// A machine with disks of 40 chunks, and its first point.
pub(crate) struct Machine {
    pub(crate) lab: Lab,
    pub(crate) disks: Vec<Chain>,
    pub(crate) first: RestorePoint,
}

impl Machine {
    pub(crate) fn new(ids: &[u8]) -> Self {
        let mut lab = Lab::new();
        let disks: Vec<Chain> = ids.iter().map(|id| Chain::new(*id, 40)).collect();
        let opened: Vec<VirtualDisk> = disks.iter().map(Chain::open).collect();
        let mut run = lab.begin(&[]);
        for (disk, place) in opened.iter().zip(PLACES) {
            read(&lab, &mut run, disk, place, Wanted::Full).unwrap();
        }
        let first = run.commit(Some("application")).unwrap();
        assert!(run.close().is_none());
        let mut machine = Self { lab, disks, first };
        for disk in &mut machine.disks {
            disk.seal();
        }
        machine.lab.now += DAY;
        machine
    }

    /// A run that reads each disk by what its own tracking says.
    pub(crate) fn rct(&mut self, observer: &mut dyn Observer) -> Result<RestorePoint, Error> {
        let changes: Vec<Extents> = self.disks.iter_mut().map(Chain::seal).collect();
        let mut run = self.lab.begin(&[self.first.id]);
        for ((chain, place), changes) in self.disks.iter().zip(PLACES).zip(changes) {
            let open = chain.open();
            let request = self.lab.of_machine(&open, place, rct(changes, &self.first));
            run.backup_disk(&request, observer)?;
        }
        let point = run.commit(None)?;
        assert!(run.close().is_none());
        Ok(point)
    }

    pub(crate) fn assert_holds(&self, point: &RestorePoint) {
        for (index, chain) in (0..).zip(&self.disks) {
            let content = self.lab.content_of(point, index).unwrap();
            assert!(content == chain.bytes, "disk {index} differs");
        }
    }
}

pub(crate) fn read(
    lab: &Lab,
    run: &mut MachineRun<FakeClock>,
    disk: &VirtualDisk,
    place: &str,
    wanted: Wanted,
) -> Result<(), Error> {
    run.backup_disk(&lab.of_machine(disk, place, wanted), &mut Silent)
        .map(drop)
}

pub(crate) fn turn<T: std::fmt::Debug>(result: Result<T, Error>) -> Turn {
    match result.unwrap_err() {
        Error::OutOfTurn { turn } => turn,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn assert_failed(run: &mut MachineRun<FakeClock>) {
    assert_eq!(turn(run.commit(None)), Turn::Failed);
}
