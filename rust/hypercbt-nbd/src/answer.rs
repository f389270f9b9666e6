//! One worker of a connection: does what was asked for, and answers.

use std::io::{self, Write};

use crossbeam_channel::Receiver;
use hypercbt_extent::{ByteLen, Extent};

use crate::{
    Content, Export, Failure,
    budget::Share,
    errno::Errno,
    handshake::Agreed,
    protocol::{Command, chunk},
    reply::{self, Cookie, Replies},
    request::Action,
    stats::Counters,
    status,
};

/// The largest piece of the disk in one chunk. Between two chunks other replies can go out.
const PIECE_BYTES: u64 = 1 << 20;

/// The shortest read that holes are looked for in. Below it, sending zeros is cheaper than the look.
const HOLES_FROM_BYTES: u64 = 64 << 10;

/// What stands before the data of a chunk: its head, and where the data belongs.
const CHUNK_HEAD_BYTES: usize = 28;

/// What stands before the data of a simple reply.
const SIMPLE_HEAD_BYTES: usize = 16;

/// A request for a worker.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) cookie: Cookie,
    /// The command, if it is one of ours.
    pub(crate) command: Option<Command>,
    pub(crate) checked: Result<Action, Errno>,
    /// What is to be written.
    pub(crate) payload: Vec<u8>,
    /// The memory that it may use until it is answered.
    pub(crate) share: Option<Share<'a>>,
}

/// A worker.
pub(crate) struct Worker<'a, W> {
    pub(crate) export: &'a dyn Export,
    pub(crate) agreed: Agreed,
    pub(crate) replies: &'a Replies<W>,
    pub(crate) counters: &'a Counters,
    /// A head and a piece of the disk, kept from one read to the next.
    pub(crate) buffer: Vec<u8>,
}

impl<W: Write> Worker<'_, W> {
    /// Answers requests until there will be no more.
    pub(crate) fn run(&mut self, jobs: &Receiver<Job<'_>>) {
        for job in jobs {
            self.answer(&job);
            self.counters.requested();
            drop(job.share); // not before the answer has gone
        }
    }

    fn answer(&mut self, job: &Job<'_>) {
        let action = match job.checked {
            Ok(action) => action,
            Err(errno) => return self.refuse(job, errno, "the request is not valid"),
        };
        let done = match action {
            Action::Read { extent, whole } if self.agreed.structured => {
                self.read_chunks(job.cookie, extent, whole)
            }
            Action::Read { extent, .. } => self.read_simple(job.cookie, extent),
            Action::Status { extent, one } => {
                let found = status::descriptors(self.export, extent, one);
                self.replies.send(&reply::block_status(job.cookie, &found));
                Ok(())
            }
            _ => self
                .change(action, &job.payload)
                .map(|()| self.replies.send(&reply::simple(job.cookie, None))),
        };
        if let Err(error) = done {
            self.refuse(job, Errno::from(&error), &message(&error));
            self.counters.failed(Failure {
                command: action.command(),
                extent: action.extent(),
                error,
            });
        }
    }

    /// Answers with an error, in the form that the command has.
    fn refuse(&self, job: &Job<'_>, errno: Errno, message: &str) {
        let structured = matches!(job.command, Some(Command::Read | Command::BlockStatus));
        if structured && self.agreed.structured {
            self.replies.send(&reply::error(job.cookie, errno, message));
        } else {
            self.replies.send(&reply::simple(job.cookie, Some(errno)));
        }
    }

    /// Sends data and holes as they come. An error ends the reply, whatever was sent before it.
    fn read_chunks(&mut self, cookie: Cookie, extent: Extent, whole: bool) -> io::Result<()> {
        if whole {
            if extent.len().0 > PIECE_BYTES {
                self.replies.send(&reply::error(
                    cookie,
                    Errno::Overflow,
                    "too long for one chunk",
                ));
                return Ok(());
            }
            return self.read_piece(cookie, extent, true);
        }
        let segments = if extent.len().0 < HOLES_FROM_BYTES {
            vec![(extent, Content::Data)]
        } else {
            status::partition(self.export, extent)
        };
        for (part, content) in segments {
            match content {
                Content::Zero => {
                    let len = u32::try_from(part.len().0).expect("a request is shorter than 4 GiB");
                    let done = part.end() == extent.end();
                    let hole = reply::hole(cookie, part.start().0, len, done);
                    self.replies.send(&hole);
                }
                Content::Data => {
                    for piece in status::steps(part, ByteLen(PIECE_BYTES)) {
                        self.read_piece(cookie, piece, piece.end() == extent.end())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads into what comes after the head, so that both are written at once, and nothing is copied.
    fn read_piece(&mut self, cookie: Cookie, piece: Extent, done: bool) -> io::Result<()> {
        let len = u32::try_from(piece.len().0).expect("a piece is short");
        let bytes = buffer(&mut self.buffer, CHUNK_HEAD_BYTES + len as usize);
        let (head, data) = bytes.split_at_mut(CHUNK_HEAD_BYTES);
        self.export.read_at(piece.start(), data)?;
        let chunk = reply::chunk_head(cookie, chunk::OFFSET_DATA, done, 8 + len);
        let (first, offset) = head.split_at_mut(chunk.len());
        first.copy_from_slice(&chunk);
        offset.copy_from_slice(&piece.start().0.to_be_bytes());
        self.replies.send(bytes);
        self.counters.read(len.into());
        Ok(())
    }

    /// A simple reply cannot be taken back, so everything is read before it begins.
    fn read_simple(&mut self, cookie: Cookie, extent: Extent) -> io::Result<()> {
        let len = usize::try_from(extent.len().0).expect("a request is at most 32 MiB");
        let mut own = Vec::new();
        let kept = extent.len().0 <= PIECE_BYTES;
        let memory = if kept { &mut self.buffer } else { &mut own };
        let bytes = buffer(memory, SIMPLE_HEAD_BYTES + len);
        let (head, data) = bytes.split_at_mut(SIMPLE_HEAD_BYTES);
        self.export.read_at(extent.start(), data)?;
        head.copy_from_slice(&reply::simple(cookie, None));
        self.replies.send(bytes);
        self.counters.read(len as u64);
        Ok(())
    }

    fn change(&self, action: Action, payload: &[u8]) -> io::Result<()> {
        let durable = match action {
            Action::Write { extent, durable } => {
                self.export.write_at(extent.start(), payload)?;
                self.counters.written(extent.len().0);
                durable
            }
            Action::Zero {
                extent,
                may_unmap,
                durable,
            } => {
                self.export.zero(extent, may_unmap)?;
                durable
            }
            Action::Trim { extent, durable } => {
                self.export.unmap(extent)?;
                durable
            }
            Action::Flush => true,
            Action::Read { .. } | Action::Status { .. } => false,
        };
        if durable {
            self.export.flush()?;
        }
        Ok(())
    }
}

/// The first bytes of a buffer that grows and never shrinks, so that it is zeroed only once.
fn buffer(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if memory.len() < len {
        memory.resize(len, 0);
    }
    memory.get_mut(..len).unwrap_or_default()
}

/// An error and what caused it, for people.
fn message(error: &io::Error) -> String {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    message
}
