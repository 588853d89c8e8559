use std::sync::Arc;

use testbed::Kafka;

use crate::support::{Life, committed, ids, looks, put, told, topic};

/// Whoever connects may do anything but what an ACL keeps for others.
fn guarded() -> Kafka {
    Kafka::builder()
        .property("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")
        .property("allow.everyone.if.no.acl.found", "true")
        .start()
        .unwrap()
}

fn keep(kafka: &Kafka, resource: &str, name: &str, action: &str, operation: &str) {
    let arguments = [
        "--bootstrap-server",
        kafka.brokers(),
        action,
        "--allow-principal",
        "User:other",
        "--operation",
        operation,
        resource,
        name,
        "--force",
    ];
    kafka.tool("org.apache.kafka.tools.AclCommand", &arguments).unwrap();
}

#[tokio::test]
async fn a_missing_right_is_an_error_with_its_remedy_and_receipts_go_on_when_it_is_given() {
    let kafka = guarded();
    let topic = topic(&kafka, 1);
    let published = put(&kafka, &topic, 0, 3);
    keep(&kafka, "--group", "closed", "--add", "Read");
    let looks = looks(&kafka);
    let asked = [(Arc::clone(&topic), 0)];
    let error = told(&looks, "closed", &asked).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("group closed"), "{error}");
    assert!(error.to_string().contains("the right to Read the group"), "{error}");
    assert_eq!(told(&looks, "open", &asked).await, Ok(vec![None]));

    let mut life = Life::start(&kafka, "closed", &[]);
    life.observe(&topic, 0, 2);
    life.rests().await;
    keep(&kafka, "--group", "closed", "--remove", "Read");
    assert_eq!(ids(&life.take(3).await), published);
    life.receipts.close().await;
    assert_eq!(committed(&kafka, "closed", &topic, 0).await, Some(3));

    // Who may not read a topic may write and describe it.
    keep(&kafka, "--topic", &topic, "--add", "Read");
    let error = looks.record_at(&topic, 0, 0).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("the right to Read the topic"), "{error}");
}
