//! Starts a session on a transport, up to the first ReadyForQuery.

use bytes::BytesMut;
use postgres_protocol::message::backend::{BACKEND_KEY_DATA_TAG, READY_FOR_QUERY_TAG};
use postgres_protocol::message::frontend;
use tokio_postgres::Config;

use crate::protocol::authenticate::authenticate;
use crate::protocol::connection::ReplicationConnection;
use crate::protocol::error::Error;
use crate::protocol::server_error::{ConnectionPhase, SessionIdentity};
use crate::protocol::tls::Secured;

/// The first version whose pgoutput has the option `binary`.
const SERVER_VERSION_MIN: u32 = 14;

/// Settings that the session relies on. Sent with the startup packet, they override those of the role, the database and
/// `options`.
///
/// Decoding runs output functions of the columns' types, for which `search_path` and the formats matter, and takes locks
/// on catalogs. `client_min_messages`: since PostgreSQL 18 a missing publication is only a warning, and hiding it would
/// lose changes silently.
const SETTINGS: [(&str, &str); 14] = [
    ("client_encoding", "UTF8"),
    ("client_min_messages", "warning"),
    ("search_path", "pg_catalog"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
];

/// The first version with `transaction_timeout`, which would end the decoding of a large transaction.
const TRANSACTION_TIMEOUT_VERSION: u32 = 17;

/// Starts a session with `replication=database` (PostgreSQL documentation, "Streaming Replication Protocol").
pub(crate) async fn start_up(secured: Secured, config: &Config) -> Result<ReplicationConnection, Error> {
    let user = match config.get_user() {
        Some(user) => user.to_owned(),
        None => whoami::username().map_err(|error| {
            Error::permanent(format!(
                "the configuration has no user, and the operating system's user name is unknown: {error}"
            ))
            .with_remedy(Some("set user".to_owned()))
        })?,
    };
    // The server's default for the database is the user name.
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    let mut connection = ReplicationConnection::new(secured.transport, SessionIdentity { user, database });
    let out = startup_message(config, &connection.identity)?;
    connection.send(&out).await?;
    authenticate(&mut connection, config, secured.binding).await?;
    let activity = "waiting for the session to start";
    loop {
        match connection.receive(activity).await?.tag {
            BACKEND_KEY_DATA_TAG => {}
            READY_FOR_QUERY_TAG => break,
            tag => return Err(Error::unexpected(tag, activity)),
        }
    }
    connection.phase = ConnectionPhase::Idle;
    let version = check_version(&connection)?;
    if version.is_some_and(|major| major >= TRANSACTION_TIMEOUT_VERSION) {
        connection.query("SET transaction_timeout = 0").await?;
    }
    Ok(connection)
}

fn startup_message(config: &Config, identity: &SessionIdentity) -> Result<BytesMut, Error> {
    let mut parameters =
        vec![("user", identity.user.as_str()), ("database", &identity.database), ("replication", "database")];
    parameters.extend(SETTINGS);
    let optional = [("options", config.get_options()), ("application_name", config.get_application_name())];
    parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out)
        .map_err(|error| Error::permanent(format!("the startup message cannot be encoded: {error}")))?;
    Ok(out)
}

/// The major version, if it is known.
fn check_version(connection: &ReplicationConnection) -> Result<Option<u32>, Error> {
    let Some(version) = connection.parameters.get("server_version") else { return Ok(None) };
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if major < SERVER_VERSION_MIN => {
            Err(Error::permanent(format!("PostgreSQL {version} is not supported"))
                .with_remedy(Some(format!("upgrade the server to PostgreSQL {SERVER_VERSION_MIN} or later"))))
        }
        major => Ok(major.ok()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio_postgres::tls::ChannelBinding;

    use super::*;

    /// Starts a session with a server that sends `bytes` at once.
    async fn start_against(bytes: &[u8], config: &Config) -> Result<ReplicationConnection, Error> {
        let (client_end, mut server_end) = tokio::io::duplex(4096);
        server_end.write_all(bytes).await.expect("the buffer has room");
        start_up(Secured { transport: Box::new(client_end), binding: ChannelBinding::none() }, config).await
    }

    fn greeting(version: &str) -> Vec<u8> {
        let mut out = b"R\0\0\0\x08\0\0\0\0S".to_vec();
        out.extend((4 + "server_version".len() as u32 + version.len() as u32 + 2).to_be_bytes());
        out.extend(
            [b"server_version\0", version.as_bytes(), b"\0K\0\0\0\x0C\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I"]
                .concat(),
        );
        // The answer to SET, for versions that are asked to.
        out.extend(b"C\0\0\0\x08SET\0Z\0\0\0\x05I");
        out
    }

    #[tokio::test]
    async fn start_up_rejects_servers_before_14_with_their_version() {
        let config: Config = "user=u host=h".parse().expect("a configuration");
        for version in ["9.6.24", "13.14 (Debian 13.14-1)"] {
            let error =
                start_against(&greeting(version), &config).await.err().expect("the version is too old");
            assert!(!error.is_retryable() && error.to_string().contains(version), "{error}");
        }
        for version in ["14.0", "17.2 (Debian 17.2-1)", "18beta1", "19devel"] {
            assert!(start_against(&greeting(version), &config).await.is_ok(), "{version}");
        }
    }

    #[tokio::test]
    async fn start_up_rejects_malformed_greetings() {
        let config: Config = "user=u host=h".parse().expect("a configuration");
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"R\0\0\0\x05\0",
            b"Z\0\0\0\x05I",
            b"R\0\0\0\x08\0\0\0\x07",
        ] {
            let error = start_against(bytes, &config).await.err().expect("the greeting is malformed");
            assert!(!error.is_retryable(), "{error}");
        }
    }
}
