//! A position in the write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A log sequence number: a byte position in PostgreSQL's write-ahead log.
///
/// Ordered as the WAL is. Prints and parses the way the server does, `16/B374D848`
/// (PostgreSQL documentation, "pg_lsn Type").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// The position before every record; the server reads it as "no position".
    pub const ZERO: Lsn = Lsn(0);

    /// From the 64 bits of the wire format.
    pub const fn from_u64(position: u64) -> Self {
        Lsn(position)
    }

    /// As the 64 bits of the wire format.
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The bytes of WAL between `earlier` and this position; 0 if `earlier` is not earlier.
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// The text is not of the form `16/B374D848`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an LSN; an LSN has the form 16/B374D848")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let half = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u32::from_str_radix(part, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?))))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_printed_parses_to_the_same_position(position: u64) {
            let lsn = Lsn::from_u64(position);
            prop_assert_eq!(lsn.to_string().parse::<Lsn>(), Ok(lsn));
        }

        #[test]
        fn any_text_is_a_position_or_an_error(text: String) {
            let _ = text.parse::<Lsn>();
        }
    }

    #[test]
    fn prints_as_the_server_does() {
        assert_eq!(Lsn::from_u64(0x16_B374_D848).to_string(), "16/B374D848");
    }

    #[test]
    fn refuses_what_is_no_position() {
        for text in ["", "/", "16", "16/", "/1", "+1/2", "1/2/3", "100000000/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
