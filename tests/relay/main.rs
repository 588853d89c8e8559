//! `postrider run` against real servers: what it delivers and what it survives.

mod content;
mod failover;
mod idle;
mod kafka_outage;
mod locks;
mod memory;
mod new_slot;
mod partitioned;
mod postgres_outage;
mod refusal;
mod restart;
mod standby;
mod table_change;
mod transactions;
mod without_write_back;
