//! The envelope around every small object: config, leases, restore points and their like (format §2).
//!
//! An object is read whole and is either what was written or refused: a checksum over the header, so that no
//! length is believed before it was checked, and a hash over all of it.

use std::io;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{Damage, Error, Result, Storage};

/// The newest format that this version reads, and the one that it writes.
pub(crate) const FORMAT: u16 = 0;

const SIGNATURE: &[u8; 8] = b"HCBTOBJ\0";
const HEADER: usize = 64;
const HASH: usize = 32;
const MOST_PAYLOAD: u32 = 64 << 20;

/// What an object holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ObjectKind {
    /// What holds for the whole repository.
    Config = 1,
    /// A run has begun.
    Lease = 2,
    /// A run has ended.
    Closed = 3,
    /// A restore point.
    Point = 4,
    /// A run was declared dead before it made its restore point.
    Tombstone = 5,
    /// What a later incremental can start from.
    Baseline = 6,
    /// Places whose bytes do not check.
    Damage = 7,
    /// Parts of a disk that some restore points hold wrongly.
    Suspect = 8,
    /// Baselines that can no longer be built on.
    Void = 9,
}

impl ObjectKind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Config,
            2 => Self::Lease,
            3 => Self::Closed,
            4 => Self::Point,
            5 => Self::Tombstone,
            6 => Self::Baseline,
            7 => Self::Damage,
            8 => Self::Suspect,
            9 => Self::Void,
            _ => return None,
        })
    }
}

/// Wraps a payload.
///
/// # Errors
/// [`Damage::Length`] if the payload is larger than an object may be.
pub fn seal(name: &str, kind: ObjectKind, payload: &[u8]) -> Result<Vec<u8>> {
    let len = u32::try_from(payload.len())
        .ok()
        .filter(|&len| len <= MOST_PAYLOAD);
    let len = len.ok_or_else(|| Error::damaged(name, Damage::Length))?;
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + HASH);
    bytes.extend_from_slice(SIGNATURE);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, 0]);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.resize(HEADER - 4, 0); // no key, no nonce, reserved
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend_from_slice(payload);
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    Ok(bytes)
}

/// Checks an object and gives its kind and its payload.
///
/// # Errors
/// [`Error::Damaged`] if it is not what was written, [`Error::NewerFormat`] if it is from a later version.
pub fn open<'a>(name: &str, bytes: &'a [u8]) -> Result<(ObjectKind, &'a [u8])> {
    let damaged = |reason| move || Error::damaged(name, reason);
    let (header, rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or_else(damaged(Damage::Length))?;
    let (covered, checksum) = header
        .split_last_chunk::<4>()
        .ok_or_else(damaged(Damage::Length))?;
    if !header.starts_with(SIGNATURE) {
        return Err(damaged(Damage::Signature)());
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
        return Err(damaged(Damage::Checksum)());
    }
    let [.., f0, f1, kind, reserved, l0, l1, l2, l3] = *header
        .first_chunk::<16>()
        .ok_or_else(damaged(Damage::Length))?;
    let found = u16::from_le_bytes([f0, f1]);
    if found > FORMAT {
        return Err(Error::NewerFormat {
            name: name.to_owned(),
            found,
            supported: FORMAT,
        });
    }
    // Reserved, key id, nonce, reserved: a reader refuses what it does not know.
    let (key, others) = covered
        .get(16..)
        .and_then(|tail| tail.split_at_checked(40))
        .unwrap_or_default();
    if key.iter().any(|&byte| byte != 0) {
        return Err(damaged(Damage::Encrypted)());
    }
    let kind = ObjectKind::from_byte(kind)
        .filter(|_| reserved == 0 && others.iter().all(|&byte| byte == 0));
    let kind = kind.ok_or_else(damaged(Damage::Field))?;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let (payload, hash) = rest
        .split_last_chunk::<HASH>()
        .ok_or_else(damaged(Damage::Length))?;
    if len > MOST_PAYLOAD || payload.len() as u64 != u64::from(len) {
        return Err(damaged(Damage::Length)());
    }
    let hashed = bytes.get(..HEADER + payload.len()).unwrap_or_default();
    if blake3::hash(hashed) != *hash {
        return Err(damaged(Damage::Checksum)());
    }
    Ok((kind, payload))
}

/// Reads an object whole, unless it is longer than any object may be.
pub(crate) fn read(storage: &dyn Storage, name: &str) -> Result<Vec<u8>> {
    let len = storage.len(name).map_err(Error::storage("read", name))?;
    let most = HEADER as u64 + u64::from(MOST_PAYLOAD) + HASH as u64;
    let len = usize::try_from(len).ok().filter(|_| len <= most);
    let mut bytes = vec![0; len.ok_or_else(|| Error::damaged(name, Damage::Length))?];
    storage
        .read_exact_at(name, &mut bytes, 0)
        .map_err(Error::storage("read", name))?;
    Ok(bytes)
}

/// Reads an object of this kind.
pub(crate) fn load<T: DeserializeOwned>(
    storage: &dyn Storage,
    name: &str,
    kind: ObjectKind,
) -> Result<T> {
    let bytes = read(storage, name)?;
    let (found, payload) = open(name, &bytes)?;
    if found != kind {
        return Err(Error::damaged(name, Damage::Field));
    }
    parse(name, payload)
}

/// Reads an object of this kind, `None` if there is none.
pub(crate) fn find<T: DeserializeOwned>(
    storage: &dyn Storage,
    name: &str,
    kind: ObjectKind,
) -> Result<Option<T>> {
    match load(storage, name, kind) {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.map(Some),
    }
}

/// Whether there is an object of this name, be it damaged or not.
pub(crate) fn exists(storage: &dyn Storage, name: &str) -> Result<bool> {
    match storage.len(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|_| true).map_err(Error::storage("read", name)),
    }
}

/// Makes an object; the error's source is [`std::io::ErrorKind::AlreadyExists`] if there is one already.
pub(crate) fn create(
    storage: &dyn Storage,
    name: &str,
    kind: ObjectKind,
    payload: &impl Serialize,
) -> Result<()> {
    let bytes = sealed(name, kind, payload)?;
    storage
        .create_exclusive(name, &bytes)
        .map_err(Error::storage("create", name))
}

/// The whole bytes of an object with this payload.
pub(crate) fn sealed(name: &str, kind: ObjectKind, payload: &impl Serialize) -> Result<Vec<u8>> {
    // Payloads are plain structs of ours: what can fail is a map whose keys are no strings, and there is none.
    let json = serde_json::to_vec(payload).map_err(|_| Error::damaged(name, Damage::Field))?;
    seal(name, kind, &json)
}

/// Decodes a payload: what has not all of our fields, or text in place of a number, is no object of ours.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, payload: &[u8]) -> Result<T> {
    serde_json::from_slice(payload).map_err(|_| Error::damaged(name, Damage::Field))
}

/// A field that can be null, and must be there all the same: serde by itself takes a missing one for null.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> std::result::Result<Option<T>, D::Error> {
    Option::deserialize(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    const NAME: &str = "lease/a";

    fn sample() -> Vec<u8> {
        seal(NAME, ObjectKind::Lease, b"{\"a\":1}").unwrap()
    }

    fn reason(bytes: &[u8]) -> Damage {
        match open(NAME, bytes) {
            Err(Error::Damaged { name, reason }) if name == NAME => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Changes header bytes and makes the checksum and the hash right again.
    fn changed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = sample();
        change(&mut bytes[..HEADER - 4]);
        let checksum = crc32c::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..HEADER].copy_from_slice(&checksum.to_le_bytes());
        let end = bytes.len() - HASH;
        let hash = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(hash.as_bytes());
        bytes
    }

    #[test]
    fn an_object_is_ninety_six_bytes_and_its_payload() {
        let bytes = sample();
        assert_eq!(bytes.len(), 96 + 7);
        assert_eq!(bytes[..16], *b"HCBTOBJ\0\0\0\x02\0\x07\0\0\0");
        assert_eq!(
            open(NAME, &bytes).unwrap(),
            (ObjectKind::Lease, &b"{\"a\":1}"[..])
        );
    }

    #[test]
    fn every_flipped_bit_and_every_lost_byte_is_found() {
        let bytes = sample();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(open(NAME, &flipped), Err(Error::Damaged { .. })),
                "bit {bit}"
            );
        }
        for len in 0..bytes.len() {
            assert!(
                matches!(open(NAME, &bytes[..len]), Err(Error::Damaged { .. })),
                "{len} bytes"
            );
        }
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!(reason(&longer), Damage::Length);
    }

    #[test]
    fn a_newer_format_is_named_and_not_called_damage() {
        let newer = changed(|header| header[8..10].copy_from_slice(&258u16.to_le_bytes()));
        let error = open(NAME, &newer).unwrap_err();
        assert!(
            matches!(
                error,
                Error::NewerFormat {
                    found: 258,
                    supported: 0,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn what_this_version_does_not_know_is_refused_though_it_checks() {
        assert_eq!(reason(&changed(|header| header[10] = 10)), Damage::Field);
        assert_eq!(reason(&changed(|header| header[11] = 1)), Damage::Field);
        assert_eq!(reason(&changed(|header| header[16] = 1)), Damage::Encrypted);
        assert_eq!(reason(&changed(|header| header[55] = 1)), Damage::Encrypted);
        assert_eq!(reason(&changed(|header| header[56] = 1)), Damage::Field);
        assert_eq!(reason(&changed(|header| header[59] = 1)), Damage::Field);
        assert_eq!(reason(&changed(|header| header[12] = 8)), Damage::Length);
        assert_eq!(
            reason(&changed(|header| header[12..16].fill(0xff))),
            Damage::Length
        );
    }

    #[test]
    fn an_object_longer_than_any_may_be_is_not_even_read() {
        struct Huge;
        impl Storage for Huge {
            fn len(&self, _: &str) -> std::io::Result<u64> {
                Ok(u64::MAX)
            }
            fn begin(&self, _: &str) -> std::io::Result<Box<dyn crate::Upload>> {
                unreachable!()
            }
            fn create_exclusive(&self, _: &str, _: &[u8]) -> std::io::Result<()> {
                unreachable!()
            }
            fn read_exact_at(&self, _: &str, _: &mut [u8], _: u64) -> std::io::Result<()> {
                unreachable!()
            }
            fn list(&self, _: &str) -> std::io::Result<Vec<(String, u64)>> {
                unreachable!()
            }
            fn delete(&self, _: &str) -> std::io::Result<()> {
                unreachable!()
            }
            fn remove_unfinished(&self, _: &str) -> std::io::Result<()> {
                unreachable!()
            }
        }
        assert!(matches!(
            read(&Huge, NAME),
            Err(Error::Damaged {
                reason: Damage::Length,
                ..
            })
        ));
    }

    #[test]
    fn an_object_of_another_kind_or_form_is_refused() {
        let storage = MemoryStorage::new();
        create(&storage, NAME, ObjectKind::Lease, &[1, 2]).unwrap();
        let other = load::<Vec<u8>>(&storage, NAME, ObjectKind::Closed).unwrap_err();
        assert!(matches!(
            other,
            Error::Damaged {
                reason: Damage::Field,
                ..
            }
        ));
        let other = load::<String>(&storage, NAME, ObjectKind::Lease).unwrap_err();
        assert!(matches!(
            other,
            Error::Damaged {
                reason: Damage::Field,
                ..
            }
        ));
        assert_eq!(
            load::<Vec<u8>>(&storage, NAME, ObjectKind::Lease).unwrap(),
            [1, 2]
        );
        assert_eq!(
            find::<Vec<u8>>(&storage, "lease/b", ObjectKind::Lease).unwrap(),
            None
        );
    }
}
