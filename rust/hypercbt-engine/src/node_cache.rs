//! Tree nodes that were read a moment ago.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use hypercbt_repo::{
    NodeId, View,
    tree::{Node, NodeSource},
};

/// Nodes in each generation: neighbours share all but the leaf, so a few paths are enough. 1 MiB of inner nodes.
const CACHED_NODES: usize = 128;

/// Recent nodes. When the young generation is full it becomes the old one, and what nobody asked for is forgotten.
#[derive(Default)]
pub(crate) struct NodeCache(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashMap<NodeId, Arc<Node>>,
    old: HashMap<NodeId, Arc<Node>>,
}

impl Generations {
    fn get(&mut self, id: NodeId) -> Option<Arc<Node>> {
        if let Some(node) = self.young.get(&id) {
            return Some(Arc::clone(node));
        }
        let node = self.old.remove(&id)?;
        self.insert(id, Arc::clone(&node));
        Some(node)
    }

    fn insert(&mut self, id: NodeId, node: Arc<Node>) {
        if self.young.len() >= CACHED_NODES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, node);
    }
}

/// The nodes of a view, through a cache.
#[derive(Clone)]
pub(crate) struct CachedNodes<'a> {
    pub(crate) view: &'a View,
    pub(crate) cache: Arc<NodeCache>,
}

impl NodeSource for CachedNodes<'_> {
    fn node(&self, id: NodeId) -> hypercbt_repo::Result<Arc<Node>> {
        let cache = || self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = cache().get(id) {
            return Ok(node);
        }
        let node = self.view.node(id)?;
        cache().insert(id, Arc::clone(&node));
        Ok(node)
    }
}
