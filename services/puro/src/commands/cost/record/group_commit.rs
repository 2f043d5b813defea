//! How many PUT requests messages take that arrive at random, and what is stored of them.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use puro_api::model::Part;
use puro_blob::{
    BlobConfig, Blobs, Piece,
    store::{MemoryStore, Metered, SegmentPage, SegmentStore, SegmentWriter, StoreError, Written},
};
use puro_types::Location;
use tokio::{task::JoinSet, time::Instant};

use super::{
    super::{
        profile::Profile,
        units::{Gathered, Recorded, Requests, Stored},
    },
    Draw, rounded, run,
};

/// How long S3 takes for a PUT: the guide to its performance says 100 to 200 ms for small objects.
pub(super) const PUT_MS: f64 = 100.0;
const LINGERS_MS: [u64; 4] = [0, 100, 300, 1_000];
const RATES: [f64; 14] = [0.01, 0.1, 0.3, 1.0, 2.0, 3.5, 5.0, 7.0, 10.0, 15.0, 30.0, 60.0, 100.0, 300.0];
/// Messages of a run.
const MESSAGES: u32 = 2_000;

/// A store whose PUTs take their time.
#[derive(Debug)]
struct Slow(MemoryStore);

#[async_trait]
impl SegmentStore for Slow {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        tokio::time::sleep(Duration::from_secs_f64(PUT_MS / 1_000.0)).await;
        self.0.put(pieces).await
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        self.0.begin().await
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        self.0.read(object_name, range).await
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        self.0.delete(object_names).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        self.0.list(after, limit).await
    }
}

/// Returns the sharing at each rate and linger, of messages so small that no segment is full.
pub(super) fn ladder() -> Vec<Gathered> {
    let mut rows = Vec::new();
    for linger_ms in LINGERS_MS {
        for rate in RATES {
            let config = BlobConfig { linger: Duration::from_millis(linger_ms), ..BlobConfig::default() };
            let (alone, shared) = run(arrive(config, rate, |_| 200));
            rows.push(Gathered {
                linger_ms: Duration::from_millis(linger_ms).as_secs_f64() * 1_000.0,
                messages_per_second: rate,
                alone,
                shared,
            });
        }
    }
    rows
}

/// Lets messages arrive at random, and returns the segments that hold one and those that hold more, by messages.
async fn arrive(config: BlobConfig, rate: f64, size: impl Fn(&mut Draw) -> usize) -> (f64, f64) {
    let metered = Arc::new(Metered::new(Arc::new(Slow(MemoryStore::new()))));
    let meter = metered.meter();
    let blobs = Blobs::new(metered, config);
    let mut stores = JoinSet::new();
    let mut draw = Draw(11);
    let mut at = Instant::now();
    for _ in 0..MESSAGES {
        at += Duration::from_secs_f64(draw.pause_seconds(rate));
        let message = attachment(size(&mut draw), &mut draw);
        let blobs = blobs.clone();
        stores.spawn(async move {
            tokio::time::sleep_until(at).await;
            store(&blobs, message).await
        });
    }
    let mut alone = 0;
    while let Some(stored) = stores.join_next().await {
        alone += u32::from(stored.unwrap().slots == 1);
    }
    let puts = u32::try_from(meter.counts().puts).unwrap();
    let by_messages = |count: u32| rounded(f64::from(count) / f64::from(MESSAGES));
    (by_messages(alone), by_messages(puts - alone))
}

async fn store(blobs: &Blobs, message: Bytes) -> Location {
    let size = message.len() as u64;
    let piece = Piece { chunk: message, finish: Some(size), ..Piece::default() };
    blobs.store(stream::iter([Ok(piece)])).await.unwrap()
}

/// Returns octets as an attachment has them: 76 characters a line of base64 that nothing compresses but its alphabet.
fn attachment(size: usize, draw: &mut Draw) -> Bytes {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut octets = Vec::with_capacity(size + 16);
    while octets.len() < size {
        let bits = draw.bits();
        octets.extend((0..10).map(|place| ALPHABET[usize::try_from((bits >> (6 * place)) & 63).unwrap()]));
        if octets.len() % 78 >= 66 {
            octets.extend_from_slice(b"\r\n");
        }
    }
    octets.truncate(size);
    octets.into()
}

const HEADER: &str = "Received: from mx.example.net (mx.example.net [192.0.2.7])\r\n\tby mail.example.org with ESMTPS \
    id 0ABCDEFGHIJKLMNOPQRSTUV\r\n\tfor <given.family@mail.example.org>; Mon, 23 Nov 2026 10:11:12 +0000\r\n\
    DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=mail;\r\n\th=from:to:subject:date; \
    bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=;\r\n\tb=dGhpcyBpcyBub3QgYSBzaWduYXR1cmUgYnV0IGFzIGxvbmcgYXMgb25l\r\n\
    From: Somebody <somebody@example.net>\r\nTo: Given Family <given.family@mail.example.org>\r\n\
    Subject: What was spoken of\r\nDate: Mon, 23 Nov 2026 10:11:11 +0000\r\n\
    Message-ID: <20261123101111.4711@example.net>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\n";

const WORDS: [&str; 32] = [
    "the", "of", "and", "to", "in", "we", "that", "it", "for", "you", "on", "with", "as", "are", "be",
    "this", "have", "from", "meeting", "or", "attached", "report", "not", "please", "Thursday", "all", "can",
    "numbers", "when", "there", "project", "thanks",
];

/// Returns a message: header, at most 8 KB of words, and an attachment for the rest.
fn message(size: usize, draw: &mut Draw) -> Bytes {
    let mut octets = HEADER.as_bytes().to_vec();
    let text_end = size.min(HEADER.len() + 8_000);
    while octets.len() < text_end {
        let word = WORDS[usize::try_from(draw.bits() % 32).unwrap()];
        octets.extend_from_slice(word.as_bytes());
        octets.extend_from_slice(if draw.bits().is_multiple_of(12) { b"\r\n" } else { b" " });
    }
    octets.truncate(text_end);
    let rest = size.saturating_sub(octets.len());
    octets.extend_from_slice(&attachment(rest, draw));
    octets.truncate(size);
    octets.into()
}

/// Returns what is stored of messages of some sizes.
pub(super) async fn compression() -> Vec<Stored> {
    let blobs = Blobs::new(Arc::new(MemoryStore::new()), BlobConfig::default());
    let mut draw = Draw(13);
    let mut rows = Vec::new();
    for bytes in [1_000_u32, 3_000, 10_000, 30_000, 100_000, 500_000, 2_000_000] {
        let location = store(&blobs, message(bytes as usize, &mut draw)).await;
        let stored_bytes = f64::from(u32::try_from(location.stored_length()).unwrap());
        rows.push(Stored { bytes: f64::from(bytes), stored_bytes });
    }
    rows
}

/// Counts the requests of one message.
pub(super) async fn requests() -> Requests {
    let metered = Arc::new(Metered::new(Arc::new(MemoryStore::new())));
    let meter = metered.meter();
    let blobs = Blobs::new(metered, BlobConfig::default());
    let location = store(&blobs, message(100_000, &mut Draw(17))).await;
    let mut read = blobs.read(&location, Part::Message).await.unwrap();
    while let Some(chunk) = read.next().await {
        chunk.unwrap();
    }
    let counts = meter.counts();
    let number = |count| f64::from(u32::try_from(count).unwrap());
    Requests { puts_alone: number(counts.puts), gets: number(counts.gets) }
}

/// The ladder is of small messages; a bill takes it for all that share segments, with full segments as a bound. Here the
/// profiles' own sizes arrive, and batches, sizes and memory are all 64 times smaller than in life, which changes no
/// decision of the batches and spares the run gigabytes.
#[test]
fn the_ladder_holds_for_the_profiles_own_sizes() {
    const SMALLER: u16 = 64;
    let recorded = Recorded::read().unwrap();
    let life = BlobConfig::default();
    for (name, linger_ms, rate) in [
        ("seed", 1_000, 6.0),
        ("seed", 0, 6.0),
        ("mixed", 1_000, 8.0),
        ("mixed", 300, 2.0),
        ("small", 1_000, 8.0),
    ] {
        let sizes = Profile::read(name).unwrap().sizes;
        let parts = sizes.samples(64);
        let shrunk = |draw: &mut Draw| {
            let mut place = draw.share();
            let part = parts.iter().find(|(share, _)| {
                let is_here = place < *share;
                place -= share;
                is_here
            });
            let (_, sample) = part.unwrap_or(&parts[0]);
            let bytes = sample[usize::try_from(draw.bits()).unwrap() % sample.len()];
            // Whole octets; a double has no conversion that is checked.
            usize::try_from(Duration::from_secs_f64(bytes / f64::from(SMALLER)).as_secs()).unwrap() + 1
        };
        let config = BlobConfig {
            linger: Duration::from_millis(linger_ms),
            shared_max_bytes: life.shared_max_bytes / usize::from(SMALLER),
            batch_bytes: life.batch_bytes / usize::from(SMALLER),
            ..life.clone()
        };
        let (alone, shared) = run(arrive(config, rate, shrunk));
        let large = sizes.mean(|bytes| f64::from(u8::from(bytes > 1_000_000.0)));
        let gathered =
            recorded.gathered(Duration::from_millis(linger_ms).as_secs_f64() * 1e3, rate * (1.0 - large));
        let expected = large + (1.0 - large) * gathered.puts();
        let measured = alone + shared;
        assert!(
            (measured / expected - 1.0).abs() < 0.1,
            "{name} {linger_ms} ms {rate}/s: {measured} {expected}"
        );
    }
}
