//! The sections that say what becomes of a row after it was sent, or could not be.

use std::time::Duration;

use super::keys;
use super::settings::Settings;

/// How rows become COMPLETE (`[receipts]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipts {
    /// Whether they do at all.
    pub enabled: bool,
    /// The consumer group under whose name records are read.
    pub group: String,
    /// The business groups that all must have consumed a record; with none, it is enough that it was read.
    pub follow: Vec<String>,
}

/// When a row counts as stuck (`[reconcile]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// How long a row may say INIT.
    pub init_after: Duration,
    /// How long a row may say PUBLISH.
    pub publish_after: Duration,
    /// How often a row is sent at most before it is FAILED; `None` for no limit.
    pub attempts_max: Option<u32>,
}

/// What becomes of a row that cannot be published (`[failure]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The policy.
    pub policy: Policy,
    /// Where rows that step aside are sent besides, with the reason in headers.
    pub dead_letter_topic: Option<String>,
}

/// What a row that cannot be published means for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: it alone steps aside.
    Park,
    /// Later rows of its key wait.
    Hold,
    /// The relay stops.
    Stop,
}

/// What is deleted (`[retention]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long a row is kept once it is COMPLETE; `None` for ever.
    pub complete_after: Option<Duration>,
}

pub(super) fn receipts(settings: &mut Settings) -> Option<Receipts> {
    let enabled = settings.value(&keys::RECEIPTS_ENABLED);
    let group = settings.value(&keys::RECEIPTS_GROUP);
    let follow = settings.value(&keys::RECEIPTS_FOLLOW);
    let (group, mut follow) = (group?, follow?);
    if follow.contains(&group) {
        let message = format!("names {group:?}, which is Postrider's own group (receipts.group)");
        settings.refuse(keys::RECEIPTS_FOLLOW.name, message);
    }
    follow.sort();
    follow.dedup();
    Some(Receipts { enabled: enabled?, group, follow })
}

pub(super) fn reconcile(settings: &mut Settings) -> Option<Reconcile> {
    let init_after = settings.value(&keys::INIT_AFTER);
    let publish_after = settings.value(&keys::PUBLISH_AFTER);
    let attempts_max = match settings.if_set(&keys::ATTEMPTS_MAX) {
        None => Some(None),
        Some(attempts) => attempts.map(|attempts| Some(u32::try_from(attempts).unwrap_or(u32::MAX))),
    };
    Some(Reconcile { init_after: init_after?, publish_after: publish_after?, attempts_max: attempts_max? })
}

pub(super) fn failure(settings: &mut Settings) -> Option<Failure> {
    let policy = settings.value(&keys::FAILURE_POLICY);
    let dead_letter_topic = settings.if_set(&keys::DEAD_LETTER_TOPIC);
    let policy = match policy?.as_str() {
        "hold" => Policy::Hold,
        "stop" => Policy::Stop,
        _ => Policy::Park,
    };
    Some(Failure {
        policy,
        dead_letter_topic: match dead_letter_topic {
            None => None,
            Some(topic) => Some(topic?),
        },
    })
}

pub(super) fn retention(settings: &mut Settings) -> Option<Retention> {
    match settings.if_set(&keys::COMPLETE_AFTER) {
        None => Some(Retention { complete_after: None }),
        Some(time) => Some(Retention { complete_after: Some(time?) }),
    }
}
