//! The outbox rows the shop writes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::Order;

/// One row for the outbox table, with the topic and key of its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The row's primary key (UUID version 7).
    pub id: Uuid,
    /// `order` or `payment`.
    pub aggregate_type: &'static str,
    /// The order's or the payment's id.
    pub aggregate_id: String,
    /// The event's name.
    pub event_type: &'static str,
    /// The record's value: a JSON object whose `sequence` numbers the events of the key from 1.
    pub payload: String,
    /// Additional headers of the record: a JSON object; in a malformed row, a JSON array.
    pub headers: String,
    /// The record's key if it is not the aggregate's id: a payment is keyed by its order.
    pub partition_key: Option<String>,
}

#[derive(Serialize)]
struct Payload<'a, T> {
    order_id: String,
    sequence: u64,
    #[serde(flatten)]
    body: &'a T,
}

impl OutboxRow {
    /// An event of the order.
    pub(crate) fn of_order(
        order: &Order,
        event_type: &'static str,
        sequence: u64,
        body: impl Serialize,
    ) -> OutboxRow {
        OutboxRow {
            id: Uuid::now_v7(),
            aggregate_type: "order",
            aggregate_id: order.id.to_string(),
            event_type,
            payload: payload(order, sequence, &body),
            headers: headers(order, sequence),
            partition_key: None,
        }
    }

    /// An event of one of the order's payments.
    pub(crate) fn of_payment(
        order: &Order,
        payment: Uuid,
        event_type: &'static str,
        sequence: u64,
    ) -> OutboxRow {
        let body = json!({ "payment_id": payment.to_string(), "amount_cents": order.total_cents() });
        OutboxRow {
            id: Uuid::now_v7(),
            aggregate_type: "payment",
            aggregate_id: payment.to_string(),
            event_type,
            payload: payload(order, sequence, &body),
            headers: headers(order, sequence),
            partition_key: Some(order.id.to_string()),
        }
    }

    /// The same row with its headers as an array of pairs, which cannot be published.
    pub(crate) fn malformed(self) -> OutboxRow {
        let headers: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(&self.headers).unwrap_or_default();
        OutboxRow { headers: json!(Vec::from_iter(headers)).to_string(), ..self }
    }

    /// Whether the row can be published.
    pub fn is_well_formed(&self) -> bool {
        self.headers.starts_with('{')
    }

    /// The topic of the record.
    pub fn topic(&self) -> String {
        format!("outbox.event.{}", self.aggregate_type)
    }

    /// The key of the record.
    pub fn key(&self) -> &str {
        self.partition_key.as_deref().unwrap_or(&self.aggregate_id)
    }
}

fn payload<T: Serialize>(order: &Order, sequence: u64, body: &T) -> String {
    json!(Payload { order_id: order.id.to_string(), sequence, body }).to_string()
}

/// All events of an order share one trace id, across both topics (W3C Trace Context, `traceparent`); the span id is
/// the event's sequence.
fn headers(order: &Order, sequence: u64) -> String {
    let traceparent = format!("00-{}-{sequence:016x}-01", order.id.simple());
    json!({ "traceparent": traceparent, "source": "shop", "schema_version": 1 }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FaultRates;

    #[test]
    fn of_payment_uses_the_payment_topic_and_the_order_as_key() {
        let order = Order::nth(1, 1, FaultRates::default());
        let payment = Uuid::now_v7();
        let row = OutboxRow::of_payment(&order, payment, "payment_received", 2);
        assert_eq!((row.topic(), row.key()), ("outbox.event.payment".to_owned(), &*order.id.to_string()));
        assert_eq!(row.aggregate_id, payment.to_string());
    }

    #[test]
    fn of_order_payload_has_order_id_sequence_and_body() {
        let order = Order::nth(1, 1, FaultRates::default());
        let row = OutboxRow::of_order(&order, "order_placed", 1, json!({ "customer": order.customer }));
        let payload: serde_json::Value = serde_json::from_str(&row.payload).unwrap();
        assert_eq!(payload["order_id"], order.id.to_string());
        assert_eq!(payload["sequence"], 1);
        assert_eq!(payload["customer"], order.customer);
        assert_eq!(row.key(), order.id.to_string());
    }

    #[test]
    fn malformed_changes_only_the_headers() {
        let order = Order::nth(1, 1, FaultRates::default());
        let row = OutboxRow::of_payment(&order, Uuid::now_v7(), "payment_received", 2);
        let malformed = row.clone().malformed();
        assert!(row.is_well_formed() && !malformed.is_well_formed());
        let headers: Vec<(String, serde_json::Value)> = serde_json::from_str(&malformed.headers).unwrap();
        assert_eq!(headers[1], ("source".to_owned(), "shop".into()));
        assert_eq!(OutboxRow { headers: row.headers.clone(), ..malformed }, row);
    }

    #[test]
    fn events_of_an_order_share_a_trace_id() {
        let order = Order::nth(1, 1, FaultRates::default());
        let trace = |headers: &str| {
            let headers: serde_json::Value = serde_json::from_str(headers).unwrap();
            headers["traceparent"].as_str().unwrap()[3..35].to_owned()
        };
        let placed = OutboxRow::of_order(&order, "order_placed", 1, json!({}));
        let received = OutboxRow::of_payment(&order, Uuid::now_v7(), "payment_received", 2);
        assert_eq!(trace(&placed.headers), trace(&received.headers));
    }
}
