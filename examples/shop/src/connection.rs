//! PostgreSQL connections, and retry with backoff.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio_postgres::{Client, Config, NoTls};
use tracing::warn;

use crate::Error;

/// Opens one connection; its I/O runs as a task of the current runtime until the client is dropped.
///
/// Without TLS: the shop is an example for a local machine.
pub(crate) async fn connect(config: &Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await.map_err(Error::postgres("connecting"))?;
    // The error of a broken connection is also returned by the pending query.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// Retries retryable errors with exponential backoff from 0.1 s to 5 s, and logs an error when it differs from the
/// previous one. Returns `None` once `stop` is true.
///
/// # Errors
/// The first error that is not retryable.
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
    let mut last_reason = String::new();
    loop {
        let result = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return Ok(None),
            result = attempt() => result,
        };
        let error = match result {
            Ok(value) => return Ok(Some(value)),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        let reason = error.with_causes();
        if reason != last_reason {
            warn!(error = reason, "not ready; retrying");
            last_reason = reason;
        }
        let delay = delays.next().unwrap_or(Duration::from_secs(5));
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => return Ok(None),
            () = tokio::time::sleep(delay) => {}
        }
    }
}
