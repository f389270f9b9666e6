//! Trees of different heights, seen from the same places.
//!
//! Seen from above its root, a tree is the first child of the first child of … of a node that does not exist.

use std::sync::Arc;

use super::{Node, NodeSource, Place, TreeShape, load};
use crate::{NodeId, Result};

/// What a tree has at a place: a subtree of that level, or a whole tree that is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifted {
    id: NodeId,
    level: u8,
}

/// The children of what a tree has at a place.
pub(super) enum Branch {
    Null,
    Node(Arc<Node>),
    Above(Lifted),
}

impl Lifted {
    /// What stands at any place at the left edge that is as high as the tree or higher.
    pub(super) fn tree(root: Option<NodeId>, chunks: u64) -> Option<Self> {
        let level = TreeShape::new(chunks).height();
        root.map(|id| Self { id, level })
    }

    pub(super) fn node(id: NodeId, level: u8) -> Self {
        Self { id, level }
    }
}

impl Branch {
    pub(super) fn load(
        source: &dyn NodeSource,
        at: Option<Lifted>,
        place: Place,
        chunks: u64,
    ) -> Result<Self> {
        Ok(match at {
            None => Self::Null,
            Some(at) if at.level < place.level() => Self::Above(at),
            Some(at) => Self::Node(load(source, at.id, place, chunks)?),
        })
    }

    /// The id of a chunk, where this is a leaf.
    pub(super) fn chunk(&self, index: usize) -> Option<[u8; 32]> {
        match self {
            Self::Node(node) => node.child(index),
            Self::Null | Self::Above(_) => None,
        }
    }

    /// What stands at a child's place, where this is no leaf.
    pub(super) fn child(&self, index: usize) -> Option<Lifted> {
        match self {
            Self::Node(node) => node.child(index).map(|id| Lifted {
                id: NodeId(id),
                level: node.level().saturating_sub(1),
            }),
            Self::Above(tree) if index == 0 => Some(*tree),
            Self::Null | Self::Above(_) => None,
        }
    }
}
