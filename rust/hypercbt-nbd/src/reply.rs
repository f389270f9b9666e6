//! Replies as they stand on the wire, and the one place that writes them.

use std::{
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    errno::Errno,
    protocol::{
        ALLOCATION_ID, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
        chunk::{BLOCK_STATUS, DONE, ERROR, OFFSET_HOLE},
    },
};

/// The bytes of a message to people that a client is sent; the field would hold 65,535.
const MAX_MESSAGE_BYTES: usize = 1024;

/// Names a request among those of its connection; the client chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie(pub(crate) u64);

/// Where all replies of a connection go, from any thread, each whole.
#[derive(Debug)]
pub(crate) struct Replies<W> {
    writer: Mutex<W>,
    broken: AtomicBool,
}

impl<W: Write> Replies<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self {
            writer: Mutex::new(writer),
            broken: AtomicBool::new(false),
        }
    }

    /// Writes a simple reply, or a chunk of a structured one.
    ///
    /// If the peer has gone, so have those that wait for answers: see [`Replies::is_broken`].
    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // After half a reply the rest of the stream means nothing.
        if !self.is_broken() && writer.write_all(bytes).is_err() {
            self.broken.store(true, Ordering::SeqCst);
        }
    }

    /// Whether nobody takes replies any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

/// A simple reply without data.
pub(crate) fn simple(cookie: Cookie, error: Option<Errno>) -> [u8; 16] {
    let mut reply = [0; 16];
    let error = error.map_or(0, Errno::number);
    join(
        &mut reply,
        &[
            &SIMPLE_REPLY_MAGIC.to_be_bytes(),
            &error.to_be_bytes(),
            &cookie.0.to_be_bytes(),
        ],
    );
    reply
}

/// What stands before the payload of a chunk.
pub(crate) fn chunk_head(cookie: Cookie, kind: u16, done: bool, len: u32) -> [u8; 20] {
    let mut head = [0; 20];
    let flags = if done { DONE } else { 0 };
    join(
        &mut head,
        &[
            &STRUCTURED_REPLY_MAGIC.to_be_bytes(),
            &flags.to_be_bytes(),
            &kind.to_be_bytes(),
            &cookie.0.to_be_bytes(),
            &len.to_be_bytes(),
        ],
    );
    head
}

/// A chunk that says that bytes read as zeros.
pub(crate) fn hole(cookie: Cookie, at: u64, len: u32, done: bool) -> Vec<u8> {
    let mut reply = chunk_head(cookie, OFFSET_HOLE, done, 12).to_vec();
    reply.extend(at.to_be_bytes());
    reply.extend(len.to_be_bytes());
    reply
}

/// A last chunk that says what went wrong, to people too.
pub(crate) fn error(cookie: Cookie, error: Errno, message: &str) -> Vec<u8> {
    let message = cut(message);
    let len = u16::try_from(message.len()).expect("a message is cut");
    let mut reply = chunk_head(cookie, ERROR, true, 6 + u32::from(len)).to_vec();
    reply.extend(error.number().to_be_bytes());
    reply.extend(len.to_be_bytes());
    reply.extend(message.as_bytes());
    reply
}

/// A last chunk that says how long which states are.
pub(crate) fn block_status(cookie: Cookie, descriptors: &[(u32, u32)]) -> Vec<u8> {
    let len = u32::try_from(4 + 8 * descriptors.len()).expect("descriptors are bounded");
    let mut reply = chunk_head(cookie, BLOCK_STATUS, true, len).to_vec();
    reply.extend(ALLOCATION_ID.to_be_bytes());
    for (len, state) in descriptors {
        reply.extend(len.to_be_bytes());
        reply.extend(state.to_be_bytes());
    }
    reply
}

/// As much of a message as is sent: whole characters.
fn cut(message: &str) -> &str {
    let mut len = message.len().min(MAX_MESSAGE_BYTES);
    while !message.is_char_boundary(len) {
        len -= 1;
    }
    message.get(..len).unwrap_or_default()
}

/// Puts parts one after the other into what is exactly as long as they are.
fn join(mut whole: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let (place, rest) = whole.split_at_mut(part.len());
        place.copy_from_slice(part);
        whole = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_reply_is_sixteen_bytes() {
        let reply = simple(Cookie(0x0102_0304_0506_0708), Some(Errno::Invalid));
        assert_eq!(reply[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 22]);
        assert_eq!(reply[8..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_chunk_says_its_kind_its_length_and_whether_it_is_the_last() {
        let reply = hole(Cookie(7), 0x1000, 0x200, true);
        assert_eq!(reply[..8], [0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 2]);
        assert_eq!(reply[8..20], [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 12]);
        assert_eq!(reply[20..], [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ü".repeat(MAX_MESSAGE_BYTES);
        let reply = error(Cookie(7), Errno::Io, &format!("x{message}"));
        assert_eq!(reply.len(), 20 + 6 + MAX_MESSAGE_BYTES - 1);
        assert!(std::str::from_utf8(&reply[26..]).is_ok());
    }

    #[test]
    fn after_a_failed_write_nothing_more_is_written() {
        /// Takes three bytes and then no more.
        struct Full(Vec<u8>);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let len = bytes.len().min(3 - self.0.len().min(3));
                self.0.extend(&bytes[..len]);
                Ok(len)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let replies = Replies::new(Full(Vec::new()));
        replies.send(b"ab");
        assert!(!replies.is_broken());
        replies.send(b"cd");
        assert!(replies.is_broken());
        replies.writer.lock().unwrap().0.clear();
        replies.send(b"ef");
        assert_eq!(replies.writer.into_inner().unwrap().0, b"");
    }
}
