//! A VHDX that is written in place: what it reads as, what is in its file, and what it does when storage fails.

#[path = "../common/mod.rs"]
mod common;
mod model;
mod support;
