//! Serves a virtual disk over NBD, the network block device protocol.
//!
//! ```text
//!                      ┌ reader ─ requests ─┬─ worker ─┐
//! client ── socket ────┤                    ├─ worker ─┼── Export: the disk
//!                      └ replies ───────────┴─ worker ─┘
//! ```
//!
//! A [`Server`] listens on a Unix socket, or on loopback TCP, and gives each connection a reader and a
//! few workers, so that a slow request holds up no other. Whatever implements [`Export`] can be
//! served; this crate knows neither restore points nor VHDX files.
//!
//! The protocol is that of <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>,
//! cited as `NBD` with the heading: fixed newstyle negotiation, structured replies with holes, block
//! status (`base:allocation`), flush, FUA, trim, zeroes, several connections. No TLS: a Unix socket
//! is guarded by its mode, and other machines are never listened to.
//!
//! Everything that a peer sends is untrusted. It gets the protocol's own errors, or the connection is
//! ended; it never causes a panic, or an allocation that [`Options`] does not allow.
//!
//! # Why not a library
//!
//! Looked at in November 2026: `nbd` 0.3.1 (MIT/Apache-2.0) calls itself a rather early version, takes
//! one request at a time from a cursor, and knows neither structured replies nor block status;
//! `tokio-nbd` 0.3.0 is GPL-2.0-or-later and asynchronous, without structured replies; `nbdkit` 0.3.0
//! (BSD) binds to the C program of that name, whose plugins are shared libraries that it loads. Without
//! block status holes cannot be told, and that is what makes a restore point cheap to read.
#![forbid(unsafe_code)]

mod address;
mod answer;
mod budget;
mod errno;
mod error;
mod export;
mod handshake;
mod listener;
mod option;
mod options;
mod protocol;
mod reply;
mod request;
mod server;
mod session;
mod stats;
mod status;
mod stop;
mod stream;

pub use address::{Address, AddressError};
pub use error::{Error, Result};
pub use export::{Content, Export};
pub use options::Options;
pub use protocol::Command;
pub use server::Server;
pub use session::serve_stream;
pub use stats::{Failure, Stats, Violation};
pub use stop::Stop;
