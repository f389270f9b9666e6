//! The errors that the protocol has numbers for.

use std::io::{self, ErrorKind};

/// An error as a client is told (NBD "Error values").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    NotPermitted,
    Io,
    NoMemory,
    Invalid,
    NoSpace,
    Overflow,
}

impl Errno {
    /// Its number on the wire, whatever this system's own is.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::NotPermitted => 1,
            Self::Io => 5,
            Self::NoMemory => 12,
            Self::Invalid => 22,
            Self::NoSpace => 28,
            Self::Overflow => 75,
        }
    }
}

/// What a failed call of the disk is called. What has no number of its own is an I/O error.
impl From<&io::Error> for Errno {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::NotPermitted,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::NoSpace
            }
            ErrorKind::InvalidInput | ErrorKind::Unsupported => Self::Invalid,
            ErrorKind::OutOfMemory => Self::NoMemory,
            _ => Self::Io,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_says_what_the_client_is_told() {
        let cases = [
            (ErrorKind::PermissionDenied, 1),
            (ErrorKind::ReadOnlyFilesystem, 1),
            (ErrorKind::OutOfMemory, 12),
            (ErrorKind::InvalidInput, 22),
            (ErrorKind::Unsupported, 22),
            (ErrorKind::StorageFull, 28),
            (ErrorKind::QuotaExceeded, 28),
            (ErrorKind::FileTooLarge, 28),
            (ErrorKind::InvalidData, 5),
            (ErrorKind::Other, 5),
        ];
        for (kind, number) in cases {
            assert_eq!(
                Errno::from(&io::Error::from(kind)).number(),
                number,
                "{kind}"
            );
        }
    }
}
