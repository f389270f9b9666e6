//! One node of a disk tree, and its one way to be written.

use crate::Damage;

use super::shape::children_at;

/// No disk whose chunks can be counted in 64 bits has a higher tree.
const MAX_LEVEL: u8 = 8;

/// A leaf with the ids of its chunks, or an inner node with the ids of its children.
///
/// Equal nodes have equal bytes and so equal ids: null children take none, and there is no other choice to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    level: u8,
    /// As many as the level has, not all of them null.
    children: Box<[Option<[u8; 32]>]>,
}

impl Node {
    /// The node with these children, or `None` if all are null: then there is no node.
    ///
    /// # Panics
    /// If there are not as many children as the level has.
    pub fn new(level: u8, children: Vec<Option<[u8; 32]>>) -> Option<Self> {
        assert_eq!(children.len(), children_at(level));
        children.iter().any(Option::is_some).then(|| Self {
            level,
            children: children.into(),
        })
    }

    /// Decodes a node, if these are its bytes to the last bit.
    ///
    /// # Errors
    /// [`Damage::Length`] if bytes are missing or left over, [`Damage::Field`] for what no writer makes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let ([level, reserved @ .., a, b, c, d], rest) =
            bytes.split_first_chunk::<8>().ok_or(Damage::Length)?;
        if *level > MAX_LEVEL || *reserved != [0; 3] {
            return Err(Damage::Field);
        }
        let count = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        let (bitmap, ids) = rest
            .split_at_checked(children_at(*level) / 8)
            .ok_or(Damage::Length)?;
        let ones: u32 = bitmap.iter().map(|byte| byte.count_ones()).sum();
        if count == 0 || ones as usize != count {
            return Err(Damage::Field);
        }
        let (ids, left_over) = ids.as_chunks();
        if ids.len() != count || !left_over.is_empty() {
            return Err(Damage::Length);
        }
        let mut ids = ids.iter().copied();
        let bits = bitmap
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        let children = bits.map(|present| if present { ids.next() } else { None });
        Ok(Self {
            level: *level,
            children: children.collect(),
        })
    }

    /// The bytes of the node, which its id is the hash of.
    pub fn encode(&self) -> Vec<u8> {
        let ids = self.children.iter().flatten();
        let count = ids.clone().fold(0_u32, |count, _| count + 1);
        let mut bytes = Vec::with_capacity(8 + 32 + self.count() * 32);
        bytes.extend_from_slice(&[self.level, 0, 0, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        for eight in self.children.as_chunks::<8>().0 {
            let bits = eight.iter().rev();
            bytes.push(bits.fold(0, |byte, child| byte << 1 | u8::from(child.is_some())));
        }
        bytes.extend(ids.flatten());
        bytes
    }

    /// The level; 0 is a leaf.
    pub fn level(&self) -> u8 {
        self.level
    }

    /// The ids of all children: of chunks in a leaf, of nodes in an inner node.
    pub fn children(&self) -> &[Option<[u8; 32]>] {
        &self.children
    }

    /// How many children are not null: at least 1.
    pub fn count(&self) -> usize {
        self.children.iter().flatten().count()
    }

    /// The id of one child.
    pub(super) fn child(&self, index: usize) -> Option<[u8; 32]> {
        self.children.get(index).copied().flatten()
    }

    /// The number of the last child that is not null.
    pub(super) fn last_child(&self) -> usize {
        let last = self.children.iter().rposition(Option::is_some);
        last.unwrap_or_default() // always Some: a node is not made without a child
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(level: u8, present: &[usize]) -> Node {
        let mut children = vec![None; children_at(level)];
        for (number, &index) in present.iter().enumerate() {
            children[index] = Some([u8::try_from(number).unwrap() + 1; 32]);
        }
        Node::new(level, children).unwrap()
    }

    #[test]
    fn a_leaf_is_written_as_the_format_says() {
        let bytes = node(0, &[0, 9, 63]).encode();
        assert_eq!(bytes[..8], [0, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(bytes[8..16], [1, 2, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(bytes[16..], [[1; 32], [2; 32], [3; 32]].concat());
    }

    #[test]
    fn an_inner_node_has_a_bitmap_of_256() {
        let bytes = node(2, &[255]).encode();
        assert_eq!(bytes[..8], [2, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(bytes[8..39], [0; 31]);
        assert_eq!(bytes[39..], [&[0x80][..], &[1; 32]].concat());
    }

    #[test]
    fn the_largest_node_has_the_greatest_length() {
        let all: Vec<_> = (0..255).collect();
        let mut bytes = node(1, &all).encode();
        bytes.extend([0; 32]);
        assert_eq!(bytes.len(), crate::MAX_NODE_BYTES as usize);
    }

    #[test]
    fn without_children_there_is_no_node() {
        assert_eq!(Node::new(0, vec![None; 64]), None);
    }

    #[test]
    fn bytes_that_are_missing_or_left_over_are_refused() {
        for node in [node(0, &[3, 4]), node(1, &[3, 4])] {
            let bytes = node.encode();
            for len in 0..bytes.len() {
                assert!(Node::decode(&bytes[..len]).is_err(), "{len}");
            }
            for more in [1, 32] {
                let longer = [&bytes[..], &vec![0; more]].concat();
                assert_eq!(Node::decode(&longer), Err(Damage::Length));
            }
        }
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let cases: [(usize, u8); 5] = [
            (1, 1), // reserved
            (3, 1), // reserved
            (4, 0), // fewer children than bits
            (4, 2), // more
            (8, 0), // no child at all
        ];
        for (at, value) in cases {
            let mut bytes = node(0, &[0]).encode();
            bytes[at] = value;
            assert_eq!(Node::decode(&bytes), Err(Damage::Field), "{value} at {at}");
        }
        let mut too_high = node(8, &[0]).encode();
        too_high[0] = 9;
        assert_eq!(Node::decode(&too_high), Err(Damage::Field));
        let empty = [0; 16];
        assert_eq!(Node::decode(&empty), Err(Damage::Field));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_node_reads_back_as_it_was_written(level in 0..9_u8, seed in prop::collection::vec(any::<(u8, u8)>(), 1..300)) {
            let mut children = vec![None; children_at(level)];
            for (index, value) in seed {
                let index = usize::from(index) % children.len();
                children[index] = Some([value; 32]);
            }
            let node = Node::new(level, children).unwrap();
            prop_assert_eq!(Node::decode(&node.encode()), Ok(node));
        }

        #[test]
        fn whatever_decodes_encodes_to_the_same_bytes(
            level in 0..3_u8,
            count in 0..4_u8,
            bits in prop::collection::vec((0..32_usize, any::<u8>()), 0..3),
            ids in prop::collection::vec(any::<u8>(), 0..140),
        ) {
            let mut bitmap = vec![0; children_at(level) / 8];
            for (at, value) in bits {
                let at = at % bitmap.len();
                bitmap[at] = value & value.wrapping_neg(); // one bit, so that some decode
            }
            let ids = &ids[..ids.len() / 32 * 32];
            let bytes = [&[level, 0, 0, 0, count, 0, 0, 0][..], &bitmap, ids].concat();
            if let Ok(node) = Node::decode(&bytes) {
                prop_assert_eq!(node.encode(), bytes);
            }
        }
    }
}
