//! Counts what goes out to S3, request by request: each is billed, a repeat too.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use aws_sdk_s3::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};

/// What a request is to S3's price list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A whole segment put.
    Put,
    /// A step of a multipart upload: its begin, a part, its end. Priced as a put.
    Multipart,
    /// A read.
    Get,
    /// A question whether a segment is there, and how long. Priced as a get.
    Head,
    /// Segments deleted, up to 1,000. Free.
    Delete,
    /// A page listed. Priced as a put.
    List,
    /// An unfinished upload thrown away. Free.
    Abort,
    /// Anything about the bucket itself.
    Bucket,
}

impl RequestKind {
    /// Every kind, in the order of [`RequestCounts`].
    pub const ALL: [Self; 8] = [
        Self::Put,
        Self::Multipart,
        Self::Get,
        Self::Head,
        Self::Delete,
        Self::List,
        Self::Abort,
        Self::Bucket,
    ];

    /// Returns its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Multipart => "multipart",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Abort => "abort",
            Self::Bucket => "bucket",
        }
    }

    /// Tells a request by its method and its query, which is what S3 does. Where a path alone would not tell a bucket from
    /// an object, the SDK says `x-id`.
    fn of(method: &str, uri: &str) -> Self {
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        let says = |word: &str| {
            query
                .split('&')
                .any(|pair| pair == word || pair.split_once('=').is_some_and(|(key, _)| key == word))
        };
        let id = query.split('&').find_map(|pair| pair.strip_prefix("x-id=")).unwrap_or_default();
        match method {
            "PUT" if says("uploadId") => Self::Multipart,
            "PUT" if id == "PutObject" => Self::Put,
            "POST" if says("uploads") || says("uploadId") => Self::Multipart,
            "POST" if says("delete") => Self::Delete,
            "DELETE" if says("uploadId") => Self::Abort,
            "GET" if id == "GetObject" => Self::Get,
            "GET" if says("list-type") => Self::List,
            "HEAD" => Self::Head,
            _ => Self::Bucket,
        }
    }
}

/// How many requests of each kind went out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// [`RequestKind::Put`]
    pub puts: u64,
    /// [`RequestKind::Multipart`]
    pub multiparts: u64,
    /// [`RequestKind::Get`]
    pub gets: u64,
    /// [`RequestKind::Head`]
    pub heads: u64,
    /// [`RequestKind::Delete`]
    pub deletes: u64,
    /// [`RequestKind::List`]
    pub lists: u64,
    /// [`RequestKind::Abort`]
    pub aborts: u64,
    /// [`RequestKind::Bucket`]
    pub buckets: u64,
}

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<[AtomicU64; RequestKind::ALL.len()]>);

impl Requests {
    /// Returns how many of a kind went out.
    #[must_use]
    pub fn of(&self, kind: RequestKind) -> u64 {
        self.0[kind as usize].load(Relaxed)
    }

    /// Returns the counts at this moment.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        RequestCounts {
            puts: self.of(RequestKind::Put),
            multiparts: self.of(RequestKind::Multipart),
            gets: self.of(RequestKind::Get),
            heads: self.of(RequestKind::Head),
            deletes: self.of(RequestKind::Delete),
            lists: self.of(RequestKind::List),
            aborts: self.of(RequestKind::Abort),
            buckets: self.of(RequestKind::Bucket),
        }
    }
}

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "requests"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        self.0[RequestKind::of(request.method(), request.uri()) as usize].fetch_add(1, Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_by_its_method_and_query() {
        for (method, uri, kind) in [
            ("PUT", "http://host/bucket/key?x-id=PutObject", RequestKind::Put),
            ("PUT", "http://host/bucket/key?x-id=UploadPart&partNumber=1&uploadId=u", RequestKind::Multipart),
            ("POST", "http://host/bucket/key?uploads", RequestKind::Multipart),
            ("POST", "http://host/bucket/key?uploads=", RequestKind::Multipart),
            ("POST", "http://host/bucket/key?uploadId=u", RequestKind::Multipart),
            ("DELETE", "http://host/key?x-id=AbortMultipartUpload&uploadId=u", RequestKind::Abort),
            ("POST", "http://host/bucket?delete", RequestKind::Delete),
            ("GET", "http://host/bucket/key?x-id=GetObject", RequestKind::Get),
            ("GET", "http://host/bucket?list-type=2&max-keys=3", RequestKind::List),
            ("HEAD", "http://host/bucket/key", RequestKind::Head),
            ("PUT", "http://host/bucket", RequestKind::Bucket),
            ("PUT", "http://host/bucket?lifecycle", RequestKind::Bucket),
            ("GET", "http://host/bucket?uploads", RequestKind::Bucket),
        ] {
            assert_eq!(RequestKind::of(method, uri), kind, "{method} {uri}");
        }
    }
}
