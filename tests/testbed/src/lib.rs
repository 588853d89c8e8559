//! Real servers for tests, the demo and benchmarks; development only.
//!
//! [`Postgres`] and [`Kafka`] start, stop, kill, pause and restart a real server on a loopback port
//! that stays the same for its whole life. Methods take `&self`, so that a server can live in a
//! `static OnceLock` and be shared by the tests of a process; they block, and may be called from
//! async code that can bear it.
//!
//! Each server has a guardian: a small shell process in a session of its own, at the other end of a
//! pipe that only this process holds. When the pipe closes, for whatever reason (the value is
//! dropped, the process exits with the server in a `static`, panics or is killed), the guardian ends
//! the server and removes its directory.
//!
//! The servers' programs come through Maven, with pinned versions, into a cache that everything on
//! the machine shares: `$POSTRIDER_CACHE`, else `/var/cache/postrider` for root, else
//! `$XDG_CACHE_HOME/postrider`, else `~/.cache/postrider`. PostgreSQL refuses to run as root and root's
//! home is closed to others, hence root's own place.

mod cache;
mod command;
mod distribution;
mod error;
mod guardian;
mod kafka;
mod kafka_wire;
mod port;
mod postgres;
mod postgres_cluster;
mod server;
mod tls;
mod user;
mod wait;

pub use distribution::{POSTGRES_DEFAULT, POSTGRES_VERSIONS, fetch_kafka, fetch_postgres};
pub use error::Error;
pub use kafka::{Kafka, KafkaBuilder};
pub use postgres::{Postgres, PostgresBuilder};
