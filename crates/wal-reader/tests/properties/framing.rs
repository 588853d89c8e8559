use bytes::{BufMut, Bytes};
use outbox::Lsn;
use proptest::collection::vec;
use proptest::prelude::*;
use wal_reader::{BackendMessage, Frame, Framing};

fn encode(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend((body.len() as u32 + 4).to_be_bytes());
    out.extend(body);
    out
}

/// Feeds the stream in reads of these sizes, repeated, and returns the messages.
fn split(mut stream: &[u8], pieces: &[usize]) -> Vec<BackendMessage> {
    let mut framing = Framing::new();
    let mut found = Vec::new();
    let mut pieces = pieces.iter().cycle();
    while !stream.is_empty() {
        let mut room = framing.room();
        assert!(room.has_remaining_mut(), "a read into an empty buffer looks like the end of the stream");
        let piece = pieces.next().map_or(1, |size| *size).min(room.remaining_mut()).min(stream.len());
        room.put_slice(&stream[..piece]);
        stream = &stream[piece..];
        while let Some(message) = framing.next_message().expect("a well-formed stream") {
            found.push(message);
        }
    }
    found
}

/// Mostly small, some near the size of a read buffer, some far above.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let size = prop_oneof![8 => 0_usize..300, 2 => 60_000_usize..70_000, 1 => 100_000_usize..400_000];
    (size, any::<u8>())
        .prop_map(|(size, seed)| (0..size).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn next_message_is_independent_of_read_sizes(
        sent in vec((any::<u8>(), body()), 0..12), pieces in vec(1_usize..100_000, 1..8),
    ) {
        let stream: Vec<u8> = sent.iter().flat_map(|(tag, body)| encode(*tag, body)).collect();
        let found = split(&stream, &pieces);
        prop_assert_eq!(found.len(), sent.len());
        let mut position = 0;
        for (found, (tag, body)) in found.iter().zip(&sent) {
            position += 5;
            prop_assert_eq!(found.tag, *tag);
            prop_assert!(found.body == body);
            prop_assert_eq!(found.position, position);
            position += body.len() as u64;
        }
    }

    #[test]
    fn next_message_handles_reads_of_one_byte(sent in vec((any::<u8>(), vec(any::<u8>(), 0..30)), 0..12)) {
        let stream: Vec<u8> = sent.iter().flat_map(|(tag, body)| encode(*tag, body)).collect();
        let found: Vec<(u8, Vec<u8>)> =
            split(&stream, &[1]).into_iter().map(|message| (message.tag, message.body.to_vec())).collect();
        prop_assert_eq!(found, sent);
    }

    #[test]
    fn next_message_repeats_its_error_for_any_bytes(bytes in vec(any::<u8>(), 0..400)) {
        let mut framing = Framing::new();
        framing.room().put_slice(&bytes);
        loop {
            match framing.next_message() {
                Ok(Some(message)) => {
                    let _ = Frame::parse(message);
                }
                Ok(None) => break,
                Err(error) => {
                    prop_assert!(error.position() < bytes.len() as u64);
                    prop_assert_eq!(framing.next_message(), Err(error));
                    break;
                }
            }
        }
    }

    #[test]
    fn frame_parse_inverts_encoding_and_rejects_truncated_messages(
        start: u64, end: u64, clock: i64, reply: bool, data in vec(any::<u8>(), 0..50), position in 0_u64..1 << 40,
    ) {
        let mut xlog_data = vec![b'w'];
        xlog_data.extend(start.to_be_bytes());
        xlog_data.extend(end.to_be_bytes());
        xlog_data.extend(clock.to_be_bytes());
        let header = xlog_data.len();
        xlog_data.extend(&data);
        let mut keepalive = vec![b'k'];
        keepalive.extend(end.to_be_bytes());
        keepalive.extend(clock.to_be_bytes());
        keepalive.push(u8::from(reply));

        let parse = |bytes: &[u8]| Frame::parse(BackendMessage { tag: b'd', body: Bytes::copy_from_slice(bytes), position });
        let expected = Frame::XLogData { start: Lsn::from_u64(start), end: Lsn::from_u64(end), data: data.into() };
        prop_assert_eq!(parse(&xlog_data), Ok(expected));
        let expected = Frame::Keepalive { end: Lsn::from_u64(end), reply_requested: reply };
        prop_assert_eq!(parse(&keepalive), Ok(expected));
        for (bytes, shortest) in [(&xlog_data, header), (&keepalive, keepalive.len())] {
            for cut in 0..shortest {
                let error = parse(&bytes[..cut]).expect_err("the message is truncated");
                prop_assert!((position..=position + cut as u64).contains(&error.position()));
            }
        }
        keepalive.push(0);
        prop_assert!(parse(&keepalive).is_err());
    }
}

#[test]
fn next_message_rejects_invalid_lengths_at_their_position() {
    for length in [0_i32, 3, -1, i32::MIN, 0x4000_0004, i32::MAX] {
        let mut framing = Framing::new();
        framing.room().put_slice(&encode(b'd', b"before"));
        framing.room().put_u8(b'd');
        framing.room().put_i32(length);
        assert!(framing.next_message().expect("the first message is well-formed").is_some());
        let error = framing.next_message().expect_err("the length is invalid");
        assert_eq!(error.position(), 12, "{length}");
    }
}

#[test]
fn room_grows_with_received_bytes_not_with_the_announced_length() {
    let mut framing = Framing::new();
    framing.room().put_u8(b'd');
    framing.room().put_i32(0x3FFF_FFFF);
    let mut received = 5;
    for _ in 0..200 {
        assert_eq!(framing.next_message(), Ok(None));
        let mut room = framing.room();
        let capacity = received + room.remaining_mut();
        assert!(capacity <= 2 * received + 128 * 1024, "{capacity} bytes of buffer for {received} received");
        room.put_bytes(1, 1000.min(room.remaining_mut()));
        received += 1000;
    }
}

#[test]
fn small_messages_do_not_share_the_buffer_of_a_large_one() {
    let large = encode(b'd', &vec![1; 10_000_000]);
    let small = encode(b'd', &[2; 100]);
    let mut found = split(&[large, small.clone(), small].concat(), &[50_000]);
    let large = found.remove(0).body;
    assert_eq!(found.len(), 2);
    assert!(large.try_into_mut().is_ok(), "the large buffer has no other reference");
}
