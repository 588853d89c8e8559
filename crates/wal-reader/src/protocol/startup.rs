//! From a transport to a replication connection that is ready for a command.

use bytes::BytesMut;
use postgres_protocol::message::backend::{BACKEND_KEY_DATA_TAG, READY_FOR_QUERY_TAG};
use postgres_protocol::message::frontend;
use tokio_postgres::Config;

use crate::protocol::authenticate::authenticate;
use crate::protocol::connection::ReplicationConnection;
use crate::protocol::error::Error;
use crate::protocol::server_error::{ConnectionPhase, SessionIdentity};
use crate::protocol::tls::Secured;

/// The first version whose pgoutput has the options `binary` and `messages`.
const SERVER_VERSION_MIN: u32 = 14;

/// Starts a session with `replication=database` (PostgreSQL documentation, "Streaming Replication Protocol").
pub(crate) async fn start_up(secured: Secured, config: &Config) -> Result<ReplicationConnection, Error> {
    let user = match config.get_user() {
        Some(user) => user.to_owned(),
        None => whoami::username().map_err(|error| {
            Error::permanent(format!(
                "the configuration names no user and the operating system none either: {error}"
            ))
            .with_remedy(Some("set the user".to_owned()))
        })?,
    };
    // The server takes the user's name for the database's if it is told none.
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    let mut connection = ReplicationConnection::new(secured.transport, SessionIdentity { user, database });
    let out = startup_message(config, &connection.identity)?;
    connection.send(&out).await?;
    authenticate(&mut connection, config, secured.binding).await?;
    let doing = "waiting for the session to start";
    loop {
        match connection.receive(doing).await?.tag {
            BACKEND_KEY_DATA_TAG => {}
            READY_FOR_QUERY_TAG => break,
            tag => return Err(Error::unexpected(tag, doing)),
        }
    }
    connection.phase = ConnectionPhase::Idle;
    check_version(&connection)?;
    Ok(connection)
}

fn startup_message(config: &Config, identity: &SessionIdentity) -> Result<BytesMut, Error> {
    let mut parameters = vec![
        ("user", identity.user.as_str()),
        ("database", &identity.database),
        ("replication", "database"),
        ("client_encoding", "UTF8"),
        // A role's own setting must not hide the warning that a publication was skipped: it is how PostgreSQL 18
        // says that changes are being lost.
        ("client_min_messages", "warning"),
    ];
    let optional = [("options", config.get_options()), ("application_name", config.get_application_name())];
    parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out).map_err(|error| {
        Error::permanent(format!("the configuration cannot be sent to the server: {error}"))
    })?;
    Ok(out)
}

fn check_version(connection: &ReplicationConnection) -> Result<(), Error> {
    let Some(version) = connection.parameters.get("server_version") else { return Ok(()) };
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if major < SERVER_VERSION_MIN => {
            Err(Error::permanent(format!("the server is PostgreSQL {version}, too old for this program"))
                .with_remedy(Some(format!("upgrade it to {SERVER_VERSION_MIN} or later"))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio_postgres::tls::ChannelBinding;

    use super::*;

    /// A session with a server that says this at once.
    async fn against(said: &[u8], config: &Config) -> Result<ReplicationConnection, Error> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        theirs.write_all(said).await.expect("room for it");
        start_up(Secured { transport: Box::new(ours), binding: ChannelBinding::none() }, config).await
    }

    fn greeting(version: &str) -> Vec<u8> {
        let mut out = b"R\0\0\0\x08\0\0\0\0S".to_vec();
        out.extend((4 + "server_version".len() as u32 + version.len() as u32 + 2).to_be_bytes());
        out.extend(
            [b"server_version\0", version.as_bytes(), b"\0K\0\0\0\x0C\0\0\0\x01\0\0\0\x02Z\0\0\0\x05I"]
                .concat(),
        );
        out
    }

    #[tokio::test]
    async fn a_server_that_is_too_old_is_a_definite_error_with_its_version() {
        let config: Config = "user=u host=h".parse().expect("a configuration");
        for version in ["9.6.24", "13.14 (Debian 13.14-1)"] {
            let error = against(&greeting(version), &config).await.err().expect("it is too old");
            assert!(!error.is_retryable() && error.to_string().contains(version), "{error}");
        }
        for version in ["14.0", "17.2 (Debian 17.2-1)", "18beta1", "19devel"] {
            assert!(against(&greeting(version), &config).await.is_ok(), "{version}");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_no_greeting_are_a_definite_error() {
        let config: Config = "user=u host=h".parse().expect("a configuration");
        for said in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"R\0\0\0\x05\0",
            b"Z\0\0\0\x05I",
            b"R\0\0\0\x08\0\0\0\x07",
        ] {
            let error = against(said, &config).await.err().expect("it is no greeting");
            assert!(!error.is_retryable(), "{error}");
        }
    }
}
