//! The map of one disk at one restore point: a persistent Merkle radix tree (`docs/repository-format.md` §4).
//!
//! ```text
//! level 2                    [ root ]                 256 children each
//! level 1          [ node ]    null     [ node ]      256 children each
//! level 0     [ leaf ] null [ leaf ]       …          64 chunks each
//! ```
//!
//! Nodes are named by their content, and a subtree that is all zero is null: equal stretches of any two
//! disks or restore points are one subtree. So what is written costs the paths that changed, and a
//! difference costs what differs. Everything here holds a path of nodes at a time, never a disk.
//!
//! Nodes are untrusted: each is checked against the place where it stands ([`Place`]), which also bounds the depth.

mod builder;
mod diff;
mod lifted;
mod node;
mod reader;
mod shape;
mod walk;

pub use builder::TreeBuilder;
pub use diff::{Diff, diff};
pub use node::Node;
pub use reader::{Cursor, Leaf, Leaves, TreeReader};
pub use shape::{FAN_OUT, LEAF_CHUNKS, Place, TreeShape};
pub use walk::{Visit, Visited, Walk, chunks_since, walk};

use std::sync::Arc;

use crate::{Damage, Error, NodeId, RecordKind, Result, codec::record_name};

/// Where nodes come from. It answers with what has the id, or with an error.
pub trait NodeSource {
    /// The node with this id.
    fn node(&self, id: NodeId) -> Result<Arc<Node>>;
}

/// Where new nodes go.
pub trait NodeSink {
    /// Keeps a node. The same node can come more than once.
    fn put(&mut self, id: NodeId, bytes: Vec<u8>) -> Result<()>;
}

/// Loads a node, and checks that it can stand at this place of a disk of so many chunks.
fn load(source: &dyn NodeSource, id: NodeId, place: Place, chunks: u64) -> Result<Arc<Node>> {
    let node = source.node(id)?;
    let within = node.level() == place.level() && place.child_first(node.last_child()) < chunks;
    if !within {
        let name = record_name(RecordKind::Node, &id.0);
        return Err(Error::damaged(&name, Damage::Field));
    }
    Ok(node)
}

#[cfg(test)]
mod tests;
