//! The settings that every session relies on, whatever the role, the database or `postgresql.conf` sets.

/// Sent with the startup packet: they take effect before the first statement and override what is set for the role or
/// the database (PostgreSQL documentation, "Setting Parameters"). Every supported version has all of them.
///
/// With `pg_catalog` alone in `search_path`, no function or operator that a role created in another schema can stand in
/// for one of PostgreSQL's own (CVE-2018-1058). With `row_security` off, a policy that would hide rows is an error.
///
/// `TimeZone` is not among them. A column without a time zone holds the wall clock time of the services' sessions, and
/// the configured time zone is the best guess of it.
const STARTUP: [(&str, &str); 18] = [
    ("search_path", "pg_catalog"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("row_security", "off"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("quote_all_identifiers", "off"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
];

/// Run once the session is there: settings that depend on the server's version or on the present value.
///
/// A status that is confirmed to the slot must survive a crash of the server, so its commit must have been flushed
/// (PostgreSQL documentation, "Asynchronous Commit"); the other values of `synchronous_commit` all flush.
pub(crate) const AFTER_STARTUP: &str = "
select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off';
select set_config('transaction_timeout', '0', false) where current_setting('transaction_timeout', true) is not null;
";

/// The value of the startup parameter `options`: those of the configuration, then ours. The last one of a name wins.
pub(crate) fn startup_options(configured: Option<&str>) -> String {
    let mut options = complete(configured.unwrap_or_default()).to_owned();
    for (name, value) in STARTUP {
        options.push_str(&format!(" -c {name}={}", value.replace(' ', "\\ ")));
    }
    options
}

/// Without an escape at the end that escapes nothing, and would join what follows.
fn complete(options: &str) -> &str {
    let escapes = options.bytes().rev().take_while(|byte| *byte == b'\\').count();
    if escapes % 2 == 1 { &options[..options.len() - 1] } else { options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn startup_options_follow_the_configured_ones() {
        let options = startup_options(Some("-c search_path=public -c work_mem=8MB"));
        assert!(
            options.starts_with("-c search_path=public -c work_mem=8MB -c search_path=pg_catalog "),
            "{options}"
        );
        assert!(options.contains(" -c default_transaction_isolation=read\\ committed "), "{options}");
        assert!(startup_options(None).starts_with(" -c search_path=pg_catalog "));
    }

    #[test]
    fn startup_options_are_not_joined_to_an_escape() {
        assert!(startup_options(Some("-c a=b\\")).starts_with("-c a=b -c search_path"));
        assert!(startup_options(Some("-c a=b\\\\")).starts_with("-c a=b\\\\ -c search_path"));
    }
}
