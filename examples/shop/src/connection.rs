//! Connections that wait for a server that is not there yet.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio_postgres::{Client, Config, NoTls};
use tracing::warn;

use crate::Error;

/// Opens one connection; its I/O runs as a task of the current runtime until the client is dropped.
///
/// Without TLS: the shop is an example for one's own machine.
pub(crate) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await.map_err(Error::postgres("connecting"))?;
    // An error of the connection also reaches whoever waits for a query on it, so it is not reported twice.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// Tries until it works: errors that waiting can cure are waited out, with 0.1 s to 5 s between two tries, and
/// logged where the reason is another one than before. `None` when `stop` says so first.
///
/// # Errors
/// The first one that waiting does not cure.
pub(crate) async fn with_retry<T, F>(
    stop: &mut watch::Receiver<bool>,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut delays = ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(5))
        .without_max_times()
        .with_jitter()
        .build();
    let mut waiting_for = String::new();
    loop {
        let tried = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return Ok(None),
            tried = attempt() => tried,
        };
        let error = match tried {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        let reason = error.with_causes();
        if reason != waiting_for {
            warn!("waiting: {reason}");
            waiting_for = reason;
        }
        let delay = delays.next().unwrap_or(Duration::from_secs(5));
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
    }
}
