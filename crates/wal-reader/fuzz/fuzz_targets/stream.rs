//! Feeds arbitrary bytes, in reads of arbitrary size, through the framing and the decoder, as a hostile or broken
//! server could send them.
//!
//! Run `cargo +nightly fuzz run stream` in `crates/wal-reader`. The first byte of the input is the read size.

#![no_main]

use bytes::BufMut;
use libfuzzer_sys::fuzz_target;
use wal_reader::{BackendMessage, Change, Decoder, Frame, Framing};

fuzz_target!(|input: &[u8]| {
    let Some((&piece, stream)) = input.split_first() else { return };
    let mut decoder = Decoder::new();

    // Decoded without framing too, so that the fuzzer finds messages without first finding valid frames.
    for message in stream.split(|&byte| byte == 0xFE) {
        decode(&mut decoder, message.to_vec().into());
    }

    let mut framing = Framing::new();
    let mut consumed = 0;
    for piece in stream.chunks(usize::from(piece) + 1) {
        let mut rest = piece;
        while !rest.is_empty() {
            let mut room = framing.room();
            let count = rest.len().min(room.remaining_mut());
            assert!(count > 0, "the read buffer is full");
            room.put_slice(&rest[..count]);
            rest = &rest[count..];
            loop {
                match framing.next_message() {
                    Ok(Some(message)) => {
                        consumed += 5 + message.body.len() as u64;
                        assert!(consumed <= stream.len() as u64);
                        frame(&mut decoder, message);
                    }
                    Ok(None) => break,
                    Err(error) => {
                        assert!(error.position() <= stream.len() as u64);
                        return;
                    }
                }
            }
        }
    }
});

fn frame(decoder: &mut Decoder, message: BackendMessage) {
    let (position, length) = (message.position, message.body.len() as u64);
    match Frame::parse(message) {
        Ok(Frame::XLogData { data, .. }) => decode(decoder, data),
        Ok(Frame::Keepalive { .. }) => {}
        Err(error) => assert!((position..=position + length).contains(&error.position())),
    }
}

fn decode(decoder: &mut Decoder, data: bytes::Bytes) {
    let length = data.len() as u64;
    match decoder.decode(data) {
        Ok(Change::Insert { relation, new }) => {
            assert_eq!(relation.columns.len(), new.len());
            for index in 0..new.len() {
                assert!(new.get(index).is_some() && new.peek(index).is_some());
                let _ = (new.text(index), new.uuid(index));
            }
        }
        Ok(_) => {}
        Err(error) => assert!(error.position() <= length),
    }
}
