//! Proving who we are (PostgreSQL documentation, "Start-up" and "SASL Authentication").

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
use crate::protocol::framing::Message;

const DOING: &str = "authenticating";

// PostgreSQL documentation, "Message Formats": the 32 bits after an Authentication message's length.
const OK: u32 = 0;
const CLEARTEXT_PASSWORD: u32 = 3;
const MD5_PASSWORD: u32 = 5;
const SASL: u32 = 10;
const SASL_CONTINUE: u32 = 11;
const SASL_FINAL: u32 = 12;

/// Answers whatever the server asks for until it is satisfied.
pub(crate) async fn authenticate(
    connection: &mut ReplicationConnection,
    config: &Config,
    binding: ChannelBinding,
) -> Result<(), Error> {
    let message = connection.receive(DOING).await?;
    let mut reader = ByteReader::new(&message.body, message.position);
    let mut out = BytesMut::new();
    match request(&message, &mut reader)? {
        OK => return refuse_without_binding(config),
        CLEARTEXT_PASSWORD => {
            refuse_without_binding(config)?;
            frontend::password_message(password(config)?, &mut out).map_err(|_| zero_in_password())?;
            connection.send(&out).await?;
        }
        MD5_PASSWORD => {
            refuse_without_binding(config)?;
            let salt = reader.u32("a password's salt")?.to_be_bytes();
            let hash = md5_hash(connection.identity.user.as_bytes(), password(config)?, salt);
            frontend::password_message(hash.as_bytes(), &mut out).map_err(|_| zero_in_password())?;
            connection.send(&out).await?;
        }
        SASL => scram(connection, config, binding, reader).await?,
        other => {
            return Err(Error::permanent(format!(
                "the server asks for authentication method {other}, which is unknown here"
            ))
            .with_remedy(Some("let the role in with scram-sha-256 in pg_hba.conf".to_owned())));
        }
    }
    let message = connection.receive(DOING).await?;
    match request(&message, &mut ByteReader::new(&message.body, message.position))? {
        OK => Ok(()),
        _ => Err(Error::unexpected(message.tag, DOING)),
    }
}

async fn scram(
    connection: &mut ReplicationConnection,
    config: &Config,
    binding: ChannelBinding,
    mut mechanisms: ByteReader<'_>,
) -> Result<(), Error> {
    let (mut plain, mut bound) = (false, false);
    loop {
        match mechanisms.string("a SASL mechanism")? {
            "" => break,
            sasl::SCRAM_SHA_256 => plain = true,
            sasl::SCRAM_SHA_256_PLUS => bound = true,
            _ => {}
        }
    }
    let data = match config.get_channel_binding() {
        BindingMode::Disable => None,
        _ => tls_server_end_point(binding).await,
    };
    let (binding, mechanism) = match (data, bound) {
        (Some(data), true) => (sasl::ChannelBinding::tls_server_end_point(data), sasl::SCRAM_SHA_256_PLUS),
        // Saying that we could have, the server notices if somebody in between took its offer away.
        (Some(_), false) if plain => (sasl::ChannelBinding::unrequested(), sasl::SCRAM_SHA_256),
        (None, _) if plain => (sasl::ChannelBinding::unsupported(), sasl::SCRAM_SHA_256),
        _ => return Err(Error::permanent("the server offers no SASL mechanism that is known here")),
    };
    if mechanism != sasl::SCRAM_SHA_256_PLUS {
        refuse_without_binding(config)?;
    }
    let mut scram = ScramSha256::new(password(config)?, binding);
    let mut out = BytesMut::new();
    frontend::sasl_initial_response(mechanism, scram.message(), &mut out)
        .map_err(|error| not_scram(&error))?;
    connection.send(&out).await?;

    let message = connection.receive(DOING).await?;
    scram.update(sasl_data(&message, SASL_CONTINUE)?).map_err(|error| not_scram(&error))?;
    out.clear();
    frontend::sasl_response(scram.message(), &mut out).map_err(|error| not_scram(&error))?;
    connection.send(&out).await?;

    let message = connection.receive(DOING).await?;
    scram.finish(sasl_data(&message, SASL_FINAL)?).map_err(|error| not_scram(&error))
}

fn request(message: &Message, reader: &mut ByteReader<'_>) -> Result<u32, Error> {
    if message.tag != AUTHENTICATION_TAG {
        return Err(Error::unexpected(message.tag, DOING));
    }
    Ok(reader.u32("an authentication request")?)
}

fn sasl_data(message: &Message, wanted: u32) -> Result<&[u8], Error> {
    let mut reader = ByteReader::new(&message.body, message.position);
    match request(message, &mut reader)? {
        found if found == wanted => Ok(&message.body[reader.at()..]),
        _ => Err(Error::unexpected(message.tag, DOING)),
    }
}

fn password(config: &Config) -> Result<&[u8], Error> {
    config.get_password().ok_or_else(|| {
        Error::permanent("the server asks for a password and the configuration has none")
            .with_remedy(Some("set the password".to_owned()))
    })
}

fn refuse_without_binding(config: &Config) -> Result<(), Error> {
    match config.get_channel_binding() {
        BindingMode::Require => Err(Error::permanent(
            "channel_binding=require and the server did not use it",
        )
        .with_remedy(Some("connect with TLS and scram-sha-256, or set channel_binding=prefer".to_owned()))),
        _ => Ok(()),
    }
}

fn zero_in_password() -> Error {
    Error::permanent("the password has a zero byte in it")
}

fn not_scram(error: &std::io::Error) -> Error {
    Error::permanent(format!(
        "the SCRAM exchange failed, so this may not be the server it claims to be: {error}"
    ))
}
