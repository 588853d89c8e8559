//! Times on the command line.

use std::time::{Duration, SystemTime};

const TAKES: &str = "a time reads like 2026-01-31T12:00:00Z, 2026-01-31 12:00:00+01:00, 2026-01-31 (UTC where no \
                     offset is said), or like 90m and 7d, which is so long ago";

/// Parses a time, or how long ago it was.
pub(crate) fn parse(text: &str) -> Result<SystemTime, String> {
    parse_at(text, SystemTime::now())
}

/// Rejects a range whose end is before its start.
pub(crate) fn check_range(from: Option<SystemTime>, to: Option<SystemTime>) -> Result<(), String> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => Err(format!(
            "--from ({}) is after --to ({})",
            humantime::format_rfc3339_micros(from),
            humantime::format_rfc3339_micros(to)
        )),
        _ => Ok(()),
    }
}

fn parse_at(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let text = text.trim();
    let parsed = if text.contains(':') {
        date_and_time(text)
    } else if text.bytes().filter(|byte| *byte == b'-').count() == 2 {
        humantime::parse_rfc3339_weak(&format!("{text}T00:00:00Z")).ok()
    } else {
        humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago))
    };
    parsed.ok_or_else(|| TAKES.to_owned())
}

fn date_and_time(text: &str) -> Option<SystemTime> {
    // The date contains dashes.
    const DATE: usize = "2026-01-31".len();
    let at = text.get(DATE..)?.find(['+', '-']).map(|at| at + DATE);
    let Some((local, offset)) = at.and_then(|at| text.split_at_checked(at)) else {
        return humantime::parse_rfc3339_weak(text).ok();
    };
    if local.ends_with(['Z', 'z']) {
        return None;
    }
    let time = humantime::parse_rfc3339_weak(local).ok()?;
    let (ahead, offset) = (offset.starts_with('+'), offset_of(&offset[1..])?);
    if ahead { time.checked_sub(offset) } else { time.checked_add(offset) }
}

/// `02:00`, `0200` or `02`, as RFC 3339, ISO 8601 and PostgreSQL write it.
fn offset_of(text: &str) -> Option<Duration> {
    let digits = match text.split_once(':') {
        Some((hours, minutes)) if hours.len() == 2 && minutes.len() == 2 => format!("{hours}{minutes}"),
        Some(_) => return None,
        None if text.len() == 2 => format!("{text}00"),
        None => text.to_owned(),
    };
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (u64, u64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours < 24 && minutes < 60).then(|| Duration::from_secs((hours * 60 + minutes) * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let time = parse_at(text, now).ok()?;
        time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }

    #[test]
    fn time_without_offset_is_utc() {
        for text in [
            "1970-01-02T12:00:00Z",
            "1970-01-02 12:00:00",
            "1970-01-02T12:00:00.000Z",
            "1970-01-02T14:00:00+02:00",
            "1970-01-02 14:00:00+02",
            "1970-01-02 14:00:00.0+0200",
            "1970-01-02T06:30:00-05:30",
            " 1970-01-02T12:00:00Z ",
        ] {
            assert_eq!(seconds(text), Some(36 * 3600), "{text}");
        }
        assert_eq!(seconds("1970-01-02"), Some(24 * 3600));
    }

    #[test]
    fn a_duration_is_so_long_ago() {
        assert_eq!(seconds("90m"), Some(1_000_000 - 5400));
        assert_eq!(seconds("1d 1h"), Some(1_000_000 - 90_000));
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_it_takes() {
        for text in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-01-01T25:00:00Z",
            "2026-01-01T12:00:00+2",
            "2026-01-01T12:00:00Z+02:00",
            "2026-01-01T12:00:00+99:00",
            "12:00",
            "5",
            "é:2026-01-0é+02:00",
        ] {
            let error = parse_at(text, SystemTime::now()).unwrap_err();
            assert!(error.contains("2026-01-31T12:00:00Z"), "{text}");
        }
    }

    #[test]
    fn a_range_upside_down_is_refused_and_an_empty_one_is_not() {
        let (early, late) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        assert!(check_range(Some(late), Some(early)).unwrap_err().contains("is after --to"));
        assert_eq!(check_range(Some(early), Some(early)), Ok(()));
        assert_eq!(check_range(Some(late), None), Ok(()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:+. -]{0,30}|.*") {
            let _ = parse_at(&text, SystemTime::now());
        }
    }
}
