//! Waiting for a request's end.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::{Result, bail};
use outbox_store::{ReplayRequest, ReplayWatch};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::progress::Progress;
use crate::config::Config;

/// A notification may be lost with its connection; the request's own row is then looked at after this time.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Shows how a request stands until it is finished.
///
/// # Errors
///
/// The request is gone, or the database refuses for good. What passes is waited out.
pub(super) async fn follow(config: &Config, id: Uuid, progress: &mut Progress) -> Result<ReplayRequest> {
    let mut watch = None;
    loop {
        match look(config, id, &mut watch).await {
            Ok(Some(request)) => {
                progress.show(&request);
                if request.state.is_finished() {
                    return Ok(request);
                }
            }
            Ok(None) => bail!("there is no replay {id} any more"),
            Err(error) if !error.is_retryable() => return Err(error.into()),
            Err(_) => {
                watch = None;
                sleep(RECONNECT_PAUSE).await;
                continue;
            }
        }
        if let Some(watch) = &mut watch {
            let _ = timeout(LOOK_AGAIN_AFTER, watch.changed()).await;
        }
    }
}

/// Shows how a request stands while somebody else brings it to its end.
pub(super) async fn show(config: &Config, id: Uuid, progress: &mut Progress) -> Infallible {
    let _ = follow(config, id, progress).await;
    std::future::pending().await
}

async fn look(
    config: &Config,
    id: Uuid,
    watch: &mut Option<ReplayWatch>,
) -> Result<Option<ReplayRequest>, outbox_store::StoreError> {
    let watch = match watch {
        Some(watch) => watch,
        None => {
            let postgres = &config.postgres;
            watch.insert(ReplayWatch::new(&postgres.connection, &postgres.tls, id).await?)
        }
    };
    watch.request().await
}
