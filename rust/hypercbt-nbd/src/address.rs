//! Where a server listens, as people write it and as clients are told.

use std::{
    fmt::{self, Write as _},
    net::{AddrParseError, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port of this machine, for this machine alone.
    Tcp(SocketAddr),
}

/// A text that says `tcp:` and then no address and port.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no address; say a path, or tcp:127.0.0.1:PORT")]
pub struct AddressError {
    text: String,
    #[source]
    source: AddrParseError,
}

impl Address {
    /// The URI that NBD clients take.
    pub fn uri(&self) -> String {
        match self {
            Self::Unix(path) => {
                let path = path.as_os_str().as_encoded_bytes();
                format!("nbd+unix:///?socket={}", percent_encoded(path))
            }
            Self::Tcp(address) => format!("nbd://{address}"),
        }
    }
}

/// `tcp:ADDRESS:PORT`, or else the path of a socket.
impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some(address) = text.strip_prefix("tcp:") else {
            return Ok(Self::Unix(PathBuf::from(text)));
        };
        address
            .parse()
            .map(Self::Tcp)
            .map_err(|source| AddressError {
                text: text.to_owned(),
                source,
            })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

/// Everything but what never needs it (RFC 3986 2.3) and the slash as `%XX`.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_begin_with_tcp_is_a_path() {
        let address: Address = "/run/disk.sock".parse().unwrap();
        assert_eq!(address, Address::Unix("/run/disk.sock".into()));
        assert_eq!(address.to_string(), "/run/disk.sock");
    }

    #[test]
    fn a_tcp_address_is_read_as_it_is_written() {
        for text in ["tcp:127.0.0.1:10809", "tcp:[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_tcp_address_needs_an_address_and_a_port() {
        for text in [
            "tcp:",
            "tcp:10809",
            "tcp:localhost:1",
            "tcp:127.0.0.1",
            "tcp:127.0.0.1:65536",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_uri_of_a_path_survives_any_character() {
        let address = Address::Unix("/tmp/a b/ü?&#%.sock".into());
        let uri = "nbd+unix:///?socket=/tmp/a%20b/%C3%BC%3F%26%23%25.sock";
        assert_eq!(address.uri(), uri);
    }

    #[test]
    fn the_uri_of_a_port_names_it() {
        let address: Address = "tcp:[::1]:10809".parse().unwrap();
        assert_eq!(address.uri(), "nbd://[::1]:10809");
    }
}
