//! The output of `replay --dry-run`.

use outbox_store::ReplayPreview;

pub(super) fn text(preview: &ReplayPreview) -> String {
    let rows: u64 = preview.groups.iter().map(|group| group.rows).sum();
    let mut text = String::new();
    let topic = |topic: &Option<String>| topic.clone().unwrap_or_else(|| "(no topic)".to_owned());
    let widest = preview.groups.iter().map(|group| topic(&group.topic).chars().count()).max().unwrap_or(0);
    for group in &preview.groups {
        let status = group.status.as_deref().unwrap_or("NULL");
        text.push_str(&format!("{:<widest$}  {status:<8}  {:>12}\n", topic(&group.topic), group.rows));
    }
    text.push_str(&format!("{} of {} would be sent\n", counted(rows, "row"), counted(preview.keys, "key")));
    if preview.groups.iter().any(|group| group.topic.is_none()) {
        text.push_str(
            "rows without a topic cannot be sent: a column that routing.topic or routing.key reads is NULL\n",
        );
    }
    match preview.keys_with_newer {
        Some(0) => text.push_str("no key has a newer row that is published already\n"),
        Some(keys) => text.push_str(&format!(
            "{} {} a newer row that is published already and would not be sent: for {} an older record would be the last\n",
            counted(keys, "key"),
            if keys == 1 { "has" } else { "have" },
            if keys == 1 { "it" } else { "them" },
        )),
        None => text.push_str("the table has no created_at: keys with newer rows cannot be counted\n"),
    }
    if preview.held > 0 {
        text.push_str(&format!(
            "{} held behind a failed row and would be passed over\n",
            if preview.held == 1 { "1 row is".to_owned() } else { format!("{} rows are", preview.held) }
        ));
    }
    text
}

pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use outbox_store::ReplayGroup;

    use super::*;

    #[test]
    fn text_lists_groups_in_columns_and_remarks_below() {
        let group = |topic: Option<&str>, status: &str, rows| ReplayGroup {
            topic: topic.map(str::to_owned),
            status: Some(status.to_owned()),
            rows,
        };
        let preview = ReplayPreview {
            groups: vec![group(Some("orders"), "FAILED", 12), group(None, "FAILED", 1)],
            held: 3,
            keys: 1,
            keys_with_newer: Some(1),
        };
        let text = text(&preview);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "orders      FAILED              12");
        assert_eq!(lines[1], "(no topic)  FAILED               1");
        assert_eq!(lines[2], "13 rows of 1 key would be sent");
        assert!(lines[3].contains("cannot be sent"), "{text}");
        assert!(lines[4].starts_with("1 key has a newer row"), "{text}");
        assert_eq!(lines[5], "3 rows are held behind a failed row and would be passed over");
    }
}
