//! Everything left running, for a look around.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::database::Database;
use crate::play::start_relay;
use crate::relay::Program;
use crate::servers::Servers;

/// Starts the relay again, says how to look around, and returns at a signal.
///
/// # Errors
/// The relay ends by itself.
pub(crate) async fn keep(
    servers: &Servers,
    program: &Program,
    programs: &Path,
    interrupted: impl Future<Output = ()>,
) -> Result<()> {
    let url = servers.postgres_url();
    let database = Database::connect(&url).await?;
    let mut relay = start_relay(program, &database).await?;
    println!(
        "
Everything runs, the relay again too. In another terminal:
  export POSTRIDER_POSTGRES_URL={url} POSTRIDER_KAFKA_BROKERS={brokers}
  export SHOP_POSTGRES_URL={url} SHOP_KAFKA_BROKERS={brokers}
  psql {url} -c 'select * from outbox order by created_at desc limit 5'
  {programs}/shop sell --seconds 10
  {programs}/shop consume --group me --from-beginning
  {postrider} --help
  tail -f {log}
The topics: {topics}. Ctrl-C ends everything.",
        brokers = servers.kafka_brokers(),
        programs = programs.display(),
        postrider = program.path.display(),
        log = program.log.display(),
        topics = shop::TOPICS.join(", "),
    );
    let mut interrupted = std::pin::pin!(interrupted);
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            () = &mut interrupted => break,
            _ = ticks.tick() => relay.check()?,
        }
    }
    relay.terminate().await.map(drop)
}
