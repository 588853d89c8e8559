use uuid::Uuid;

/// A message that names no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedAnnouncement {
    /// How long it is.
    pub size_bytes: usize,
}

impl std::fmt::Display for MalformedAnnouncement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes that are no request's id; a replay is requested with `postrider replay`",
            self.size_bytes
        )
    }
}

impl std::error::Error for MalformedAnnouncement {}

/// Reads the content of a logical message that announces a replay. Anybody may write such messages, so what is in it is
/// not repeated in the error.
///
/// # Errors
///
/// It is not the text of a UUID.
pub fn parse_announcement(content: &[u8]) -> Result<Uuid, MalformedAnnouncement> {
    Uuid::try_parse_ascii(content).map_err(|_| MalformedAnnouncement { size_bytes: content.len() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_an_id_or_an_error(content in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Err(error) = parse_announcement(&content) {
                prop_assert_eq!(error.size_bytes, content.len());
            }
        }

        #[test]
        fn an_id_is_read_as_the_server_writes_it(id: u128) {
            let id = Uuid::from_u128(id);
            prop_assert_eq!(parse_announcement(id.to_string().as_bytes()), Ok(id));
        }
    }

    #[test]
    fn nothing_else_is_an_id() {
        for content in
            ["", "all", "{", "0198f000-0000-7000-8000-00000000000", " 0198f000-0000-7000-8000-000000000000"]
        {
            assert!(parse_announcement(content.as_bytes()).is_err(), "{content}");
        }
    }
}
