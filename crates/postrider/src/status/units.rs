//! Readable ages and sizes.

use std::time::Duration;

use bytesize::ByteSize;

/// `3m 12s`, `2days 4h`: two units are precise enough for any age.
pub(crate) fn age(duration: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// `1.2 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// `2026-01-31 12:00:00Z`, from microseconds since 1970.
pub(crate) fn time(micros: i64) -> String {
    rfc3339(micros).map_or_else(|| "unknown".to_owned(), |time| time.replacen('T', " ", 1))
}

/// RFC 3339, to the second.
pub(crate) fn rfc3339(micros: i64) -> Option<String> {
    let since = Duration::from_micros(micros.try_into().ok()?);
    let time = std::time::UNIX_EPOCH.checked_add(since)?;
    Some(humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_and_sizes_one() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (192, "3m 12s"), (93_784, "1day 2h"), (3600, "1h"), (3601, "1h 1s")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
        assert_eq!(age(Duration::from_millis(1999)), "1s");
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1_288_490_189), "1.2 GiB");
        assert_eq!(time(1_000_000), "1970-01-01 00:00:01Z");
    }
}
