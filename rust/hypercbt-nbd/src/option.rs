//! What clients bring along with an option, taken apart.

/// The rest of an option's bytes. Each call takes some, or nothing if there are not enough.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Bytes that are preceded by their length.
    fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.bytes(usize::try_from(len).ok()?)
    }

    fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// `NBD_OPT_INFO` and `NBD_OPT_GO`: which disk, and what to tell of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Info<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) wanted: Vec<u16>,
}

impl<'a> Info<'a> {
    /// `None` if the bytes are no such thing.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u16()?;
        let wanted = (0..count).map(|_| fields.u16()).collect::<Option<_>>()?;
        fields.end()?;
        Some(Self { name, wanted })
    }
}

/// `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`: which disk, and which contexts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MetaContext<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) queries: Vec<&'a [u8]>,
}

impl<'a> MetaContext<'a> {
    /// `None` if the bytes are no such thing.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(data);
        let name = fields.string()?;
        let count = fields.u32()?;
        // Ends at the first query that is not there, so a large count costs nothing.
        let queries = (0..count).map(|_| fields.string()).collect::<Option<_>>()?;
        fields.end()?;
        Some(Self { name, queries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_info_option_is_a_name_and_a_list_of_numbers() {
        let data = b"\0\0\0\x02ab\0\x02\0\x03\0\x07";
        let info = Info {
            name: b"ab",
            wanted: vec![3, 7],
        };
        assert_eq!(Info::parse(data), Some(info));
    }

    #[test]
    fn a_context_option_is_a_name_and_a_list_of_queries() {
        let data = b"\0\0\0\0\0\0\0\x02\0\0\0\x05base:\0\0\0\x01x";
        let context = MetaContext {
            name: b"",
            queries: vec![b"base:", b"x"],
        };
        assert_eq!(MetaContext::parse(data), Some(context));
    }

    #[test]
    fn an_option_that_is_cut_anywhere_or_too_long_is_refused() {
        let info: &[u8] = b"\0\0\0\x02ab\0\x02\0\x03\0\x07";
        let context: &[u8] = b"\0\0\0\0\0\0\0\x01\0\0\0\x05base:";
        for len in 0..info.len() {
            assert_eq!(Info::parse(&info[..len]), None, "{len}");
        }
        for len in 0..context.len() {
            assert_eq!(MetaContext::parse(&context[..len]), None, "{len}");
        }
        assert_eq!(Info::parse(&[info, b"x"].concat()), None);
        assert_eq!(MetaContext::parse(&[context, b"x"].concat()), None);
    }

    #[test]
    fn counts_and_lengths_that_are_lies_are_refused() {
        assert_eq!(Info::parse(b"\xff\xff\xff\xffab\0\0"), None);
        assert_eq!(MetaContext::parse(b"\0\0\0\0\xff\xff\xff\xff"), None);
        assert_eq!(
            MetaContext::parse(b"\0\0\0\0\0\0\0\x01\xff\xff\xff\xff"),
            None
        );
    }
}
