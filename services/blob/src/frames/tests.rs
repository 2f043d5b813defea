use futures_util::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::frames::FrameEncoder;
use crate::store::contract::octets;

fn codecs() -> Arc<Codecs> {
    Arc::new(Codecs::new(1))
}

fn source(stored: &[u8], chunk: usize) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let chunks: Vec<_> = stored.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks).boxed()
}

/// Makes a frame the streamed way.
fn stream_in(message: &[u8], chunk: usize) -> (Frame, Vec<u8>) {
    let mut encoder = FrameEncoder::new(codecs());
    let mut stored = Vec::new();
    for chunk in message.chunks(chunk) {
        encoder.push(Bytes::copy_from_slice(chunk), &mut stored).unwrap();
    }
    let frame = encoder.finish(&mut stored).unwrap();
    (frame, stored.concat())
}

/// Reads frames back; what was handed out before an error comes with it.
fn read(stored: &[u8], frames: &[Frame], chunk: usize) -> (Vec<u8>, Result<(), FrameFault>) {
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome =
        runtime.block_on(decode(source(stored, chunk), frames.to_vec(), codecs()).try_for_each(|chunk| {
            assert!((1..=CHUNK_MAX).contains(&chunk.len()));
            out.extend_from_slice(&chunk);
            std::future::ready(Ok(()))
        }));
    (out, outcome)
}

/// Octets that compress, `length` of them.
fn text(length: usize) -> Vec<u8> {
    let words: [&[u8]; 5] = [b"mailbox ", b"maildrop ", b"envelope ", b"segment ", b"lease\r\n"];
    let dice = octets(length / 4 + 8, 3);
    let mut text = Vec::with_capacity(length + 9);
    for die in &dice {
        text.extend_from_slice(words[usize::from(*die) % 5]);
    }
    text.truncate(length);
    text
}

/// Long and short, compressible and not.
fn samples() -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    for length in [0, 1, 63, 64, 5000, 65_535, 65_536, 65_537, 131_072, 131_073, 400_000, 1_500_000] {
        samples.push(text(length));
        samples.push(octets(length, 9).to_vec());
    }
    // The start pays, the rest does not; and the other way round.
    samples.push([text(100_000), octets(500_000, 1).to_vec()].concat());
    samples.push([octets(100_000, 1).to_vec(), text(500_000)].concat());
    samples
}

#[test]
fn what_is_read_is_what_was_stored() {
    for sample in samples() {
        let (frame, stored) = codecs().encode(sample.clone().into()).unwrap();
        assert_eq!(read(&stored, &[frame], 50_000), (sample.clone(), Ok(())));
        let (frame, stored) = stream_in(&sample, 10_000);
        assert_eq!(frame.length, sample.len() as u64);
        assert_eq!(frame.stored_length, stored.len() as u64);
        for chunk in [1000, 65_536, 1 << 20] {
            assert_eq!(read(&stored, &[frame], chunk), (sample.clone(), Ok(())), "{} octets", sample.len());
        }
    }
}

#[test]
fn compression_is_used_where_it_pays() {
    for length in [5000, 400_000] {
        for (sample, codec) in [(text(length), Codec::Zstd), (octets(length, 9).to_vec(), Codec::Plain)] {
            let (whole, _) = codecs().encode(sample.clone().into()).unwrap();
            let (streamed, _) = stream_in(&sample, 10_000);
            assert_eq!((whole.codec, streamed.codec), (codec, codec));
            if codec == Codec::Zstd {
                assert!(whole.stored_length < whole.length / 2);
                assert!(streamed.stored_length < streamed.length / 2);
            }
        }
    }
}

#[test]
fn a_frame_that_holds_more_than_its_length_ends_at_it() {
    // A bomb: a gigabyte of zeros would be a few dozen kilobytes.
    let (frame, stored) = stream_in(&vec![0; 20_000_000], 1 << 20);
    assert!(stored.len() < 100_000);
    for length in [10, 200_000, 19_999_999] {
        let (out, outcome) = read(&stored, &[Frame { length, ..frame }], 4096);
        assert!(matches!(outcome, Err(FrameFault::Damaged(_))), "{outcome:?}");
        assert!(out.len() as u64 <= length, "{} octets of {length}", out.len());
    }
    let (_, outcome) = read(&stored, &[Frame { length: 20_000_001, ..frame }], 4096);
    assert!(matches!(outcome, Err(FrameFault::Damaged(_))), "{outcome:?}");
}

#[test]
fn too_few_or_too_many_octets_are_damage() {
    for sample in [text(3000), text(800_000), octets(800_000, 2).to_vec()] {
        let (frame, mut stored) = stream_in(&sample, 10_000);
        let (out, outcome) = read(&stored[..stored.len() - 1], &[frame], 4096);
        assert!(matches!(outcome, Err(FrameFault::Damaged(_))), "{outcome:?}");
        assert!(out.len() < sample.len());
        stored.push(0);
        let (_, outcome) = read(&stored, &[frame], 4096);
        assert!(matches!(outcome, Err(FrameFault::Damaged(_))), "{outcome:?}");
    }
}

#[test]
fn two_zstd_frames_are_not_one() {
    let part = text(300_000);
    let (frame, stored) = stream_in(&part, 10_000);
    let twice = stored.repeat(2);
    let both = Frame {
        stored_length: frame.stored_length * 2,
        length: frame.length * 2,
        codec: Codec::Zstd,
        checksum: crc32c::crc32c(&twice),
    };
    assert!(matches!(read(&twice, &[both], 4096).1, Err(FrameFault::Damaged(_))));
}

#[test]
fn every_turned_bit_is_found_before_the_last_chunk() {
    for sample in [text(2000), octets(500, 4).to_vec(), text(900_000), octets(300_000, 5).to_vec()] {
        let (frame, stored) = stream_in(&sample, 100_000);
        // All bits of a short frame, some of a long one.
        let step = (stored.len() * 8 / 500).max(1) | 1;
        for bit in (0..stored.len() * 8).step_by(step) {
            let mut damaged = stored.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let (out, outcome) = read(&damaged, &[frame], 65_536);
            assert!(matches!(outcome, Err(FrameFault::Damaged(_))), "bit {bit}: {outcome:?}");
            assert!(out.len() < sample.len(), "bit {bit}: {} octets were handed out", out.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_octets_in_any_chunks(
        message in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()], 0..4000),
        repeat in 1..200_usize,
        chunk_in in 1..100_000_usize,
        chunk_out in 1..100_000_usize,
    ) {
        let message = message.repeat(repeat);
        let (first, stored_first) = stream_in(&message, chunk_in);
        let (second, stored_second) = codecs().encode(message.clone().into()).unwrap();
        let stored = [stored_first, stored_second.to_vec()].concat();
        let (out, outcome) = read(&stored, &[first, second], chunk_out);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert!(out == message.repeat(2));
    }
}
