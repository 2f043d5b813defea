//! The bucket as single requests, each through the gate, with what its failures mean.

use std::{fmt, ops::Range, sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier},
};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use md5::{Digest, Md5};
use puro_aws::Gate;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    S3Config,
    failed::{Failed, Reason},
    name::Name,
    tasks::Tasks,
};
use crate::{
    setup::SetupError,
    store::{SegmentInfo, SegmentPage, StoreError, Written},
};

/// No object is larger (50 TB, Amazon S3 User Guide, "Amazon S3 objects overview"); servers differ in what they make of larger
/// numbers.
const OCTETS_MAX: u64 = 50_000_000_000_000;
/// Keys of one DeleteObjects request.
pub(super) const DELETES_MAX: usize = 1000;
/// Keys of one page of ListObjectsV2.
const PAGE_MAX: usize = 1000;

/// The way to one bucket.
pub(super) struct Bucket {
    client: Client,
    config: S3Config,
    gate: Arc<Gate>,
    tasks: Tasks,
    /// Parts of large segments in memory.
    parts: Arc<Semaphore>,
    /// Bodies being read.
    readers: Arc<Semaphore>,
}

/// The octets of a range, on their way.
pub(super) struct Body {
    stream: ByteStream,
    /// The object's entity tag.
    pub(super) version: Option<String>,
}

impl Body {
    /// Returns the next octets; `None` where the body ended, whether it should or not.
    pub(super) async fn next(&mut self, within: Duration) -> Option<Bytes> {
        match timeout(within, self.stream.next()).await {
            Ok(Some(Ok(octets))) => Some(octets),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a body broke off");
                None
            }
            Ok(None) => None,
            Err(_) => {
                tracing::debug!("a body stalled");
                None
            }
        }
    }
}

impl Bucket {
    pub(super) fn new(client: Client, config: S3Config, gate: Arc<Gate>) -> Self {
        Self {
            tasks: Tasks::new(),
            parts: Arc::new(Semaphore::new(config.parts_in_memory.max(1))),
            readers: Arc::new(Semaphore::new(config.readers.max(1))),
            client,
            config,
            gate,
        }
    }

    pub(super) fn config(&self) -> &S3Config {
        &self.config
    }

    pub(super) fn parts(&self) -> &Arc<Semaphore> {
        &self.parts
    }

    pub(super) fn readers(&self) -> &Arc<Semaphore> {
        &self.readers
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Where a segment is. The bucket is the store's own place: its name would only make every message's item larger.
    pub(super) fn written(&self, name: &Name) -> Written {
        Written { bucket: String::new(), object_name: name.to_string() }
    }

    async fn call<T, E>(
        &self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    ) -> Result<T, Failed>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let pass = self.gate.enter().await.map_err(Failed::closed)?;
        match request.await {
            Ok(answer) => {
                pass.answered();
                Ok(answer)
            }
            Err(error) => {
                let (failed, fault) = Failed::of(&error);
                if fault.is_outage() {
                    pass.failed()
                } else {
                    pass.answered()
                }
                Err(failed)
            }
        }
    }

    /// Puts a whole segment.
    pub(super) async fn put(&self, name: &Name, octets: Bytes) -> Result<(), StoreError> {
        let length = octets.len() as u64;
        let request = self.client.put_object().bucket(&self.config.bucket).key(name.as_str());
        // From memory: the SDK can repeat it, and needs no trailer, which other stores refuse.
        let request =
            request.if_none_match("*").checksum_crc32_c(checksum(&octets)).body(ByteStream::from(octets));
        match self.call(Box::pin(request.send())).await {
            Ok(_) => Ok(()),
            Err(failed) => self.decide(name, length, "putting a segment", failed).await,
        }
    }

    /// Finds out what became of a write whose answer was lost, or which met itself: names are random, so an object under
    /// ours was written by this very call, by a try of the SDK's whose answer did not come.
    async fn decide(&self, name: &Name, length: u64, doing: &str, failed: Failed) -> Result<(), StoreError> {
        match failed.reason() {
            // The object is there or is being written, or its upload has ended, or nobody knows.
            Reason::Exists | Reason::Conflict | Reason::NotFound | Reason::Unknown => {}
            _ => return Err(failed.of_write(doing)),
        }
        match self.length(name).await {
            Ok(Some(found)) if found == length => Ok(()),
            Ok(Some(found)) => Err(StoreError::Internal(format!(
                "{name} has {found} octets instead of {length}: it was put by somebody else"
            ))),
            // It may yet come, or the question failed too.
            Ok(None) | Err(_) => Err(StoreError::OutcomeUnknown(failed.to_text(doing))),
        }
    }

    /// Returns how long a segment is; `None`: it is not there.
    pub(super) async fn length(&self, name: &Name) -> Result<Option<u64>, StoreError> {
        let request = self.client.head_object().bucket(&self.config.bucket).key(name.as_str());
        match self.call(Box::pin(request.send())).await {
            Ok(answer) => Ok(Some(octets(answer.content_length())?)),
            Err(failed) if failed.reason() == Reason::NotFound => Ok(None),
            Err(failed) => Err(failed.of_read("asking for a segment")),
        }
    }

    /// Asks for a range, which must not be empty.
    pub(super) async fn get(
        &self,
        name: &Name,
        range: Range<u64>,
        version: Option<&str>,
    ) -> Result<Body, StoreError> {
        let not_found = || StoreError::NotFound(name.to_string());
        if range.is_empty() || range.end > OCTETS_MAX {
            return Err(not_found());
        }
        let wanted = format!("bytes={}-{}", range.start, range.end - 1);
        let request = self.client.get_object().bucket(&self.config.bucket).key(name.as_str()).range(wanted);
        let request = request.set_if_match(version.map(str::to_owned));
        let answer = match self.call(Box::pin(request.send())).await {
            Ok(answer) => answer,
            Err(failed) => {
                return Err(match failed.reason() {
                    Reason::NotFound | Reason::BadRange => not_found(),
                    _ => failed.of_read("reading a segment"),
                });
            }
        };
        let length = octets(answer.content_length())?;
        let begin = answer.content_range().map_or(Some(0), first_octet);
        if begin != Some(range.start) || length > range.end - range.start {
            return Err(StoreError::Internal(format!("another range of {name} came than was asked for")));
        }
        // S3 cuts a range that goes beyond the end.
        if length < range.end - range.start {
            return Err(not_found());
        }
        Ok(Body { version: answer.e_tag().map(str::to_owned), stream: answer.body })
    }

    /// Deletes at most [`DELETES_MAX`] segments; absent ones count as deleted.
    pub(super) async fn delete(&self, names: &[Name]) -> Result<(), StoreError> {
        const DOING: &str = "deleting segments";
        let objects = names.iter().map(|name| ObjectIdentifier::builder().key(name.as_str()).build());
        let objects = objects.collect::<Result<Vec<_>, _>>().map_err(built)?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(built)?;
        let request = self.client.delete_objects().bucket(&self.config.bucket).delete(delete);
        // S3 is content with the SDK's checksum; other stores want the older header.
        let request = request.customize().mutate_request(|request| {
            if let Some(body) = request.body().bytes() {
                let digest = BASE64.encode(Md5::digest(body));
                request.headers_mut().insert("content-md5", digest);
            }
        });
        let answer = self.call(Box::pin(request.send())).await.map_err(|failed| failed.of_write(DOING))?;
        let failures = answer.errors().iter().filter(|error| error.code() != Some("NoSuchKey"));
        let mut failures = failures.map(|error| (error.key(), error.code(), error.message()));
        match failures.next() {
            None => Ok(()),
            Some((key, code, message)) => {
                let more = failures.count();
                let [key, code, message] = [key, code, message].map(Option::unwrap_or_default);
                let why = format!("{DOING}: {key}: {code}: {message}, and {more} more");
                match code {
                    "AccessDenied" => Err(StoreError::Unavailable(why)),
                    // Some are gone, some are not.
                    _ => Err(StoreError::OutcomeUnknown(why)),
                }
            }
        }
    }

    /// Lists a page of this store's segments.
    pub(super) async fn list(&self, after: Option<&Name>, limit: usize) -> Result<SegmentPage, StoreError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut after = after.map(Name::to_string);
        loop {
            let request = self.client.list_objects_v2().bucket(&self.config.bucket);
            let request = request.max_keys(i32::try_from(limit).unwrap_or(1000)).set_start_after(after);
            let answer = self.call(Box::pin(request.send())).await;
            let answer = answer.map_err(|failed| failed.of_read("listing segments"))?;
            let mut last = None;
            let mut segments = Vec::new();
            for object in answer.contents() {
                last = object.key().map(str::to_owned);
                // Other objects are nobody's business here.
                let Some(name) = object.key().filter(|key| Name::parse(key).is_ok()) else { continue };
                let created_ms = object.last_modified().and_then(|at| at.to_millis().ok());
                segments.push(SegmentInfo {
                    object_name: name.to_owned(),
                    size_bytes: octets(object.size())?,
                    created_ms: created_ms.and_then(|at| u64::try_from(at).ok()).unwrap_or_default(),
                });
            }
            if answer.is_truncated() != Some(true) {
                return Ok(SegmentPage { segments, next: None });
            }
            if let Some(own) = segments.last() {
                let next = Some(own.object_name.clone());
                return Ok(SegmentPage { segments, next });
            }
            // A page without any of ours: on to the next.
            after = Some(last.ok_or_else(|| StoreError::Internal("a page of nothing".to_owned()))?);
        }
    }

    /// Begins a multipart upload and returns its id.
    pub(super) async fn begin_upload(&self, name: &Name) -> Result<String, StoreError> {
        let request = self.client.create_multipart_upload().bucket(&self.config.bucket).key(name.as_str());
        let request = request.checksum_algorithm(ChecksumAlgorithm::Crc32C);
        // What may have begun without an answer is the lifecycle rule's.
        let answer = self
            .call(Box::pin(request.send()))
            .await
            .map_err(|failed| failed.of_read("beginning an upload"))?;
        let without = || StoreError::Internal("an upload without an id".to_owned());
        answer.upload_id().map(str::to_owned).ok_or_else(without)
    }

    /// Puts a part of an upload.
    pub(super) async fn put_part(
        &self,
        name: &Name,
        upload_id: &str,
        number: i32,
        octets: Bytes,
    ) -> Result<CompletedPart, StoreError> {
        let checksum = checksum(&octets);
        let request = self.client.upload_part().bucket(&self.config.bucket).key(name.as_str());
        let request = request.upload_id(upload_id).part_number(number);
        let request = request.checksum_crc32_c(&checksum).body(ByteStream::from(octets));
        // No reader sees a part.
        let answer =
            self.call(Box::pin(request.send())).await.map_err(|failed| failed.of_read("putting a part"))?;
        let part = CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag().map(str::to_owned));
        Ok(part.checksum_crc32_c(checksum).build())
    }

    /// Makes a segment of an upload's parts, of so many octets together.
    pub(super) async fn complete_upload(
        &self,
        name: &Name,
        upload_id: &str,
        parts: Vec<CompletedPart>,
        length: u64,
    ) -> Result<(), StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.config.bucket).key(name.as_str());
        let request = request.upload_id(upload_id).if_none_match("*").multipart_upload(parts);
        match self.call(Box::pin(request.send())).await {
            Ok(_) => Ok(()),
            Err(failed) => self.decide(name, length, "ending an upload", failed).await,
        }
    }

    /// Throws an upload's parts away; one that is not there counts as done.
    pub(super) async fn abort_upload(&self, name: &Name, upload_id: &str) -> Result<(), StoreError> {
        let request = self.client.abort_multipart_upload().bucket(&self.config.bucket).key(name.as_str());
        match self.call(Box::pin(request.upload_id(upload_id).send())).await {
            Ok(_) => Ok(()),
            Err(failed) if failed.reason() == Reason::NotFound => Ok(()),
            Err(failed) => Err(failed.of_read("aborting an upload")),
        }
    }

    /// Counts the uploads under way.
    pub(super) async fn uploads(&self) -> Result<usize, StoreError> {
        let request = self.client.list_multipart_uploads().bucket(&self.config.bucket);
        let answer = self.call(Box::pin(request.send())).await;
        answer.map(|answer| answer.uploads().len()).map_err(|failed| failed.of_read("listing uploads"))
    }

    /// Asks whether the bucket is there.
    pub(super) async fn check(&self) -> Result<(), SetupError> {
        let bucket = &self.config.bucket;
        match self.call(Box::pin(self.client.head_bucket().bucket(bucket).send())).await {
            Ok(_) => Ok(()),
            Err(failed) if matches!(failed.reason(), Reason::NotFound | Reason::NoBucket) => {
                Err(SetupError::Missing(format!("there is no bucket {bucket}: run `puro store init`")))
            }
            // An answer to HEAD has no words.
            Err(failed) => Err(failed.of_setup(&match failed.status() {
                Some(403) => format!("asking for the bucket {bucket} (is s3:ListBucket allowed?)"),
                Some(301 | 400) => format!("asking for the bucket {bucket} (is it in another region?)"),
                _ => format!("asking for the bucket {bucket}"),
            })),
        }
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A client says everything it knows, pages of it.
        f.debug_struct("Bucket").field("name", &self.config.bucket).finish_non_exhaustive()
    }
}

/// CRC-32C as S3 writes it: big endian, in base64.
fn checksum(octets: &[u8]) -> String {
    BASE64.encode(crc32c::crc32c(octets).to_be_bytes())
}

fn octets(length: Option<i64>) -> Result<u64, StoreError> {
    let without = || StoreError::Internal("an object without a length".to_owned());
    length.and_then(|length| u64::try_from(length).ok()).ok_or_else(without)
}

/// Returns where a range begins: "bytes 5-9/100" (RFC 9110 section 14.4).
fn first_octet(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

fn built(error: aws_sdk_s3::error::BuildError) -> StoreError {
    StoreError::Internal(format!("building a request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_written_as_s3_reads_it() {
        // The check value of CRC-32C (RFC 3720 appendix B.4 has others), 0xe3069283, in base64.
        assert_eq!(checksum(b"123456789"), "4waSgw==");
        assert_eq!(checksum(b""), "AAAAAA==");
    }

    #[test]
    fn a_range_begins_where_its_header_says() {
        assert_eq!(first_octet("bytes 5-9/100"), Some(5));
        assert_eq!(first_octet("bytes 0-0/*"), Some(0));
        for wrong in ["bytes */100", "5-9/100", "octets 5-9/100", ""] {
            assert_eq!(first_octet(wrong), None, "{wrong}");
        }
    }
}
