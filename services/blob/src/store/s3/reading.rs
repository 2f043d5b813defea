//! Reads: one ranged GET, handed on as it comes; where it breaks off, another one for the rest.
//!
//! A task of its own takes the octets from S3 and is a few chunks ahead of the reader: so a small message is off its
//! connection at once, and a reader who takes nothing for a while loses the connection, not the read. Slow readers keep
//! nobody else from reading.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, Permit, Receiver, Sender},
    },
    time::{Instant, timeout, timeout_at},
};

use super::{
    bucket::{Body, Bucket},
    name::Name,
};
use crate::store::{CHUNK_MAX, StoreError};

/// Full chunks that a read is ahead of its reader.
const AHEAD: usize = 4;
/// How long a body may say nothing.
const STALL: Duration = Duration::from_secs(10);
/// How long a read that broke off may take to be taken up again. Clients give up after a minute.
const RESUME_WITHIN: Duration = Duration::from_secs(30);
/// How often a read is taken up again…
const RESUMES: u32 = 3;
/// …between so many octets.
const RESUMES_PER_BYTES: u64 = 1 << 20;

type Chunk = Result<Bytes, StoreError>;

pub(super) async fn read(
    bucket: Arc<Bucket>,
    name: Name,
    range: Range<u64>,
) -> Result<BoxStream<'static, Chunk>, StoreError> {
    if range.is_empty() {
        // S3 has no empty ranges; whether the place exists is asked another way.
        let length = bucket.length(&name).await?;
        let inside = range.start == range.end && length.is_some_and(|length| range.end <= length);
        return match inside {
            true => Ok(stream::empty().boxed()),
            false => Err(StoreError::NotFound(name.to_string())),
        };
    }
    let reader = reader(&bucket).await?;
    let mut body = bucket.get(&name, range.clone(), None).await?;
    let version = body.version.take();
    let left = range.end - range.start;
    let source = Source {
        name,
        rest: range,
        connection: Some((body, reader)),
        pending: Bytes::new(),
        version,
        resumes: RESUMES,
        since_resume: 0,
        bucket: bucket.clone(),
    };
    let (sender, chunks) = mpsc::channel(AHEAD);
    // It ends with its reader.
    drop(bucket.tasks().spawn(pump(source, sender)));
    let handed = Handed { chunks, left };
    Ok(stream::unfold(Some(handed), |handed| async move { handed?.next().await }).boxed())
}

/// Waits for leave to hold a connection.
async fn reader(bucket: &Bucket) -> Result<OwnedSemaphorePermit, StoreError> {
    let busy = || StoreError::Unavailable("too many reads at one time".to_owned());
    let waiting = timeout(bucket.config().patience, bucket.readers().clone().acquire_owned());
    waiting.await.map_err(|_| busy())?.map_err(|_| busy())
}

/// What the reader has in hand.
struct Handed {
    chunks: Receiver<Chunk>,
    left: u64,
}

impl Handed {
    async fn next(mut self) -> Option<(Chunk, Option<Self>)> {
        match self.chunks.recv().await {
            Some(Ok(chunk)) => {
                self.left -= chunk.len() as u64;
                Some((Ok(chunk), Some(self)))
            }
            Some(Err(error)) => Some((Err(error), None)),
            None if self.left == 0 => None,
            // The task did not come to its end.
            None => Some((Err(StoreError::Internal("a read was cut off".to_owned())), None)),
        }
    }
}

/// Hands chunks on until all are, or one cannot be had, or nobody wants them any more.
async fn pump(mut source: Source, chunks: Sender<Chunk>) {
    while !source.is_done() {
        let Some(room) = room(&mut source, &chunks).await else { return };
        tokio::select! {
            chunk = source.next() => {
                let failed = chunk.is_err();
                room.send(chunk);
                if failed {
                    return;
                }
            }
            () = chunks.closed() => return,
        }
    }
}

/// Waits until the reader has taken enough; gives the connection up meanwhile, where that takes long.
async fn room<'a>(source: &mut Source, chunks: &'a Sender<Chunk>) -> Option<Permit<'a, Chunk>> {
    match timeout(source.bucket.config().slow_reader, chunks.reserve()).await {
        Ok(room) => room.ok(),
        Err(_) => {
            source.park();
            chunks.reserve().await.ok()
        }
    }
}

/// Where the octets come from.
struct Source {
    bucket: Arc<Bucket>,
    name: Name,
    /// What has not come yet.
    rest: Range<u64>,
    /// Away after it broke off, or was given up for a slow reader.
    connection: Option<(Body, OwnedSemaphorePermit)>,
    /// Came, and was not handed on yet.
    pending: Bytes,
    /// The segment's version; another one would not fit together.
    version: Option<String>,
    resumes: u32,
    since_resume: u64,
}

impl Source {
    fn is_done(&self) -> bool {
        self.pending.is_empty() && self.rest.is_empty()
    }

    fn park(&mut self) {
        if self.connection.take().is_some() {
            // It is not the store that failed.
            self.resumes += 1;
        }
    }

    /// Returns the next chunk; there must be one. It is full unless it is the last: octets come in smaller pieces.
    async fn next(&mut self) -> Chunk {
        let mut chunk = BytesMut::new();
        while chunk.len() < CHUNK_MAX && !self.is_done() {
            if self.pending.is_empty() {
                self.receive().await?;
                continue;
            }
            let piece = self.pending.split_to(self.pending.len().min(CHUNK_MAX - chunk.len()));
            if piece.len() == CHUNK_MAX {
                return Ok(piece);
            }
            chunk.extend_from_slice(&piece);
        }
        Ok(chunk.freeze())
    }

    /// Waits for something to hand on.
    async fn receive(&mut self) -> Result<(), StoreError> {
        while self.pending.is_empty() {
            match &mut self.connection {
                Some((body, _)) => match body.next(STALL).await {
                    Some(octets) => self.came(octets)?,
                    None => self.connection = None,
                },
                None => self.resume().await?,
            }
        }
        if self.rest.is_empty() {
            self.connection = None;
        }
        Ok(())
    }

    fn came(&mut self, octets: Bytes) -> Result<(), StoreError> {
        let length = octets.len() as u64;
        if length > self.rest.end - self.rest.start {
            return Err(StoreError::Internal(format!("more of {} came than was asked for", self.name)));
        }
        self.pending = octets;
        self.rest.start += length;
        self.since_resume += length;
        if self.since_resume >= RESUMES_PER_BYTES {
            self.resumes = RESUMES;
        }
        Ok(())
    }

    /// Asks for the rest.
    async fn resume(&mut self) -> Result<(), StoreError> {
        let deadline = Instant::now() + RESUME_WITHIN;
        let broken = || StoreError::Unavailable(format!("the read of {} broke off", self.name));
        self.resumes = self.resumes.checked_sub(1).ok_or_else(broken)?;
        self.since_resume = 0;
        tracing::debug!(name = %self.name, rest = self.rest.end - self.rest.start, "a read is taken up again");
        let again = async {
            let reader = reader(&self.bucket).await?;
            let body = self.bucket.get(&self.name, self.rest.clone(), self.version.as_deref()).await?;
            Ok((body, reader))
        };
        self.connection = Some(timeout_at(deadline, again).await.map_err(|_| broken())??);
        Ok(())
    }
}
