//! Runs a command.

use anyhow::Context;
use outbox_store::Shape;
use tracing::{info, warn};

use crate::cli::arguments::Command;
use crate::config::{Config, LoadedConfig};

/// Carries the command out, to its end. Logging is up.
///
/// # Errors
///
/// Whatever stopped it, not yet logged.
pub fn execute(command: Command, loaded: LoadedConfig) -> anyhow::Result<()> {
    let LoadedConfig { config, warnings } = loaded;
    if command == Command::Run {
        announce(&config);
    }
    for warning in warnings {
        warn!("{warning}");
    }
    // One thread: librdkafka has its own, and the loop that owns the pipeline needs no other.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let outcome = match command {
        Command::Init { dry_run, partitioned } => {
            let shape = if partitioned { Shape::Monthly } else { Shape::Plain };
            runtime.block_on(crate::init::init(&config, dry_run, shape))
        }
        Command::Run => runtime.block_on(crate::relay::run(config)),
        Command::Status(arguments) => runtime.block_on(crate::status::status(&config, &arguments)),
        Command::Verify(arguments) => runtime.block_on(crate::verify::verify(&config, &arguments)),
        Command::Replay(args) => {
            let alone = crate::relay::replay_standalone;
            runtime.block_on(crate::replay::replay(&config, args, alone))
        }
    };
    // A name lookup that is still under way would otherwise be waited for.
    runtime.shutdown_background();
    outcome
}

fn announce(config: &Config) {
    info!(
        version = env!("CARGO_PKG_VERSION"),
        slot = config.postgres.slot,
        publication = config.postgres.publication,
        table = %config.postgres.table,
        topic = config.routing.topic,
        brokers = config.kafka.brokers.join(","),
        "postrider starts"
    );
}
