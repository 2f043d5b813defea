//! Reads: one ranged GET, handed on as it comes; where it breaks off, another one for the rest.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};

use super::{
    bucket::{Body, Bucket},
    name::Name,
};
use crate::store::{CHUNK_MAX, StoreError};

/// How long a body may say nothing.
const STALL: Duration = Duration::from_secs(10);
/// How long after the last octets a read may still be taken up again. Clients give up after a minute.
const RESUME_WITHIN: Duration = Duration::from_secs(30);
/// How often a read is taken up again…
const RESUMES: u32 = 3;
/// …between so many octets.
const RESUMES_PER_BYTES: u64 = 1 << 20;

/// A read under way.
struct Reading {
    bucket: Arc<Bucket>,
    name: Name,
    /// What has not come yet.
    rest: Range<u64>,
    /// `None`: it broke off.
    body: Option<Body>,
    /// Came, and was not handed on yet.
    pending: Bytes,
    /// The segment's version; another one would not fit together.
    version: Option<String>,
    resumes: u32,
    since_resume: u64,
    _reader: OwnedSemaphorePermit,
}

pub(super) async fn read(
    bucket: Arc<Bucket>,
    name: Name,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
    if range.is_empty() {
        // S3 has no empty ranges; whether the place exists is asked another way.
        let length = bucket.length(&name).await?;
        let inside = range.start == range.end && length.is_some_and(|length| range.end <= length);
        return match inside {
            true => Ok(stream::empty().boxed()),
            false => Err(StoreError::NotFound(name.to_string())),
        };
    }
    let busy = || StoreError::Unavailable("too many reads at one time".to_owned());
    let waiting = timeout(bucket.config().patience, bucket.readers().clone().acquire_owned());
    let reader = waiting.await.map_err(|_| busy())?.map_err(|_| busy())?;
    let mut body = bucket.get(&name, range.clone(), None).await?;
    let reading = Reading {
        version: body.version.take(),
        bucket,
        name,
        rest: range,
        body: Some(body),
        pending: Bytes::new(),
        resumes: RESUMES,
        since_resume: 0,
        _reader: reader,
    };
    let chunks = stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(chunks.boxed())
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.pending.is_empty() {
            if self.rest.is_empty() {
                return Ok(None);
            }
            self.pending = match &mut self.body {
                Some(body) => match body.next(STALL).await {
                    Some(octets) => octets,
                    None => {
                        self.body = None;
                        continue;
                    }
                },
                None => {
                    self.resume().await?;
                    continue;
                }
            };
            self.came(self.pending.len() as u64)?;
        }
        Ok(Some(self.pending.split_to(self.pending.len().min(CHUNK_MAX))))
    }

    fn came(&mut self, octets: u64) -> Result<(), StoreError> {
        if octets > self.rest.end - self.rest.start {
            return Err(StoreError::Internal(format!("more of {} came than was asked for", self.name)));
        }
        self.rest.start += octets;
        self.since_resume += octets;
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
        let get = self.bucket.get(&self.name, self.rest.clone(), self.version.as_deref());
        self.body = Some(timeout_at(deadline, get).await.map_err(|_| broken())??);
        Ok(())
    }
}
