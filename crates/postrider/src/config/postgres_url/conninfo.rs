//! Parses libpq's two forms of connection strings (PostgreSQL documentation, "Connection Strings").
//!
//! The errors of tokio-postgres's parser quote the input, which may be part of the password, and it reads what follows
//! an unescaped `@` in a password as the host, which then appears in logs. The errors here quote nothing.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use crate::config::address::is_host_name;

/// Parameters by name, in order.
pub(crate) type Parameters = Vec<(String, String)>;

/// Parses either form.
pub(crate) fn parameters(text: &str) -> Result<Parameters, String> {
    match ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(url) => of_url(url),
        None => of_pairs(text),
    }
}

/// Formats parameters so that tokio-postgres parses exactly these.
pub(crate) fn to_pairs(parameters: &Parameters) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    parameters.iter().map(|(name, value)| format!("{name}='{}' ", escaped(value))).collect()
}

fn of_url(url: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    let rest = match url.split_once('@') {
        None => url,
        Some((credentials, rest)) => {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            if rest.contains('@') || user.contains(['/', '?']) {
                return Err(
                    "has more than one '@'; in a user, password or parameter, write it as %40".to_owned()
                );
            }
            push(&mut parameters, "user", user)?;
            push(&mut parameters, "password", password)?;
            rest
        }
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
    if !hosts.is_empty() {
        let (hosts, ports) = hosts_and_ports(hosts)?;
        parameters.push(("host".to_owned(), hosts));
        parameters.push(("port".to_owned(), ports));
    }
    push(&mut parameters, "dbname", database)?;
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter
            .split_once('=')
            .ok_or("has a parameter without a value; expected name=value&name=value after the '?'")?;
        parameters.push((decoded(name)?, decoded(value)?));
    }
    Ok(parameters)
}

fn push(parameters: &mut Parameters, name: &str, value: &str) -> Result<(), String> {
    if !value.is_empty() {
        parameters.push((name.to_owned(), decoded(value)?));
    }
    Ok(())
}

fn hosts_and_ports(text: &str) -> Result<(String, String), String> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for chunk in text.split(',') {
        let (host, port) = match chunk.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':').unwrap_or(port)),
            None => chunk.split_once(':').unwrap_or((chunk, "")),
        };
        hosts.push(decoded(host)?);
        if !port.is_empty() && !is_port(port) {
            return Err(
                "has a port that is no number from 1 to 65535; in a password, write ':' as %3A, '/' as %2F \
                        and '@' as %40"
                    .to_owned(),
            );
        }
        ports.push(if port.is_empty() { "5432" } else { port });
    }
    Ok((hosts.join(","), ports.join(",")))
}

/// A host name, an IP address, or the directory of a Unix socket.
pub(crate) fn is_host(text: &str) -> bool {
    text.starts_with('/') || text.parse::<Ipv6Addr>().is_ok() || is_host_name(text)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn decoded(text: &str) -> Result<String, String> {
    let error = |_| "has percent-encoded bytes that are not UTF-8".to_owned();
    let text = percent_decode_str(text).decode_utf8().map_err(error)?;
    match text.contains('\0') {
        true => Err("contains a NUL character".to_owned()),
        false => Ok(text.into_owned()),
    }
}

fn of_pairs(text: &str) -> Result<Parameters, String> {
    const FORM: &str = "is neither a URL such as postgres://user:password@host:5432/database nor \
                        host=… user=… password=… dbname=…; put values with spaces in single quotes";
    let mut parameters = Parameters::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(FORM)?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(FORM.to_owned());
        }
        let (value, after) = value(after.trim_start()).ok_or(FORM)?;
        parameters.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Parses a quoted or unquoted value; also returns the rest of the text.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.starts_with('\'');
    let text = text.strip_prefix('\'').unwrap_or(text);
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\0' => return None,
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => {
                let rest = &text[at + 1..];
                let separate = rest.is_empty() || rest.starts_with(char::is_whitespace);
                return separate.then_some((value, rest));
            }
            space if !quoted && space.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted && !value.is_empty()).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        parameters(text).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn parameters_of_a_url() {
        let url = "postgres://shop:p%40ss%2Fw@db1:5433,[::1]/orders?application_name=a%20b&sslmode=require";
        let expected = [
            pair("user", "shop"),
            pair("password", "p@ss/w"),
            pair("host", "db1,::1"),
            pair("port", "5433,5432"),
            pair("dbname", "orders"),
            pair("application_name", "a b"),
            pair("sslmode", "require"),
        ];
        assert_eq!(parsed(url), expected);
        let socket = [pair("host", "/run/postgresql"), pair("port", "5432"), pair("dbname", "shop")];
        assert_eq!(parsed("postgresql://%2Frun%2Fpostgresql/shop"), socket);
    }

    #[test]
    fn parameters_of_pairs_with_quotes_and_escapes() {
        let text = r"host = db  password='it\'s a \\' user=a\ b";
        assert_eq!(parsed(text), [pair("host", "db"), pair("password", r"it's a \"), pair("user", "a b")]);
    }

    #[test]
    fn errors_quote_nothing_from_the_text() {
        for text in [
            "postgres://u:hunter@2@db/shop",
            "postgres://u:hunter2@db/a@b",
            "postgres://db/shop?options=hunter2@x",
            "postgres://u:hunter2/x",
            "postgres://u:%ffhunter2@db/shop",
            "postgres://u:%00hunter2@db/shop",
            "postgres://u:x@db/shop?hunter2",
            "host=db password=hunter2 hunter2",
            "host=db password='hunter2",
            "host=db password='hunter2'x",
            "hunter2",
            "mysql://u:hunter2@db/shop",
            "=hunter2",
        ] {
            let error = parameters(text).expect_err(text);
            assert!(!error.contains("hunter"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn to_pairs_round_trips(values in proptest::collection::vec("[^\0]+", 1..5)) {
            let parameters: Parameters =
                values.into_iter().enumerate().map(|(at, value)| (format!("name{at}"), value)).collect();
            prop_assert_eq!(parsed(&to_pairs(&parameters)), parameters);
        }

        #[test]
        fn parameters_never_panics(text in "(postgres://)?[a-z:@/?=&%\\[\\]', \\\\]*|\\PC*") {
            let _ = parameters(&text);
        }
    }
}
