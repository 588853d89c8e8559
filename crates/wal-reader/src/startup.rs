//! From a transport to a replication connection that is ready for a command.

use bytes::BytesMut;
use postgres_protocol::message::backend::{BACKEND_KEY_DATA_TAG, READY_FOR_QUERY_TAG};
use postgres_protocol::message::frontend;
use tokio_postgres::Config;

use crate::Error;
use crate::authenticate::authenticate;
use crate::connection::Connection;
use crate::server_error::Phase;
use crate::tls::Secured;

/// The first version whose pgoutput has the options `binary` and `messages`.
const SERVER_VERSION_MIN: u32 = 14;

/// Starts a session with `replication=database` (PostgreSQL documentation, "Streaming Replication Protocol").
pub(crate) async fn start_up(secured: Secured, config: &Config) -> Result<Connection, Error> {
    let user = match config.get_user() {
        Some(user) => user.to_owned(),
        None => whoami::username().map_err(|error| {
            Error::definite(format!(
                "the configuration names no user and the operating system none either: {error}"
            ))
            .with_remedy(Some("set the user".to_owned()))
        })?,
    };
    let mut connection = Connection::new(secured.transport, user);
    let out = startup_message(config, &connection.user)?;
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
    connection.phase = Phase::Idle;
    check_version(&connection)?;
    Ok(connection)
}

fn startup_message(config: &Config, user: &str) -> Result<BytesMut, Error> {
    let mut parameters = vec![
        ("user", user),
        ("replication", "database"),
        ("client_encoding", "UTF8"),
        // A role's own setting must not hide the warning that a publication was skipped: it is how PostgreSQL 18
        // says that changes are being lost.
        ("client_min_messages", "warning"),
    ];
    let optional = [
        ("database", config.get_dbname()),
        ("options", config.get_options()),
        ("application_name", config.get_application_name()),
    ];
    parameters.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out).map_err(|error| {
        Error::definite(format!("the configuration cannot be sent to the server: {error}"))
    })?;
    Ok(out)
}

fn check_version(connection: &Connection) -> Result<(), Error> {
    let Some(version) = connection.parameters.get("server_version") else { return Ok(()) };
    let digits = version.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if major < SERVER_VERSION_MIN => {
            Err(Error::definite(format!("the server is PostgreSQL {version}, too old for this program"))
                .with_remedy(Some(format!("upgrade it to {SERVER_VERSION_MIN} or later"))))
        }
        _ => Ok(()),
    }
}
