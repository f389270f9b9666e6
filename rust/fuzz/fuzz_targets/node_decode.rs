//! A tree node of any bytes: what decodes has these bytes and no others.
#![no_main]

use hypercbt_repo::tree::Node;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(node) = Node::decode(bytes) {
        assert_eq!(node.encode(), bytes);
        assert!((1..=node.children().len()).contains(&node.count()));
    }
});
