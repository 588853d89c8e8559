use outbox_store::connect;

use crate::fixture::{Fixture, tls};

#[tokio::test]
async fn run_with_a_role_of_its_own_needs_few_rights_and_names_each() {
    let mut fixture = Fixture::set_up().await;
    let (_, config) = fixture.role("").await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    let mut rounds = 0;
    loop {
        let problems = fixture.check().await.problems;
        if problems.is_empty() {
            break;
        }
        rounds += 1;
        assert!(rounds < 4, "{problems:?}");
        for problem in problems {
            fixture.execute(problem.remedy.split(" (on").next().expect("a first part")).await;
        }
    }
    outbox_store::RowWriter::new(fixture.session, &fixture.names, std::time::Duration::from_secs(10))
        .await
        .expect("the rights suffice");
}

#[tokio::test]
async fn rows_hidden_by_a_policy_are_a_problem_and_not_silence() {
    let mut fixture = Fixture::set_up().await;
    fixture.execute("alter table outbox enable row level security").await;
    let (role, config) = fixture.role("replication").await;
    fixture
        .execute(&format!(
            "grant select, update on outbox to {role}; grant usage on schema postrider to {role};
             grant select, insert, update, delete on all tables in schema postrider to {role}"
        ))
        .await;
    fixture.session = connect(&config, &tls()).await.expect("it may log in");
    let problems = fixture.check().await.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].remedy, format!("ALTER ROLE \"{role}\" BYPASSRLS"));
    fixture.execute(&problems[0].remedy).await;
    assert_eq!(fixture.check().await.problems, []);
}
