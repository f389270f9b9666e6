//! The names of things: chunks, nodes, packs, runs, repositories.

use std::{fmt, str::FromStr};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let mut bytes = [0; $len];
                decode_hex(text, &mut bytes)?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// The BLAKE3 of a chunk's plain bytes.
    ChunkId,
    32
);
id!(
    /// The BLAKE3 of a tree node's bytes, in a namespace of its own (format §4).
    NodeId,
    32
);
id!(
    /// The BLAKE3 of a pack's file, and its name.
    PackName,
    32
);
id!(
    /// The BLAKE3 of an index segment's file, and its name.
    SegmentName,
    32
);
id!(
    /// 16 random bytes that name a run, its lease and its restore point.
    RunId,
    16
);
id!(
    /// 16 random bytes that name a repository.
    RepositoryId,
    16
);

/// A restore point is named by the run that made it.
pub type PointId = RunId;

/// Text that is not an id in lower-case hex of the right length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of {digits} lower-case hex digits")]
pub struct InvalidId {
    /// How many digits it should have.
    pub digits: usize,
}

fn decode_hex(text: &str, bytes: &mut [u8]) -> Result<(), InvalidId> {
    let wrong = InvalidId {
        digits: bytes.len() * 2,
    };
    if text.len() != wrong.digits {
        return Err(wrong);
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = *pair else {
            return Err(wrong);
        };
        *byte = digit(high).ok_or(wrong)? << 4 | digit(low).ok_or(wrong)?;
    }
    Ok(())
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        let id = RunId(*b"\x00\x01\x7f\x80\xfe\xff0123456789");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn upper_case_and_odd_lengths_are_not_ids() {
        assert!("AB".repeat(16).parse::<RunId>().is_err());
        assert!("ab".repeat(15).parse::<RunId>().is_err());
        assert!("é".repeat(16).parse::<RunId>().is_err());
    }
}
