use bytes::Bytes;

use crate::support::{event, kafka, publish, sink, stored_at, topic};

/// Partitions chosen by Kafka's Java producer; see `Murmur2Vectors.java`.
const VECTORS: &str = include_str!("../murmur2/vectors.txt");

struct Vector {
    key: Vec<u8>,
    partition_of_7: i32,
    partition_of_12: i32,
}

fn vectors() -> Vec<Vector> {
    let bytes = |hex: &str| -> Vec<u8> {
        let hex = hex.trim_matches('-');
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let lines = VECTORS.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let columns: Vec<_> = line.split(' ').collect();
            let [key, _murmur2, "0", _of_3, of_7, of_12] = columns[..] else { panic!("{line}") };
            let (partition_of_7, partition_of_12) = (of_7.parse().unwrap(), of_12.parse().unwrap());
            Vector { key: bytes(key), partition_of_7, partition_of_12 }
        })
        .collect()
}

#[tokio::test]
async fn key_has_the_partition_of_a_java_producer() {
    let vectors = vectors();
    assert!(vectors.len() > 250, "{}", vectors.len());
    let mut sink = sink(kafka(), &[]);
    for (partitions, expected) in [
        (7, vectors.iter().map(|vector| vector.partition_of_7).collect::<Vec<_>>()),
        (12, vectors.iter().map(|vector| vector.partition_of_12).collect()),
    ] {
        let topic = topic(kafka(), partitions, &[]);
        let events: Vec<_> = vectors
            .iter()
            .map(|vector| {
                let mut event = event(&topic, "", "{}");
                event.aggregate_id = Some(Bytes::copy_from_slice(&vector.key));
                event
            })
            .collect();
        let reports = publish(&mut sink, &events).await;
        let partitions: Vec<_> = reports.iter().map(|report| stored_at(report).partition).collect();
        assert_eq!(partitions, expected);
    }
}
