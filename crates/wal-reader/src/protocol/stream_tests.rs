use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::protocol::server_error::{ConnectionPhase, SessionIdentity};
use outbox::Lsn;

/// A stream and the server's end of it, with so much room between the two.
fn pair(room_bytes: usize) -> (ReplicationStream, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(room_bytes);
    let identity = SessionIdentity { user: "u".to_owned(), database: "d".to_owned() };
    let mut connection = ReplicationConnection::new(Box::new(ours), identity);
    connection.phase = ConnectionPhase::Streaming;
    (ReplicationStream::new(connection), theirs)
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

/// The flushed position and the request for a reply of each status update in these bytes.
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
async fn an_update_not_yet_begun_is_replaced_and_its_request_for_a_reply_stands() {
    let (mut stream, mut server) = pair(1000);
    stream.queue_status(&StandbyStatus { reply_requested: true, ..status(1) });
    stream.queue_status(&status(2));
    stream.flush().await.expect("there is room");
    stream.queue_status(&status(3));
    stream.flush().await.expect("there is room");
    let mut sent = vec![0; 78];
    server.read_exact(&mut sent).await.expect("two updates");
    assert_eq!(updates(&sent), [(2, true), (3, false)]);
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_no_memory_and_gets_whole_updates_in_the_end() {
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
    flushed.expect("it is written");
    assert_eq!(updates(&sent), [(1, false), (1000, false)]);
}

#[tokio::test]
async fn with_the_intake_closed_nothing_is_read_and_feedback_goes_out() {
    let (mut stream, mut server) = pair(1000);
    server.write_all(&xlog_data(1, b"x")).await.expect("room");
    stream.queue_status(&status(7));
    assert!(poll_fn(|cx| Poll::Ready(stream.poll_next(cx, Intake::Closed).is_pending())).await);
    let mut sent = vec![0; 39];
    server.read_exact(&mut sent).await.expect("an update");
    assert_eq!(updates(&sent), [(7, false)]);
    assert_eq!(stream.buffered().expect("nothing is wrong"), None);
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
}

#[tokio::test]
async fn a_connection_that_broke_is_noticed_by_writing_even_with_the_intake_closed() {
    let (mut stream, server) = pair(1000);
    drop(server);
    stream.queue_status(&status(1));
    let error = stream.next(Intake::Closed).await.expect_err("nobody is there");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn frames_received_together_come_without_another_read() {
    let (mut stream, mut server) = pair(1000);
    let both = [xlog_data(1, b"a"), message(b'S', b"TimeZone\0UTC\0"), xlog_data(2, b"b")].concat();
    server.write_all(&both).await.expect("room");
    drop(server);
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
    let Ok(Some(Frame::XLogData { start, data, .. })) = stream.buffered() else { panic!("the second") };
    assert_eq!((start, &data[..]), (Lsn::from_u64(2), &b"b"[..]));
    assert_eq!(stream.parameter("TimeZone"), Some("UTC"));
    assert_eq!(stream.buffered().expect("nothing is wrong"), None);
    let error = stream.next(Intake::Open).await.expect_err("it is over");
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_server_that_shuts_down_ends_the_stream_for_now() {
    for farewell in [message(b'c', b""), message(b'C', b"COPY 0\0")] {
        let (mut stream, mut server) = pair(1000);
        server.write_all(&farewell).await.expect("room");
        let error = stream.next(Intake::Open).await.expect_err("the end");
        assert!(error.is_retryable() && error.is_stream_ended(), "{error}");
    }
}

#[tokio::test]
async fn the_warning_that_a_publication_is_skipped_is_an_error_and_other_notices_are_none() {
    let notice = b"SWARNUNG\0VWARNING\0C55000\0Mirgendetwas\0RSomethingElse\0\0";
    let skipped = b"SWARNUNG\0VWARNING\0C55000\0MPublikation \xBBx\xAB fehlt\0RLoadPublications\0\0";
    let (mut stream, mut server) = pair(1000);
    server
        .write_all(&[message(b'N', notice), xlog_data(1, b""), message(b'N', skipped)].concat())
        .await
        .expect("room");
    assert!(matches!(stream.next(Intake::Open).await, Ok(Frame::XLogData { .. })));
    let error = stream.next(Intake::Open).await.expect_err("changes are being lost");
    assert!(!error.is_retryable() && error.is_publication_missing(), "{error}");
}

#[tokio::test]
async fn a_frame_that_is_malformed_is_a_definite_error_with_its_position_in_the_stream() {
    let (mut stream, mut server) = pair(1000);
    server.write_all(&[xlog_data(1, b"x"), message(b'd', b"k\0")].concat()).await.expect("room");
    assert!(stream.next(Intake::Open).await.is_ok());
    let error = stream.next(Intake::Open).await.expect_err("malformed");
    assert!(!error.is_retryable() && error.to_string().contains("at byte 37"), "{error}");
}

proptest! {
    #[test]
    fn however_the_bytes_come_and_whenever_we_give_up_waiting_no_frame_is_lost(
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
                server.write_all(&rest[..piece]).await.expect("room");
                rest = &rest[piece..];
                // Each wait is given up as soon as it has nothing to give.
                while let Poll::Ready(frame) = poll_fn(|cx| Poll::Ready(stream.poll_next(cx, Intake::Open))).await {
                    match frame.expect("nothing is wrong") {
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
