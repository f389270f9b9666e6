//! A client that says anything, right or wrong. The numbers stand here once more, so that a wrong one is seen.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use hypercbt_nbd::Address;

pub(crate) const ACK: u32 = 1;
pub(crate) const UNSUP: u32 = 0x8000_0001;
pub(crate) const INVALID: u32 = 0x8000_0003;
pub(crate) const UNKNOWN: u32 = 0x8000_0006;

pub(crate) const READ: u16 = 0;
pub(crate) const WRITE: u16 = 1;
pub(crate) const DISC: u16 = 2;
pub(crate) const FLUSH: u16 = 3;
pub(crate) const TRIM: u16 = 4;
pub(crate) const ZEROES: u16 = 6;
pub(crate) const STATUS: u16 = 7;

pub(crate) const FUA: u16 = 1;
pub(crate) const NO_HOLE: u16 = 2;
pub(crate) const DF: u16 = 4;
pub(crate) const REQ_ONE: u16 = 8;

/// A chunk of a structured reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) done: bool,
    pub(crate) kind: u16,
    pub(crate) cookie: u64,
    pub(crate) payload: Vec<u8>,
}

/// What a read was answered: bytes and holes, with their places, or an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(u64, Vec<u8>),
    Hole(u64, u32),
}

pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and says nothing yet.
    pub(crate) fn connect(address: &Address) -> Self {
        let Address::Tcp(address) = address else {
            panic!("{address} is no port");
        };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // Only so that a test that fails does not hang.
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self { stream }
    }

    /// Connects and greets as every client of today does.
    pub(crate) fn greet(address: &Address) -> Self {
        let mut client = Self::connect(address);
        assert_eq!(client.bytes(18), b"NBDMAGICIHAVEOPT\0\x03");
        client.send(&3u32.to_be_bytes());
        client
    }

    /// Gets to where requests are sent, with simple replies.
    pub(crate) fn simple(address: &Address) -> Self {
        let mut client = Self::greet(address);
        assert_eq!(client.option(7, &go("")).last(), Some(&(ACK, vec![])));
        client
    }

    /// Gets to where requests are sent, with structured replies and block status.
    pub(crate) fn structured(address: &Address) -> Self {
        let mut client = Self::greet(address);
        assert_eq!(client.option(8, b""), [(ACK, vec![])]);
        let set = client.option(10, &context("", &["base:allocation"]));
        assert_eq!(set[0], (4, b"\0\0\0\x01base:allocation".to_vec()));
        assert_eq!(client.option(7, &go("")).last(), Some(&(ACK, vec![])));
        client
    }

    /// The same connection, for another thread.
    pub(crate) fn another_hand(&self) -> Self {
        Self {
            stream: self.stream.try_clone().unwrap(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Says that it will send no more.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        self.bytes(N).try_into().unwrap()
    }

    /// Whether the server has ended the connection: nothing comes any more.
    pub(crate) fn is_ended(&mut self) -> bool {
        let mut byte = [0];
        // What was sent and never read makes the end a reset.
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    pub(crate) fn send_option(&mut self, option: u32, data: &[u8]) {
        let mut bytes = b"IHAVEOPT".to_vec();
        bytes.extend(option.to_be_bytes());
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(data);
        self.send(&bytes);
    }

    /// Sends an option and returns all its replies, the last of which ends it.
    pub(crate) fn option(&mut self, option: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send_option(option, data);
        let mut replies = Vec::new();
        loop {
            assert_eq!(u64::from_be_bytes(self.number()), 0x0003_e889_0455_65a9);
            assert_eq!(u32::from_be_bytes(self.number()), option);
            let kind = u32::from_be_bytes(self.number());
            let len = u32::from_be_bytes(self.number());
            replies.push((kind, self.bytes(len as usize)));
            if kind == ACK || kind >= 1 << 31 {
                return replies;
            }
        }
    }

    pub(crate) fn request(&mut self, flags: u16, command: u16, cookie: u64, at: u64, len: u32) {
        self.send(&request(flags, command, cookie, at, len));
    }

    /// The next simple reply: which request, and the error.
    pub(crate) fn simple_reply(&mut self) -> (u64, u32) {
        assert_eq!(u32::from_be_bytes(self.number()), 0x6744_6698);
        let error = u32::from_be_bytes(self.number());
        (u64::from_be_bytes(self.number()), error)
    }

    pub(crate) fn chunk(&mut self) -> Chunk {
        assert_eq!(u32::from_be_bytes(self.number()), 0x668e_33ef);
        let flags = u16::from_be_bytes(self.number());
        let kind = u16::from_be_bytes(self.number());
        let cookie = u64::from_be_bytes(self.number());
        let len = u32::from_be_bytes(self.number());
        Chunk {
            done: flags == 1,
            kind,
            cookie,
            payload: self.bytes(len as usize),
        }
    }

    /// Sends a request that is answered by a simple reply, and returns its error.
    pub(crate) fn ask(&mut self, flags: u16, command: u16, at: u64, len: u32) -> u32 {
        self.request(flags, command, 7, at, len);
        let (cookie, error) = self.simple_reply();
        assert_eq!(cookie, 7);
        error
    }

    pub(crate) fn write(&mut self, flags: u16, at: u64, bytes: &[u8]) -> u32 {
        let mut request = request(flags, WRITE, 9, at, bytes.len() as u32).to_vec();
        request.extend(bytes);
        self.send(&request);
        let (cookie, error) = self.simple_reply();
        assert_eq!(cookie, 9);
        error
    }

    /// Reads by a structured reply: its pieces in order of arrival, or the error and its message.
    pub(crate) fn read(
        &mut self,
        flags: u16,
        at: u64,
        len: u32,
    ) -> Result<Vec<Piece>, (u32, String)> {
        self.request(flags, READ, 8, at, len);
        let mut pieces = Vec::new();
        loop {
            let chunk = self.chunk();
            assert_eq!(chunk.cookie, 8);
            let payload = &chunk.payload;
            match chunk.kind {
                1 => pieces.push(Piece::Data(number(payload), payload[8..].to_vec())),
                2 => pieces.push(Piece::Hole(number(payload), number(&payload[8..]) as u32)),
                0x8001 => return Err(error_of(&chunk)),
                other => panic!("a chunk of kind {other}"),
            }
            if chunk.done {
                return Ok(pieces);
            }
        }
    }

    /// Asks for block status: lengths and states, or the error and its message.
    pub(crate) fn status(
        &mut self,
        flags: u16,
        at: u64,
        len: u32,
    ) -> Result<Vec<(u32, u32)>, (u32, String)> {
        self.request(flags, STATUS, 5, at, len);
        let chunk = self.chunk();
        assert_eq!((chunk.cookie, chunk.done), (5, true));
        if chunk.kind == 0x8001 {
            return Err(error_of(&chunk));
        }
        assert_eq!((chunk.kind, &chunk.payload[..4]), (5, &b"\0\0\0\x01"[..]));
        let pairs = chunk.payload[4..].chunks_exact(8);
        Ok(pairs
            .map(|pair| (number(&pair[..4]) as u32, number(&pair[4..]) as u32))
            .collect())
    }
}

fn error_of(chunk: &Chunk) -> (u32, String) {
    assert!(chunk.done, "an error is the last chunk");
    let len = number(&chunk.payload[4..6]) as usize;
    let message = chunk.payload[6..].to_vec();
    assert_eq!(message.len(), len);
    (
        number(&chunk.payload[..4]) as u32,
        String::from_utf8(message).unwrap(),
    )
}

/// A number of up to eight bytes, of which only the first eight count.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

pub(crate) fn request(flags: u16, command: u16, cookie: u64, at: u64, len: u32) -> [u8; 28] {
    let mut request = [0; 28];
    request[..4].copy_from_slice(&0x2560_9513u32.to_be_bytes());
    request[4..6].copy_from_slice(&flags.to_be_bytes());
    request[6..8].copy_from_slice(&command.to_be_bytes());
    request[8..16].copy_from_slice(&cookie.to_be_bytes());
    request[16..24].copy_from_slice(&at.to_be_bytes());
    request[24..].copy_from_slice(&len.to_be_bytes());
    request
}

/// The data of GO and INFO: the name, and that block sizes are wanted.
pub(crate) fn go(name: &str) -> Vec<u8> {
    [
        &(name.len() as u32).to_be_bytes(),
        name.as_bytes(),
        b"\0\x01\0\x03",
    ]
    .concat()
}

/// The data of the context options.
pub(crate) fn context(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = [&(name.len() as u32).to_be_bytes(), name.as_bytes()].concat();
    data.extend((queries.len() as u32).to_be_bytes());
    for query in queries {
        data.extend((query.len() as u32).to_be_bytes());
        data.extend(query.as_bytes());
    }
    data
}
