//! GUIDs as Windows writes them: the first three fields little-endian, the rest as bytes.

use std::fmt;
use std::str::FromStr;

/// A GUID in Microsoft's binary order, exactly as it stands in a VHDX file.
///
/// ```
/// # use hypercbt_vhdx::Guid;
/// let bat: Guid = "{2DC27766-F623-4200-9D64-115E9BFD4A08}".parse()?;
/// assert_eq!(bat.0[..4], [0x66, 0x77, 0xC2, 0x2D]);
/// assert_eq!(bat.to_string(), "2dc27766-f623-4200-9d64-115e9bfd4a08");
/// # Ok::<(), hypercbt_vhdx::InvalidGuid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

/// The text is not a GUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID: expected 8-4-4-4-12 hexadecimal digits")]
pub struct InvalidGuid;

/// Where the text's n-th pair of digits goes in the binary form.
const BINARY_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// All zero: "none" wherever the format has an optional GUID.
    pub const ZERO: Self = Self([0; 16]);

    /// Makes a GUID from its written form, as a constant: `0x2DC27766, 0xF623, 0x4200, 0x9D64_115E9BFD4A08`.
    pub const fn from_fields(first: u32, second: u16, third: u16, rest: u64) -> Self {
        let (first, second, third) = (
            first.to_le_bytes(),
            second.to_le_bytes(),
            third.to_le_bytes(),
        );
        let rest = rest.to_be_bytes();
        let mut guid = [0; 16];
        let (head, tail) = guid.split_at_mut(8);
        let (head, middle) = head.split_at_mut(4);
        let (second_place, third_place) = middle.split_at_mut(2);
        head.copy_from_slice(&first);
        second_place.copy_from_slice(&second);
        third_place.copy_from_slice(&third);
        tail.copy_from_slice(&rest);
        Self(guid)
    }

    /// A random GUID, version 4 (RFC 9562 5.4), of these random bytes: the version is in the third field, which is
    /// little-endian.
    pub const fn version_4(mut random: [u8; 16]) -> Self {
        let [_, _, _, _, _, _, _, version, variant, ..] = &mut random;
        *version = *version & 0x0F | 0x40;
        *variant = *variant & 0x3F | 0x80;
        Self(random)
    }

    /// Whether this is [`Guid::ZERO`].
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in BINARY_ORDER.iter().enumerate() {
            if matches!(place, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            let byte = self.0.get(*byte).copied().unwrap_or_default();
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Guid {
    type Err = InvalidGuid;

    /// Takes both cases, with or without braces.
    fn from_str(text: &str) -> Result<Self, InvalidGuid> {
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or(InvalidGuid)?,
            None => text,
        };
        let groups: Vec<&str> = inner.split('-').collect();
        if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
            return Err(InvalidGuid);
        }
        let digits = groups.concat().into_bytes();
        let mut guid = [0; 16];
        for (pair, byte) in digits.chunks_exact(2).zip(BINARY_ORDER) {
            let value = pair.iter().try_fold(0_u8, |value, digit| {
                let digit = char::from(*digit).to_digit(16)?;
                Some(value << 4 | u8::try_from(digit).ok()?)
            });
            if let (Some(place), Some(value)) = (guid.get_mut(byte), value) {
                *place = value;
            } else {
                return Err(InvalidGuid);
            }
        }
        Ok(Self(guid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_fields_are_little_endian() {
        let guid = Guid::from_fields(0x0011_2233, 0x4455, 0x6677, 0x8899_AABB_CCDD_EEFF);
        assert_eq!(guid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(
            guid.0[..8],
            [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]
        );
        assert_eq!(
            guid.0[8..],
            [0x88, 0x99, 0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0xFF]
        );
    }

    #[test]
    fn text_is_read_in_both_cases_and_with_or_without_braces() {
        let guid = Guid::from_fields(0xF88D_4D92, 0xABCD, 0x4EF0, 0x8899_AABB_CCDD_EEFF);
        let text = guid.to_string();
        assert_eq!(text.parse(), Ok(guid));
        assert_eq!(format!("{{{text}}}").parse(), Ok(guid));
        assert_eq!(text.to_uppercase().parse(), Ok(guid));
    }

    #[test]
    fn what_is_no_guid_is_refused() {
        for text in [
            "",
            "{}",
            "{00112233-4455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeeff}",
            "00112233445566778899aabbccddeeff",
            "0011223-34455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeefg",
            "00112233-4455-6677-8899-aabbccddee\u{fc}",
            "+0112233-4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(InvalidGuid), "{text}");
        }
    }
}
