//! A request: read from the wire, and checked before anything is done for it.

use std::io::{ErrorKind, Read};

use hypercbt_extent::{ByteLen, DiskOffset, Extent};

use crate::{
    Command, Export, Violation,
    errno::Errno,
    handshake::Agreed,
    protocol::{MAX_REQUEST_BYTES, REQUEST_MAGIC, command_flag},
    reply::Cookie,
    session::Ended,
};

/// A request as it came, without what is to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    /// The number of the command.
    pub(crate) number: u16,
    pub(crate) cookie: Cookie,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

/// A request that can be done: known, allowed, inside the disk, in whole blocks where it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// `whole`: in one chunk.
    Read {
        extent: Extent,
        whole: bool,
    },
    Write {
        extent: Extent,
        durable: bool,
    },
    Flush,
    Trim {
        extent: Extent,
        durable: bool,
    },
    Zero {
        extent: Extent,
        may_unmap: bool,
        durable: bool,
    },
    /// `one`: nothing but the first descriptor.
    Status {
        extent: Extent,
        one: bool,
    },
}

impl Request {
    /// The next request, or `None` if the client has gone.
    pub(crate) fn read(mut reader: impl Read) -> Result<Option<Self>, Ended> {
        let mut bytes = [0; 28];
        match reader.read_exact(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut rest = bytes.as_slice();
        let magic = u32::from_be_bytes(take(&mut rest));
        if magic != REQUEST_MAGIC {
            return Err(Violation::RequestMagic { magic }.into());
        }
        Ok(Some(Self {
            flags: u16::from_be_bytes(take(&mut rest)),
            number: u16::from_be_bytes(take(&mut rest)),
            cookie: Cookie(u64::from_be_bytes(take(&mut rest))),
            offset: u64::from_be_bytes(take(&mut rest)),
            len: u32::from_be_bytes(take(&mut rest)),
        }))
    }

    /// What is asked for, if we know it.
    pub(crate) fn command(&self) -> Option<Command> {
        Command::from_number(self.number)
    }

    /// What to do, or what is wrong with it (NBD "Error values").
    pub(crate) fn check(&self, export: &dyn Export, agreed: Agreed) -> Result<Action, Errno> {
        let command = self.command().ok_or(Errno::Invalid)?;
        if self.flags & !allowed_flags(command, export, agreed) != 0 {
            return Err(Errno::Invalid);
        }
        if command == Command::Flush {
            let nowhere = self.offset == 0 && self.len == 0;
            return nowhere.then_some(Action::Flush).ok_or(Errno::Invalid);
        }
        let writes = matches!(
            command,
            Command::Write | Command::Trim | Command::WriteZeroes
        );
        if writes && export.is_read_only() {
            return Err(Errno::NotPermitted);
        }
        let extent = self.extent(command, export)?;
        if writes && !is_aligned(extent, export.block_bytes()) {
            return Err(Errno::Invalid);
        }
        self.action(command, extent, agreed)
    }

    fn extent(&self, command: Command, export: &dyn Export) -> Result<Extent, Errno> {
        let outside = match command {
            Command::Write | Command::WriteZeroes => Errno::NoSpace,
            _ => Errno::Invalid,
        };
        // What a request for nothing means is not defined; other servers refuse it too.
        let len = ByteLen(self.len.into());
        if len.0 == 0 {
            return Err(Errno::Invalid);
        }
        let extent = Extent::new(DiskOffset(self.offset), len).ok_or(outside)?;
        if extent.end().0 > export.size().0 {
            return Err(outside);
        }
        Ok(extent)
    }

    fn action(&self, command: Command, extent: Extent, agreed: Agreed) -> Result<Action, Errno> {
        let has = |flag| self.flags & flag != 0;
        let durable = has(command_flag::FUA);
        Ok(match command {
            Command::Read if self.len > MAX_REQUEST_BYTES => return Err(Errno::Invalid),
            Command::Read => Action::Read {
                extent,
                whole: has(command_flag::DF),
            },
            Command::Write => Action::Write { extent, durable },
            Command::Trim => Action::Trim { extent, durable },
            Command::WriteZeroes => Action::Zero {
                extent,
                may_unmap: !has(command_flag::NO_HOLE),
                durable,
            },
            Command::BlockStatus if !agreed.allocation => return Err(Errno::Invalid),
            Command::BlockStatus => Action::Status {
                extent,
                one: has(command_flag::REQ_ONE),
            },
            Command::Flush => Action::Flush,
        })
    }
}

impl Action {
    /// The command that it is done for.
    pub(crate) fn command(self) -> Command {
        match self {
            Self::Read { .. } => Command::Read,
            Self::Write { .. } => Command::Write,
            Self::Flush => Command::Flush,
            Self::Trim { .. } => Command::Trim,
            Self::Zero { .. } => Command::WriteZeroes,
            Self::Status { .. } => Command::BlockStatus,
        }
    }

    /// Where on the disk; a flush is nowhere.
    pub(crate) fn extent(self) -> Option<Extent> {
        match self {
            Self::Read { extent, .. }
            | Self::Write { extent, .. }
            | Self::Trim { extent, .. }
            | Self::Zero { extent, .. }
            | Self::Status { extent, .. } => Some(extent),
            Self::Flush => None,
        }
    }
}

/// The flags that a command may carry. FUA may stand at any, where it is offered at all.
fn allowed_flags(command: Command, export: &dyn Export, agreed: Agreed) -> u16 {
    let own = match command {
        Command::Read if agreed.structured => command_flag::DF,
        Command::WriteZeroes => command_flag::NO_HOLE,
        Command::BlockStatus => command_flag::REQ_ONE,
        _ => 0,
    };
    if export.is_read_only() {
        return own;
    }
    own | command_flag::FUA
}

fn is_aligned(extent: Extent, block: ByteLen) -> bool {
    extent.start().0.is_multiple_of(block.0) && extent.len().0.is_multiple_of(block.0)
}

/// The next bytes of a header, which is as long as its fields.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (field, after) = rest
        .split_first_chunk()
        .expect("the header holds all its fields");
    *rest = after;
    *field
}
