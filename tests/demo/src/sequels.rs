//! What is done to rows after they are published: a record is lost, and a replay is asked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shop::{FaultRates, Pace, TOPICS, Workload};
use tokio::sync::watch;
use uuid::Uuid;

use crate::deletion::delete;
use crate::program::Program;
use crate::proof::{Place, Row, Sequel};
use crate::run::{Run, STANDSTILL, START, TICK};
use crate::steps::Step;

/// Ten times the deadline of a stuck row: a pass of the reconciler on a busy machine fits in.
const REPAIR: Duration = Duration::from_secs(30);
const REPLAY_ROWS_MAX: u32 = 20;

impl Run {
    /// Sells one order before there is a data platform and has the broker lose its payment's record, which the
    /// reconciler must notice; the order's other records only wait for their consumer.
    ///
    /// This comes before the sale: Kafka deletes a partition's records from its beginning, and this record must
    /// be the only one.
    pub(crate) async fn lose_a_record(&mut self) -> Result<()> {
        let step = Step::begin("Selling one order while the data platform is still away");
        let order = self.sell_one().await?;
        let places = self.published(&order).await?;
        step.done(format!("Its {} rows are PUBLISH; no group consumes their records yet", order.len()));

        let is_payment = |(_, place): &(&Uuid, &Place)| place.topic == TOPICS[1];
        let (payment, place) = places.iter().find(is_payment).context("the order has no payment")?;
        let step = Step::begin("Deleting the record of its payment");
        delete(&self.brokers, place).await?;
        self.sequels.insert(*payment, Sequel::Deletion);
        step.done(format!("The broker has lost the record of its payment: {place}"));

        let step = Step::begin("Waiting for the reconciler");
        step.done(self.repaired(&order, *payment).await?);
        Ok(())
    }

    /// Asks the running relay to send the oldest orders' rows again.
    pub(crate) async fn replay(&mut self, program: &Program) -> Result<()> {
        let rows = self.database.oldest_of_orders(REPLAY_ROWS_MAX).await?;
        let due = self.arrivals.records() + rows.len();
        self.sequels.extend(rows.iter().map(|id| (*id, Sequel::Replay)));
        let limit = REPLAY_ROWS_MAX.to_string();
        program.show_success(&["replay", "--aggregate-type", "order", "--limit", &limit, "--wait"]).await?;

        let step = Step::begin("Waiting for the replayed records");
        let deadline = Instant::now() + STANDSTILL;
        while self.arrivals.records() < due && Instant::now() < deadline {
            self.check()?;
            tokio::time::sleep(TICK).await;
        }
        let missing = due.saturating_sub(self.arrivals.records());
        step.done(match missing {
            0 => format!("The {} records have arrived once more", rows.len()),
            missing => format!("Gave up: {missing} of {} records did not arrive again", rows.len()),
        });
        Ok(())
    }

    /// The ids of the rows of one order that goes straight through.
    async fn sell_one(&mut self) -> Result<Vec<Uuid>> {
        let before = self.books.committed();
        let pace = Pace { orders: Some(1), ..Pace::default() };
        let workload = Workload { pace, rates: FaultRates::NONE, workers: 1, seed: 2 };
        let (_open, closed) = watch::channel(false);
        let selling = shop::sell(&self.shop, workload, self.books.clone(), closed);
        tokio::time::timeout(START, selling).await.context("the shop does not close")?.context("the shop")?;
        Ok(self.books.entries().sold[before..].iter().map(|sold| sold.id).collect())
    }

    /// Where the rows' records are, once all say PUBLISH.
    async fn published(&mut self, ids: &[Uuid]) -> Result<HashMap<Uuid, Place>> {
        let deadline = Instant::now() + START;
        loop {
            self.check()?;
            let rows = self.database.rows(ids).await?;
            let published = rows.into_iter().filter(|row| row.status == "PUBLISH");
            let places: HashMap<Uuid, Place> =
                published.filter_map(|row| Some((row.id, row.place?))).collect();
            if places.len() == ids.len() {
                return Ok(places);
            }
            if Instant::now() > deadline {
                bail!("{} of {} rows say PUBLISH after {START:?}", places.len(), ids.len());
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Waits until the lost record is published again, and reports all rows.
    async fn repaired(&mut self, order: &[Uuid], lost: Uuid) -> Result<String> {
        let deadline = Instant::now() + REPAIR;
        loop {
            self.check()?;
            let rows = self.database.rows(order).await?;
            let (repaired, others): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.id == lost);
            if repaired.iter().any(|row| row.attempts > 1) {
                let waiting =
                    others.iter().filter(|row| row.attempts == 1 && row.status == "PUBLISH").count();
                return Ok(format!(
                    "The reconciler found it gone and sent it again, and left the {waiting} alone that only wait"
                ));
            }
            if Instant::now() > deadline {
                return Ok(format!("Gave up: {lost} was not sent again within {REPAIR:?}"));
            }
            tokio::time::sleep(TICK).await;
        }
    }
}
