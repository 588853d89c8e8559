//! The `replay` command: rows sent again, by the relay where one is running, and otherwise by this process.

mod args;
mod dry_run;
mod follow;
mod progress;

use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use outbox_store::{
    Cancelled, Names, ReplayKind, ReplayRequest, ReplayState, Selection, Session, cancel_replay, connect,
    has_created_at, is_anything_selected, preview_replay, request_replay, request_skip, slot_state,
    unfinished_replays,
};
use uuid::Uuid;

pub use args::ReplayArgs;

use crate::config::Config;
use crate::relay::Alone;
use crate::stdout::say;
use args::Asked;
use dry_run::counted;
use follow::{follow, show};
use progress::Progress;

/// Unfinished requests that are looked at.
const LOOKED_AT_MAX: usize = 1000;

/// Carries out what was asked. `alone` takes the slot and carries the request out, with all before it, where no relay
/// is running.
///
/// # Errors
///
/// Nothing can be requested, or the request failed or was cancelled.
pub(crate) async fn replay(
    config: &Config,
    args: ReplayArgs,
    alone: impl AsyncFnOnce(&Config, Uuid) -> Result<Alone>,
) -> Result<()> {
    if !config.writeback {
        bail!(
            "with writeback.enabled = false rows say nothing of their delivery and there is no schema postrider to keep \
             a replay in; enable write-back and run `postrider init`, then replay"
        );
    }
    let names = config.names();
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let (id, has_relay) = match args.asked {
        Asked::Cancel(id) => return cancel(&session, &names, id).await,
        Asked::DryRun { selection } => return dry_run(&session, &names, config, &selection).await,
        Asked::Skip(row) => {
            let has_relay = has_relay(&session, &names.slot).await?;
            let Some(id) = request_skip(&session, &names, row).await? else {
                bail!(
                    "nothing is held back behind row {row}: only a row that failed under failure.policy = \"hold\" and \
                     has others waiting behind it is skipped; `postrider status` lists them"
                );
            };
            (id, has_relay)
        }
        Asked::Replay { selection, rows_per_second } => {
            check_times(&session, &names, &selection).await?;
            if !is_anything_selected(&session, &names, &selection).await? {
                say(&format!("no row of {} is selected; nothing was requested\n", names.table));
                return Ok(());
            }
            let has_relay = has_relay(&session, &names.slot).await?;
            let known = if has_relay {
                None
            } else {
                interrupted(&session, &names, &selection, rows_per_second).await?
            };
            let id = match known {
                Some(id) => {
                    eprintln!("replay {id} asked for the same and was interrupted; it goes on where it was");
                    id
                }
                None => request_replay(&session, &names, &selection, rows_per_second).await?,
            };
            (id, has_relay)
        }
    };
    drop(session);
    let wait = args.wait.unwrap_or_else(|| io::stderr().is_terminal() || io::stdout().is_terminal());
    carry_out(config, id, has_relay, wait, alone).await
}

async fn carry_out(
    config: &Config,
    id: Uuid,
    has_relay: bool,
    wait: bool,
    alone: impl AsyncFnOnce(&Config, Uuid) -> Result<Alone>,
) -> Result<()> {
    let mut progress = Progress::new();
    let mut is_ours = false;
    if !has_relay {
        tell_of_those_before(config, id).await?;
        let outcome = tokio::select! {
            biased;
            outcome = alone(config, id) => outcome?,
            never = show(config, id, &mut progress) => match never {},
        };
        match outcome {
            Alone::Ended => is_ours = true,
            Alone::Interrupted => bail!(
                "interrupted; replay {id} goes on where it is when the relay is started or the same command is given \
                 again. To call it off: postrider replay --cancel {id}"
            ),
            Alone::SlotTaken => {}
        }
    }
    if !wait && !is_ours {
        drop(progress);
        say(&format!(
            "replay {id} is requested; the relay carries it out. `postrider status` shows how far it has come, \
             `postrider replay --cancel {id}` calls it off\n"
        ));
        return Ok(());
    }
    let request = tokio::select! {
        request = follow(config, id, &mut progress) => request?,
        _ = tokio::signal::ctrl_c() => {
            drop(progress);
            bail!(
                "not waiting any longer; the relay goes on with replay {id}. `postrider status` shows how far it has \
                 come, `postrider replay --cancel {id}` calls it off"
            );
        }
    };
    drop(progress);
    tell_end(&request)
}

/// Requests are carried out in their order, whoever does it.
async fn tell_of_those_before(config: &Config, id: Uuid) -> Result<()> {
    let session = connect(&config.postgres.connection, &config.postgres.tls).await?;
    let unfinished = unfinished_replays(&session, &config.postgres.slot, LOOKED_AT_MAX).await?;
    let before: Vec<String> = unfinished
        .iter()
        .take_while(|request| request.id != id)
        .map(|request| request.id.to_string())
        .collect();
    if !before.is_empty() {
        eprintln!(
            "unfinished requests come first: {}. To call one off: postrider replay --cancel ID",
            before.join(", ")
        );
    }
    Ok(())
}

fn tell_end(request: &ReplayRequest) -> Result<()> {
    let ReplayRequest { id, state, progress, .. } = request;
    match (&request.kind, state) {
        (ReplayKind::Skip(row), ReplayState::Done) => {
            say(&format!("row {row} is skipped; those behind it go on\n"))
        }
        (ReplayKind::Skip(_), _) => {}
        (ReplayKind::Replay { .. }, _) => say(&format!(
            "replay {id}: {} sent, {} failed, {} passed over\n",
            progress.sent, progress.failed, progress.passed
        )),
    }
    match state {
        ReplayState::Done if progress.failed > 0 => bail!(
            "{} could not be sent; why, stands on each as last_error, and `postrider status` lists those that say \
             FAILED",
            counted(progress.failed, "row")
        ),
        ReplayState::Done => Ok(()),
        ReplayState::Cancelled => bail!("replay {id} was cancelled"),
        _ => {
            bail!("replay {id} failed: {}", request.last_error.as_deref().unwrap_or("no reason is recorded"))
        }
    }
}

async fn cancel(session: &Session, names: &Names, id: Uuid) -> Result<()> {
    match cancel_replay(session, &names.slot, id).await? {
        Cancelled::Now => {
            say(&format!("replay {id} is cancelled; rows that are on their way still arrive\n"));
            Ok(())
        }
        Cancelled::Finished(state) => bail!("replay {id} cannot be cancelled: it is {state} already"),
        Cancelled::Unknown => bail!(
            "slot {} has no replay {id}; `postrider status` lists those that are not finished",
            names.slot
        ),
    }
}

async fn dry_run(session: &Session, names: &Names, config: &Config, selection: &Selection) -> Result<()> {
    check_times(session, names, selection).await?;
    let routing = &config.routing.compiled;
    let (topic, key): (Vec<_>, Vec<_>) = (routing.topic_parts().collect(), routing.key_parts().collect());
    let preview = preview_replay(session, names, selection, &topic, &key).await?;
    say(&dry_run::text(&preview));
    Ok(())
}

async fn check_times(session: &Session, names: &Names, selection: &Selection) -> Result<()> {
    let asked = selection.from_us.is_some() || selection.to_us.is_some();
    if asked && !has_created_at(session, names).await? {
        bail!(
            "{} has no column {}, so --from and --to select nothing; leave them out, or map columns.created_at",
            names.table,
            names.columns.created_at
        );
    }
    Ok(())
}

/// Whether a relay reads the slot now.
async fn has_relay(session: &Session, slot: &str) -> Result<bool> {
    match slot_state(session, slot).await? {
        Some(state) => Ok(state.active),
        None => bail!("there is no slot {slot}, so no relay can carry a replay out; run `postrider init`"),
    }
}

/// A request for the same rows that nobody is at.
async fn interrupted(
    session: &Session,
    names: &Names,
    asked: &Selection,
    rate: Option<u32>,
) -> Result<Option<Uuid>> {
    let unfinished = unfinished_replays(session, &names.slot, LOOKED_AT_MAX).await?;
    let is_same = |request: &&ReplayRequest| match &request.kind {
        ReplayKind::Replay { selection, rows_per_second, .. } => {
            selection == asked && *rows_per_second == rate
        }
        ReplayKind::Skip(_) => false,
    };
    Ok(unfinished.iter().find(is_same).map(|request| request.id))
}
