//! What the fuzz targets share: inputs that are small but describe large files, and what to do with them.

#[path = "../../hypercbt-vhdx/tests/common/mod.rs"]
pub mod common;
pub mod vhd;
pub mod vhdx;
