//! Large segments: gathered up to a part's size and put whole where that was all; else a multipart upload, one part on
//! its way while the next one gathers.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::types::CompletedPart;
use bytes::{Bytes, BytesMut};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle, time::timeout};

use super::{bucket::Bucket, name::Name};
use crate::store::{SegmentWriter, StoreError, Written};

/// Parts of one upload (Amazon S3 User Guide, "Amazon S3 multipart upload limits").
const PARTS_MAX: i32 = 10_000;

/// Writes one large segment.
#[derive(Debug)]
pub(super) struct Writer {
    bucket: Arc<Bucket>,
    name: Name,
    /// The part that gathers; shorter than a part between calls.
    gathered: BytesMut,
    /// Memory for that part. A writer holds this from its begin, and more than this only where there is more: so each can
    /// always send the part it has gathered, and none waits for another's.
    room: Option<OwnedSemaphorePermit>,
    /// Once there is more than one part. Dropped before its end, it is thrown away in the bucket too.
    upload: Option<Upload>,
    broken: bool,
}

impl Writer {
    pub(super) async fn begin(bucket: Arc<Bucket>) -> Result<Self, StoreError> {
        let busy = || StoreError::Unavailable("no memory for one more large segment".to_owned());
        let waiting = timeout(bucket.config().patience, bucket.parts().clone().acquire_owned());
        let room = waiting.await.map_err(|_| busy())?.map_err(|_| busy())?;
        let name = Name::draw()?;
        Ok(Self { bucket, name, gathered: BytesMut::new(), room: Some(room), upload: None, broken: false })
    }

    async fn add(&mut self, mut octets: Bytes) -> Result<(), StoreError> {
        let part_bytes = self.bucket.config().part_bytes;
        while self.gathered.len() + octets.len() > part_bytes {
            let rest = part_bytes - self.gathered.len();
            self.gathered.extend_from_slice(&octets.split_to(rest));
            self.flush().await?;
        }
        self.gathered.extend_from_slice(&octets);
        Ok(())
    }

    /// Sends what has gathered as a part, in the background where there is memory for another one meanwhile.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(Upload::begin(self.bucket.clone(), self.name.clone()).await?),
        };
        upload.settle().await?;
        let part = std::mem::take(&mut self.gathered).freeze();
        let next_room = self.bucket.parts().clone().try_acquire_owned().ok();
        let inline = next_room.is_none();
        let room = next_room.and_then(|next| self.room.replace(next));
        upload.send(part, room)?;
        if inline { upload.settle().await } else { Ok(()) }
    }

    async fn end(&mut self) -> Result<(), StoreError> {
        if self.upload.is_none() {
            let segment = std::mem::take(&mut self.gathered).freeze();
            return self.bucket.put(&self.name, segment).await;
        }
        if !self.gathered.is_empty() {
            self.flush().await?;
        }
        match self.upload.take() {
            Some(upload) => upload.complete().await,
            None => Ok(()),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        let broken = || StoreError::Unavailable("an earlier write of this segment failed".to_owned());
        if self.broken { Err(broken()) } else { Ok(()) }
    }
}

#[async_trait]
impl SegmentWriter for Writer {
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        self.check()?;
        // Also where the caller drops this call half way.
        self.broken = true;
        self.add(octets).await?;
        self.broken = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Written, StoreError> {
        self.check()?;
        self.end().await?;
        Ok(self.bucket.written(&self.name))
    }
}

/// A multipart upload that has been begun. Dropped before its end, it is aborted in the background.
#[derive(Debug)]
struct Upload {
    bucket: Arc<Bucket>,
    name: Name,
    id: String,
    parts: Vec<CompletedPart>,
    /// Octets of all parts, the one under way too.
    octets: u64,
    under_way: Option<JoinHandle<Result<CompletedPart, StoreError>>>,
    completed: bool,
}

impl Upload {
    async fn begin(bucket: Arc<Bucket>, name: Name) -> Result<Self, StoreError> {
        let id = bucket.begin_upload(&name).await?;
        Ok(Self { bucket, name, id, parts: Vec::new(), octets: 0, under_way: None, completed: false })
    }

    /// Begins to send a part. No other one may be under way.
    fn send(&mut self, part: Bytes, room: Option<OwnedSemaphorePermit>) -> Result<(), StoreError> {
        let number = i32::try_from(self.parts.len() + 1).ok().filter(|number| *number <= PARTS_MAX);
        let number = number.ok_or_else(|| StoreError::Internal(format!("more than {PARTS_MAX} parts")))?;
        self.octets += part.len() as u64;
        let (bucket, name, id) = (self.bucket.clone(), self.name.clone(), self.id.clone());
        let sending = async move {
            let sent = bucket.put_part(&name, &id, number, part).await;
            drop(room);
            sent
        };
        self.under_way = Some(self.bucket.tasks().spawn(sending));
        Ok(())
    }

    /// Waits for the part under way.
    async fn settle(&mut self) -> Result<(), StoreError> {
        // Left in its place while it is waited for: whoever is dropped here still aborts after its end.
        if let Some(task) = &mut self.under_way {
            let sent = task.await;
            self.under_way = None;
            let failed = |error| StoreError::Internal(format!("a part's task did not end: {error}"));
            self.parts.push(sent.map_err(failed)??);
        }
        Ok(())
    }

    async fn complete(mut self) -> Result<(), StoreError> {
        self.settle().await?;
        let parts = std::mem::take(&mut self.parts);
        self.bucket.complete_upload(&self.name, &self.id, parts, self.octets).await?;
        self.completed = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.completed {
            let (bucket, id) = (self.bucket.clone(), std::mem::take(&mut self.id));
            self.bucket.tasks().abort(bucket, self.name.clone(), id, self.under_way.take());
        }
    }
}
