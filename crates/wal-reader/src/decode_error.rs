use std::borrow::Cow;

/// A message that violates the protocol.
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

    /// Position of the malformed bytes: counted from the start of the message for a [`Decoder`](crate::Decoder),
    /// from the start of the connection for [`Framing`](crate::Framing) and [`Frame`](crate::Frame).
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The expected and the actual content.
    pub fn what(&self) -> &str {
        &self.what
    }
}
