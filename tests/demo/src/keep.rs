//! `--keep`: leaves everything running.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::arrivals::Arrivals;
use crate::database::Database;
use crate::program::Program;
use crate::run::start_relay;
use crate::servers::Servers;

/// Restarts the relay and the data platform, prints how to look around, and returns at a signal.
///
/// # Errors
/// The relay or the data platform ends by itself.
pub(crate) async fn keep(
    servers: &Servers,
    program: &Program,
    programs: &Path,
    interrupted: impl Future<Output = ()>,
) -> Result<()> {
    let url = servers.postgres_url();
    let database = Database::connect(&url).await?;
    let mut relay = start_relay(program, &database).await?;
    let mut arrivals = Arrivals::new(servers.kafka_brokers());
    arrivals.start()?;
    let settings = program.settings().map(|(name, value)| format!("  export {name}={value}\n")).concat();
    println!(
        "
Everything runs, the relay and the data platform again too. In another terminal:
{settings}  export SHOP_POSTGRES_URL={url} SHOP_KAFKA_BROKERS={brokers}
  psql {url} -c 'select * from outbox order by created_at desc limit 5'
  {programs}/shop sell --seconds 10
  {programs}/shop consume --group me --from-beginning
  {postrider} status
  {postrider} replay --all --dry-run
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
            _ = ticks.tick() => {
                relay.check()?;
                arrivals.check()?;
            }
        }
    }
    relay.terminate().await.map(drop)
}
