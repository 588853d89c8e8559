//! Authentication (PostgreSQL documentation, "Start-up" and "SASL Authentication").

use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ScramSha256};
use postgres_protocol::message::backend::AUTHENTICATION_TAG;
use postgres_protocol::message::frontend;
use tokio_postgres::config::{ChannelBinding as BindingMode, Config};
use tokio_postgres::tls::ChannelBinding;

use crate::byte_reader::ByteReader;
use crate::protocol::channel_binding::tls_server_end_point;
use crate::protocol::connection::ReplicationConnection;
use crate::protocol::error::Error;
use crate::protocol::framing::BackendMessage;

const ACTIVITY: &str = "authenticating";

// PostgreSQL documentation, "Message Formats": the 32 bits after an Authentication message's length.
const OK: u32 = 0;
const CLEARTEXT_PASSWORD: u32 = 3;
const MD5_PASSWORD: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Answers the server's authentication request and waits for AuthenticationOk.
pub(crate) async fn authenticate(
    connection: &mut ReplicationConnection,
    config: &Config,
    binding: ChannelBinding,
) -> Result<(), Error> {
    let message = connection.receive(ACTIVITY).await?;
    let mut reader = ByteReader::new(&message.body, message.position);
    let mut out = BytesMut::new();
    match read_request(&message, &mut reader)? {
        OK => return reject_missing_binding(config),
        CLEARTEXT_PASSWORD => {
            reject_missing_binding(config)?;
            frontend::password_message(password(config)?, &mut out).map_err(|_| password_with_zero_byte())?;
            connection.send(&out).await?;
        }
        MD5_PASSWORD => {
            reject_missing_binding(config)?;
            let salt = reader.u32("a password's salt")?.to_be_bytes();
            let hash = md5_hash(connection.identity.user.as_bytes(), password(config)?, salt);
            frontend::password_message(hash.as_bytes(), &mut out).map_err(|_| password_with_zero_byte())?;
            connection.send(&out).await?;
        }
        SASL => scram(connection, config, binding, reader).await?,
        other => {
            return Err(Error::permanent(format!(
                "the server requests authentication method {other}, which is not supported"
            ))
            .with_remedy(Some("use the method scram-sha-256 for the role in pg_hba.conf".to_owned())));
        }
    }
    let message = connection.receive(ACTIVITY).await?;
    match read_request(&message, &mut ByteReader::new(&message.body, message.position))? {
        OK => Ok(()),
        _ => Err(Error::unexpected(message.tag, ACTIVITY)),
    }
}

async fn scram(
    connection: &mut ReplicationConnection,
    config: &Config,
    binding: ChannelBinding,
    mut mechanisms: ByteReader<'_>,
) -> Result<(), Error> {
    let (mut offers_plain, mut offers_plus) = (false, false);
    loop {
        match mechanisms.string("a SASL mechanism")? {
            "" => break,
            sasl::SCRAM_SHA_256 => offers_plain = true,
            sasl::SCRAM_SHA_256_PLUS => offers_plus = true,
            _ => {}
        }
    }
    let data = match config.get_channel_binding() {
        BindingMode::Disable => None,
        _ => tls_server_end_point(binding).await,
    };
    let (binding, mechanism) = match (data, offers_plus) {
        (Some(data), true) => (sasl::ChannelBinding::tls_server_end_point(data), sasl::SCRAM_SHA_256_PLUS),
        // With this flag a server that did offer SCRAM-SHA-256-PLUS detects the downgrade (RFC 5802, section 6).
        (Some(_), false) if offers_plain => (sasl::ChannelBinding::unrequested(), sasl::SCRAM_SHA_256),
        (None, _) if offers_plain => (sasl::ChannelBinding::unsupported(), sasl::SCRAM_SHA_256),
        _ => {
            return Err(Error::permanent("the server offers no supported SASL mechanism")
                .with_remedy(Some("use the method scram-sha-256 for the role in pg_hba.conf".to_owned())));
        }
    };
    if mechanism != sasl::SCRAM_SHA_256_PLUS {
        reject_missing_binding(config)?;
    }
    let mut scram = ScramSha256::new(password(config)?, binding);
    let mut out = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut out)
        .map_err(|error| scram_error(&error))?;
    connection.send(&out).await?;

    let message = connection.receive(ACTIVITY).await?;
    scram.update(sasl_data(&message, SASL_CONTINUE)?).map_err(|error| scram_error(&error))?;
    out.clear();
    frontend::sasl_response(scram.message(), &mut out).map_err(|error| scram_error(&error))?;
    connection.send(&out).await?;

    let message = connection.receive(ACTIVITY).await?;
    scram.finish(sasl_data(&message, SASL_FINAL)?).map_err(|error| scram_error(&error))
}

fn read_request(message: &BackendMessage, reader: &mut ByteReader<'_>) -> Result<u32, Error> {
    if message.tag != AUTHENTICATION_TAG {
        return Err(Error::unexpected(message.tag, ACTIVITY));
    }
    Ok(reader.u32("an authentication request")?)
}

fn sasl_data(message: &BackendMessage, expected: u32) -> Result<&[u8], Error> {
    let mut reader = ByteReader::new(&message.body, message.position);
    match read_request(message, &mut reader)? {
        found if found == expected => Ok(&message.body[reader.at()..]),
        _ => Err(Error::unexpected(message.tag, ACTIVITY)),
    }
}

fn password(config: &Config) -> Result<&[u8], Error> {
    config.get_password().ok_or_else(|| {
        Error::permanent("the server requests a password and the configuration has none")
            .with_remedy(Some("set the password".to_owned()))
    })
}

fn reject_missing_binding(config: &Config) -> Result<(), Error> {
    match config.get_channel_binding() {
        BindingMode::Require => Err(Error::permanent(
            "the connection has no channel binding, and channel_binding=require demands it",
        )
        .with_remedy(Some("connect with TLS and scram-sha-256, or set channel_binding=prefer".to_owned()))),
        _ => Ok(()),
    }
}

fn password_with_zero_byte() -> Error {
    Error::permanent("the password contains a zero byte, which the protocol cannot carry")
}

fn scram_error(error: &std::io::Error) -> Error {
    Error::permanent(format!("the SCRAM exchange failed; the server may be an impostor: {error}"))
}
