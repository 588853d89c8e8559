//! User text in logs and in `last_error`.

use std::borrow::Cow;

/// The most bytes of user text in a log line or a `last_error`.
const TEXT_BYTES_MAX: usize = 300;

/// Cuts a text to 300 bytes, at a character boundary and with an ellipsis, so that a row cannot fill the log.
pub fn shorten(text: &str) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX - ELLIPSIS.len());
    Cow::Owned(format!("{}{ELLIPSIS}", &text[..end]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shorten_keeps_short_texts_and_cuts_long_ones(text in ".{0,400}") {
            let short = shorten(&text);
            prop_assert!(short.len() <= TEXT_BYTES_MAX);
            if text.len() <= TEXT_BYTES_MAX {
                prop_assert_eq!(&*short, text.as_str());
            } else {
                prop_assert!(text.starts_with(short.trim_end_matches('…')));
            }
        }
    }
}
