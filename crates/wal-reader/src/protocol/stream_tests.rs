use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::protocol::server_error::{ConnectionPhase, SessionIdentity};
use outbox::Lsn;

/// A stream and the server's end of its transport, which buffers `buffer_bytes`.
fn pair(buffer_bytes: usize) -> (ReplicationStream, DuplexStream) {
    let (client_end, server_end) = tokio::io::duplex(buffer_bytes);
    let identity = SessionIdentity { user: "u".to_owned(), database: "d".to_owned() };
    let mut connection = ReplicationConnection::new(Box::new(client_end), identity);
    connection.phase = ConnectionPhase::Streaming;
    (ReplicationStream::new(connection), server_end)
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

fn xlog_data(start: u64, data: &[u8]) -> Vec<u8> {
    message(b'd', &[b"w", &start.to_be_bytes()[..], &start.to_be_bytes(), &[0; 8], data].concat())
}

fn status(flushed: u64) -> StandbyStatus {
    StandbyStatus { flushed: Lsn::from_u64(flushed), ..StandbyStatus::default() }
}

/// `flushed` and `reply_requested` of each status update in `bytes`.
fn updates(bytes: &[u8]) -> Vec<(u64, bool)> {
    let (updates, rest) = bytes.as_chunks::<39>();
    assert!(rest.is_empty());
    updates
        .iter()
        .map(|update| {
            assert_eq!(update[..6], *b"d\0\0\0\x26r");
            let mut flushed = [0; 8];
            flushed.copy_from_slice(&update[14..22]);
            (u64::from_be_bytes(flushed), update[38] == 1)
        })
        .collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

#[tokio::test]
async fn queue_status_replaces_an_unwritten_update_and_keeps_its_reply_request() {
    let (mut stream, mut server) = pair(1000);
    stream.queue_status(&StandbyStatus { reply_requested: true, ..status(1) });
    stream.queue_status(&status(2));
    stream.flush().await.expect("the buffer has room");
    stream.queue_status(&status(3));
    stream.flush().await.expect("the buffer has room");
    let mut sent = vec![0; 78];
    server.read_exact(&mut sent).await.expect("two updates");
    assert_eq!(updates(&sent), [(2, true), (3, false)]);
}

#[tokio::test]
async fn flush_writes_complete_updates_to_a_slow_peer_and_skips_replaced_ones() {
    let (mut stream, mut server) = pair(10);
    for flushed in 1..=1000 {
        stream.queue_status(&status(flushed));
        let next = poll_fn(|cx| Poll::Ready(stream.poll_next(cx, Intake::Closed).is_pending()));
        assert!(next.await);
    }
    let reading = async {
        let mut sent = vec![0; 78];
        server.read_exact(&mut sent).await.expect("two updates");
        sent
    };
    let (flushed, sent) = tokio::join!(stream.flush(), reading);
    flushed.expect("the updates are written");
    assert_eq!(updates(&sent), [(1, false), (1000, false)]);
}

#[tokio::test]
async fn next_with_closed_intake_writes_updates_and_reads_nothing() {
    let (mut stream, mut server) = pair(1000);
    server.write_all(&xlog_data(1, b"x")).await.expect("the buffer has room");
    stream.queue_status(&status(7));
    assert!(poll_fn(|cx| Poll::Ready(stream.poll_next(cx, Intake::Closed).is_pending())).await);
    let mut sent = vec![0; 39];
    server.read_exact(&mut sent).await.expect("an update");
    assert_eq!(updates(&sent), [(7, false)]);
    assert_eq!(stream.buffered().expect("no error"), None);
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
}

#[tokio::test]
async fn next_with_closed_intake_returns_write_errors() {
    let (mut stream, server) = pair(1000);
    drop(server);
    stream.queue_status(&status(1));
    let error = stream.next(Intake::Closed).await.expect_err("the peer is gone");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn buffered_returns_frames_of_the_same_read() {
    let (mut stream, mut server) = pair(1000);
    let both = [xlog_data(1, b"a"), message(b'S', b"TimeZone\0UTC\0"), xlog_data(2, b"b")].concat();
    server.write_all(&both).await.expect("the buffer has room");
    drop(server);
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
    let Ok(Some(Frame::XLogData { start, data, .. })) = stream.buffered() else {
        panic!("expected the second frame")
    };
    assert_eq!((start, &data[..]), (Lsn::from_u64(2), &b"b"[..]));
    assert_eq!(stream.parameter("TimeZone"), Some("UTC"));
    assert_eq!(stream.buffered().expect("no error"), None);
    let error = stream.next(Intake::Open).await.expect_err("the connection is closed");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn next_returns_a_retryable_error_when_the_server_shuts_down() {
    for last_message in [message(b'c', b""), message(b'C', b"COPY 0\0")] {
        let (mut stream, mut server) = pair(1000);
        server.write_all(&last_message).await.expect("the buffer has room");
        let error = stream.next(Intake::Open).await.expect_err("the stream ended");
        assert!(error.is_retryable() && error.is_stream_ended(), "{error}");
    }
}

#[tokio::test]
async fn next_returns_an_error_for_a_skipped_publication_and_ignores_other_notices() {
    let notice = b"SWARNUNG\0VWARNING\0C55000\0Mirgendetwas\0RSomethingElse\0\0";
    let skipped = b"SWARNUNG\0VWARNING\0C55000\0MPublikation \xBBx\xAB fehlt\0RLoadPublications\0\0";
    let (mut stream, mut server) = pair(1000);
    server
        .write_all(&[message(b'N', notice), xlog_data(1, b""), message(b'N', skipped)].concat())
        .await
        .expect("the buffer has room");
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
    let error = stream.next(Intake::Open).await.expect_err("the publication is skipped");
    assert!(!error.is_retryable() && error.is_publication_missing(), "{error}");
}

#[tokio::test]
async fn next_returns_the_position_of_a_malformed_frame() {
    let (mut stream, mut server) = pair(1000);
    server
        .write_all(&[xlog_data(1, b"x"), message(b'd', b"k\0")].concat())
        .await
        .expect("the buffer has room");
    assert!(stream.next(Intake::Open).await.is_ok());
    let error = stream.next(Intake::Open).await.expect_err("the frame is malformed");
    assert!(!error.is_retryable() && error.to_string().contains("at byte 37"), "{error}");
}

proptest! {
    #[test]
    fn next_is_cancel_safe_for_any_split_of_the_bytes(
        bodies in vec(vec(any::<u8>(), 0..100), 1..20), pieces in vec(1_usize..50, 1..10),
    ) {
        let bytes: Vec<u8> = (1..).zip(&bodies).flat_map(|(start, body)| xlog_data(start, body)).collect();
        let found = runtime().block_on(async {
            let (mut stream, mut server) = pair(64);
            let mut found = Vec::new();
            let mut pieces = pieces.iter().cycle();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let piece = pieces.next().map_or(1, |size| *size).min(rest.len());
                server.write_all(&rest[..piece]).await.expect("the buffer has room");
                rest = &rest[piece..];
                // Every call is cancelled as soon as it is pending.
                while let Poll::Ready(frame) = poll_fn(|cx| Poll::Ready(stream.poll_next(cx, Intake::Open))).await {
                    match frame.expect("no error") {
                        Frame::XLogData { data, .. } => found.push(data.to_vec()),
                        frame => panic!("{frame:?}"),
                    }
                }
            }
            found
        });
        prop_assert_eq!(found, bodies);
    }
}
