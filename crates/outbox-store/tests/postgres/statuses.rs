use outbox::Status;
use outbox_store::statuses;
use uuid::Uuid;

use crate::fixture::Fixture;

#[tokio::test]
async fn rows_say_their_status_and_missing_ones_nothing() {
    let fixture = Fixture::set_up().await;
    let texts = ["INIT", "PUBLISH", "COMPLETE", "FAILED", "init", ""];
    for (number, status) in texts.iter().enumerate() {
        let id = Uuid::from_u128(number as u128);
        fixture
            .execute(&format!(
                "insert into outbox (id, aggregate_type, aggregate_id, event_type, status)
                 values ('{id}', 'a', 'b', 'c', '{status}')"
            ))
            .await;
    }
    let ids: Vec<_> = (0..10).map(Uuid::from_u128).collect();
    let found = statuses(&fixture.session, &fixture.names, &ids).await.expect("they are read");
    assert_eq!(found.len(), texts.len());
    let expected =
        [Some(Status::Init), Some(Status::Publish), Some(Status::Complete), Some(Status::Failed), None, None];
    for (id, status) in ids.iter().zip(expected) {
        assert_eq!(found[id], status);
    }
}

#[tokio::test]
async fn a_table_that_is_gone_is_a_definite_error() {
    let fixture = Fixture::empty().await;
    let error = statuses(&fixture.session, &fixture.names, &[]).await.expect_err("there is no table");
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("postrider init"), "{error}");
}
