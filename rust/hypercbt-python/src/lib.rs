//! `hypercbt._native`: the Rust core as Python sees it. Conversions only: nothing here decides.
#![allow(
    clippy::needless_pass_by_value,
    reason = "PyO3 hands over owned values, and errors are converted where they end"
)]

mod backup;
mod bounds;
mod buffer;
mod chunks;
mod disk;
mod documents;
mod error;
mod extents;
mod faults;
mod machine_run;
mod nbd;
mod point_disk;
mod progress;
mod random;
mod repository;
mod restore;
mod tracked;
mod tracked_export;
mod verify;

use pyo3::prelude::*;

#[pymodule]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::chunks::{ChunkIndex, chunk_ids};
    #[pymodule_export]
    use crate::disk::VirtualDisk;
    #[pymodule_export]
    use crate::extents::Extents;
    #[pymodule_export]
    use crate::machine_run::MachineRun;
    #[pymodule_export]
    use crate::nbd::NbdServer;
    #[pymodule_export]
    use crate::point_disk::PointDisk;
    #[pymodule_export]
    use crate::repository::Repository;
    #[pymodule_export]
    use crate::tracked::TrackedDisk;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
