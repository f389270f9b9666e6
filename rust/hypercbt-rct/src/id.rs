//! RCT ids, in Hyper-V's form: `rctX:8:4:4:4:12:8` hexadecimal digits.

use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "rctX";
/// The numbers of digits of the parts of the session's GUID.
const GUID_DIGITS: [usize; 5] = [8, 4, 4, 4, 12];

/// Names the moment of a seal. Opaque for users: only the whole of it means anything.
///
/// ```
/// # use hypercbt_rct::RctId;
/// let text = "rctX:0a1b2c3d:4e5f:6071:8293:a4b5c6d7e8f9:0000002a";
/// let id: RctId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// # Ok::<(), hypercbt_rct::InvalidRctId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RctId {
    /// Random, new each time the tracker is opened; in the text its bytes come in order.
    pub(crate) session: [u8; 16],
    /// Grows by one at each seal of the tracker's life.
    pub(crate) counter: u32,
}

/// The text is no RCT id of this tracker's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RCT id: expected rctX:8:4:4:4:12:8 hexadecimal digits")]
pub struct InvalidRctId;

impl fmt::Display for RctId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        let mut bytes = self.session.iter();
        for digits in GUID_DIGITS {
            f.write_str(":")?;
            for byte in bytes.by_ref().take(digits / 2) {
                write!(f, "{byte:02x}")?;
            }
        }
        write!(f, ":{:08x}", self.counter)
    }
}

impl fmt::Debug for RctId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RctId({self})")
    }
}

impl FromStr for RctId {
    type Err = InvalidRctId;

    fn from_str(text: &str) -> Result<Self, InvalidRctId> {
        let mut parts = text.split(':');
        if parts.next() != Some(PREFIX) {
            return Err(InvalidRctId);
        }
        let mut guid = 0u128;
        for digits in GUID_DIGITS {
            let part = hex(parts.next(), digits)?;
            // Twelve digits at most: 48 bits of a number of 128.
            guid = (guid << (4 * digits)) | u128::from(part);
        }
        let counter = u32::try_from(hex(parts.next(), 8)?).map_err(|_| InvalidRctId)?;
        match parts.next() {
            None => Ok(Self {
                session: guid.to_be_bytes(),
                counter,
            }),
            Some(_) => Err(InvalidRctId),
        }
    }
}

/// A part of exactly so many hexadecimal digits. `from_str_radix` alone would take a sign.
fn hex(part: Option<&str>, digits: usize) -> Result<u64, InvalidRctId> {
    let part = part
        .filter(|part| part.len() == digits)
        .ok_or(InvalidRctId)?;
    if !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(InvalidRctId);
    }
    u64::from_str_radix(part, 16).map_err(|_| InvalidRctId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_the_sessions_bytes_in_order_and_the_counter() {
        let id = RctId {
            session: *b"0123456789abcdef",
            counter: 0xBEEF,
        };
        let text = "rctX:30313233:3435:3637:3839:616263646566:0000beef";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for text in [
            "",
            "rctX",
            "rctY:30313233:3435:3637:3839:616263646566:0000beef",
            "rctX:30313233:3435:3637:3839:616263646566:beef",
            "rctX:30313233:3435:3637:3839:616263646566",
            "rctX:30313233:3435:3637:3839:616263646566:0000beef:",
            "rctX:3031323:33435:3637:3839:616263646566:0000beef",
            "rctX:30313233:3435:3637:3839:61626364656g:0000beef",
            "rctX:+0313233:3435:3637:3839:616263646566:0000beef",
            " rctX:30313233:3435:3637:3839:616263646566:0000beef",
        ] {
            assert_eq!(text.parse::<RctId>(), Err(InvalidRctId), "{text}");
        }
    }
}
