use std::borrow::Cow;

/// Bytes that are no message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message at byte {position}: {what}")]
pub struct DecodeError {
    position: u64,
    what: Cow<'static, str>,
}

impl DecodeError {
    pub(crate) fn new(position: u64, what: impl Into<Cow<'static, str>>) -> Self {
        DecodeError { position, what: what.into() }
    }

    /// Where the offending bytes begin: counted from the start of the message for a [`Decoder`](crate::Decoder),
    /// from the start of the connection for [`Framing`](crate::Framing) and [`Frame`](crate::Frame)s.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What was expected there, and what was found.
    pub fn what(&self) -> &str {
        &self.what
    }
}
