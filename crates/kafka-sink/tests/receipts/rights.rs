use std::sync::Arc;

use testbed::Kafka;

use crate::support::{TestReceipts, committed, committed_offsets, ids, inspector, put, topic};

/// A Kafka with an authorizer that allows everything without an ACL.
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
async fn missing_acl_is_an_error_with_its_remedy_until_it_is_granted() {
    let kafka = guarded();
    let topic = topic(&kafka, 1);
    let published = put(&kafka, &topic, 0, 3);
    keep(&kafka, "--group", "closed", "--add", "Read");
    let inspector = inspector(&kafka);
    let asked = [(Arc::clone(&topic), 0)];
    let error = committed_offsets(&inspector, "closed", &asked).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(error.to_string().contains("group closed"), "{error}");
    assert!(error.to_string().contains("the right to Read the group"), "{error}");
    assert_eq!(committed_offsets(&inspector, "open", &asked).await, Ok(vec![None]));

    let mut receiver = TestReceipts::start(&kafka, "closed", &[]);
    receiver.observe(&topic, 0, 2);
    receiver.receives_nothing().await;
    keep(&kafka, "--group", "closed", "--remove", "Read");
    assert_eq!(ids(&receiver.take(3).await), published);
    receiver.receipts.close().await;
    assert_eq!(committed(&kafka, "closed", &topic, 0).await, Some(3));

    // Without READ, writing and describing are still allowed.
    keep(&kafka, "--topic", &topic, "--add", "Read");
    let error = inspector.record_at(&topic, 0, 0).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(error.to_string().contains("the right to Read the topic"), "{error}");
}
