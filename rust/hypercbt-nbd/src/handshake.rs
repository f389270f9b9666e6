//! The handshake: both sides agree on a disk and on how they will talk (NBD "Newstyle negotiation").
//!
//! There is one disk, and it has the empty name, which is the default of every client.

use std::io::{Read, Write};

use crate::{
    Export, Violation,
    option::{Info, MetaContext},
    protocol::{
        ALLOCATION, ALLOCATION_ID, EXPORT_NAME_PADDING, INIT_MAGIC, MAX_OPTION_BYTES, MAX_OPTIONS,
        MAX_REQUEST_BYTES, OPTION_MAGIC, OPTION_REPLY_MAGIC, handshake, info, option, option_reply,
        transmission,
    },
    session::Ended,
    status::PREFERRED_BLOCK_BYTES,
};

/// What both sides know after the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Reads are answered in chunks.
    pub(crate) structured: bool,
    /// The client may ask for `base:allocation`.
    pub(crate) allocation: bool,
}

/// Talks until the client wants the disk (then what was agreed on), or goes (then `None`).
pub(crate) fn negotiate<R: Read, W: Write>(
    reader: R,
    mut writer: W,
    export: &dyn Export,
) -> Result<Option<Agreed>, Ended> {
    let mut greeting = Vec::with_capacity(18);
    greeting.extend(INIT_MAGIC.to_be_bytes());
    greeting.extend(OPTION_MAGIC.to_be_bytes());
    greeting.extend((handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES).to_be_bytes());
    writer.write_all(&greeting)?;
    let mut handshake = Handshake {
        reader,
        writer,
        export,
        flags: 0,
        agreed: Agreed::default(),
    };
    handshake.read_client_flags()?;
    for _ in 0..MAX_OPTIONS {
        match handshake.one_option()? {
            Next::Another => {}
            Next::Transmission => return Ok(Some(handshake.agreed)),
            Next::Goodbye => return Ok(None),
        }
    }
    Err(Violation::TooManyOptions.into())
}

/// What comes after an option.
enum Next {
    Another,
    Transmission,
    Goodbye,
}

struct Handshake<'a, R, W> {
    reader: R,
    writer: W,
    export: &'a dyn Export,
    /// What the client said of itself.
    flags: u16,
    agreed: Agreed,
}

impl<R: Read, W: Write> Handshake<'_, R, W> {
    fn read_client_flags(&mut self) -> Result<(), Ended> {
        let mut flags = [0; 4];
        self.reader.read_exact(&mut flags)?;
        let flags = u32::from_be_bytes(flags);
        let known = handshake::FIXED_NEWSTYLE | handshake::NO_ZEROES;
        match u16::try_from(flags) {
            Ok(few) if few & !known == 0 => self.flags = few,
            _ => return Err(Violation::ClientFlags { flags }.into()),
        }
        Ok(())
    }

    fn one_option(&mut self) -> Result<Next, Ended> {
        let (option, data) = self.read_option()?;
        if option != option::EXPORT_NAME && self.flags & handshake::FIXED_NEWSTYLE == 0 {
            return Err(Violation::NotFixed { option }.into());
        }
        match option {
            option::EXPORT_NAME => return self.export_name(&data),
            option::ABORT => {
                // It may not wait for the answer.
                drop(self.reply(option, option_reply::ACK, &[]));
                return Ok(Next::Goodbye);
            }
            option::LIST if data.is_empty() => {
                self.reply(option, option_reply::SERVER, &0u32.to_be_bytes())?;
                self.reply(option, option_reply::ACK, &[])?;
            }
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.agreed.structured = true;
                self.reply(option, option_reply::ACK, &[])?;
            }
            option::LIST | option::STRUCTURED_REPLY => {
                self.reply(option, option_reply::ERR_INVALID, &[])?;
            }
            option::INFO | option::GO => return self.info(option, &data),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.meta_context(option, &data)?;
            }
            _ => self.reply(option, option_reply::ERR_UNSUP, &[])?,
        }
        Ok(Next::Another)
    }

    fn read_option(&mut self) -> Result<(u32, Vec<u8>), Ended> {
        let (mut magic, mut option, mut len) = ([0; 8], [0; 4], [0; 4]);
        self.reader.read_exact(&mut magic)?;
        let magic = u64::from_be_bytes(magic);
        if magic != OPTION_MAGIC {
            return Err(Violation::OptionMagic { magic }.into());
        }
        self.reader.read_exact(&mut option)?;
        self.reader.read_exact(&mut len)?;
        let len = u32::from_be_bytes(len);
        if len > MAX_OPTION_BYTES {
            return Err(Violation::OptionTooLong { len }.into());
        }
        let mut data = vec![0; len as usize];
        self.reader.read_exact(&mut data)?;
        Ok((u32::from_be_bytes(option), data))
    }

    fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<(), Ended> {
        let len = u32::try_from(data.len()).expect("our own replies are short");
        let mut reply = Vec::with_capacity(20 + data.len());
        reply.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        reply.extend(option.to_be_bytes());
        reply.extend(kind.to_be_bytes());
        reply.extend(len.to_be_bytes());
        reply.extend(data);
        Ok(self.writer.write_all(&reply)?)
    }

    /// The oldest way to begin: no answer but the disk itself, or the end of the connection.
    fn export_name(&mut self, name: &[u8]) -> Result<Next, Ended> {
        if !name.is_empty() {
            return Err(Violation::UnknownExport.into());
        }
        let mut reply = self.export.size().0.to_be_bytes().to_vec();
        reply.extend(self.transmission_flags().to_be_bytes());
        if self.flags & handshake::NO_ZEROES == 0 {
            reply.extend([0; EXPORT_NAME_PADDING]);
        }
        self.writer.write_all(&reply)?;
        Ok(Next::Transmission)
    }

    fn info(&mut self, option: u32, data: &[u8]) -> Result<Next, Ended> {
        let refused = match Info::parse(data) {
            None => Some(option_reply::ERR_INVALID),
            Some(info) if !info.name.is_empty() => Some(option_reply::ERR_UNKNOWN),
            Some(info) => {
                self.tell(option, &info.wanted)?;
                None
            }
        };
        self.reply(option, refused.unwrap_or(option_reply::ACK), &[])?;
        if option == option::GO && refused.is_none() {
            return Ok(Next::Transmission);
        }
        Ok(Next::Another)
    }

    fn tell(&mut self, option: u32, wanted: &[u16]) -> Result<(), Ended> {
        let mut export = info::EXPORT.to_be_bytes().to_vec();
        export.extend(self.export.size().0.to_be_bytes());
        export.extend(self.transmission_flags().to_be_bytes());
        self.reply(option, option_reply::INFO, &export)?;
        if wanted.contains(&info::BLOCK_SIZE) {
            let smallest = u32::try_from(self.export.block_bytes().0).expect("at most 64 KiB");
            let mut sizes = info::BLOCK_SIZE.to_be_bytes().to_vec();
            sizes.extend(smallest.to_be_bytes());
            sizes.extend(PREFERRED_BLOCK_BYTES.max(smallest).to_be_bytes());
            sizes.extend(MAX_REQUEST_BYTES.to_be_bytes());
            self.reply(option, option_reply::INFO, &sizes)?;
        }
        Ok(())
    }

    fn meta_context(&mut self, option: u32, data: &[u8]) -> Result<(), Ended> {
        let set = option == option::SET_META_CONTEXT;
        if set {
            self.agreed.allocation = false; // also where what follows is refused
        }
        let context = MetaContext::parse(data).filter(|_| self.agreed.structured);
        let Some(context) = context else {
            return self.reply(option, option_reply::ERR_INVALID, &[]);
        };
        if !context.name.is_empty() {
            return self.reply(option, option_reply::ERR_UNKNOWN, &[]);
        }
        let all = !set && context.queries.is_empty();
        // To list, a namespace stands for all that is in it; to set, for nothing.
        let fits = |query: &&[u8]| *query == ALLOCATION || (!set && *query == b"base:");
        if all || context.queries.iter().any(fits) {
            self.agreed.allocation |= set;
            let id = if set { ALLOCATION_ID } else { 0 };
            let found = [&id.to_be_bytes(), ALLOCATION].concat();
            self.reply(option, option_reply::META_CONTEXT, &found)?;
        }
        self.reply(option, option_reply::ACK, &[])
    }

    fn transmission_flags(&self) -> u16 {
        use transmission as flag;
        // All connections call one disk: a flush on one of them is a flush for all.
        let mut flags = flag::HAS_FLAGS | flag::SEND_FLUSH | flag::CAN_MULTI_CONN;
        if self.export.is_read_only() {
            flags |= flag::READ_ONLY;
        } else {
            flags |= flag::SEND_FUA | flag::SEND_TRIM | flag::SEND_WRITE_ZEROES;
        }
        if self.agreed.structured {
            flags |= flag::SEND_DF;
        }
        flags
    }
}
