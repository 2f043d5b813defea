//! Which operation of AWS's interface a request is.

use http::{Method, request::Parts};

/// The two interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// JSON over POST, the operation in `X-Amz-Target`.
    DynamoDb,
    /// REST with path-style addresses.
    S3,
}

impl Service {
    /// Returns AWS's name of the operation; for what has none here, method and path.
    pub(super) fn operation(self, request: &Parts) -> String {
        let known = match self {
            Self::DynamoDb => dynamodb(request),
            Self::S3 => s3(request).map(str::to_owned),
        };
        known.unwrap_or_else(|| format!("{} {}", request.method, request.uri))
    }
}

/// "DynamoDB_20120810.PutItem"
fn dynamodb(request: &Parts) -> Option<String> {
    let target = request.headers.get("x-amz-target")?.to_str().ok()?;
    Some(target.rsplit('.').next()?.to_owned())
}

fn s3(request: &Parts) -> Option<&'static str> {
    let path = request.uri.path().trim_start_matches('/');
    let query: Vec<&str> = request.uri.query().unwrap_or_default().split('&').collect();
    let asks = |name: &str| query.iter().any(|part| part.split('=').next() == Some(name));
    match path.split_once('/') {
        Some((_, key)) if !key.is_empty() => object(request, asks),
        _ if path.is_empty() => (request.method == Method::GET).then_some("ListBuckets"),
        _ => bucket(&request.method, asks),
    }
}

fn object(request: &Parts, asks: impl Fn(&str) -> bool) -> Option<&'static str> {
    Some(match request.method {
        Method::PUT if asks("partNumber") => "UploadPart",
        Method::PUT if request.headers.contains_key("x-amz-copy-source") => "CopyObject",
        Method::PUT => "PutObject",
        Method::POST if asks("uploads") => "CreateMultipartUpload",
        Method::POST if asks("uploadId") => "CompleteMultipartUpload",
        Method::DELETE if asks("uploadId") => "AbortMultipartUpload",
        Method::DELETE => "DeleteObject",
        Method::GET if asks("uploadId") => "ListParts",
        Method::GET => "GetObject",
        Method::HEAD => "HeadObject",
        _ => return None,
    })
}

fn bucket(method: &Method, asks: impl Fn(&str) -> bool) -> Option<&'static str> {
    const SETTINGS: [(&str, &str, &str); 4] = [
        ("lifecycle", "PutBucketLifecycleConfiguration", "GetBucketLifecycleConfiguration"),
        ("encryption", "PutBucketEncryption", "GetBucketEncryption"),
        ("publicAccessBlock", "PutPublicAccessBlock", "GetPublicAccessBlock"),
        ("versioning", "PutBucketVersioning", "GetBucketVersioning"),
    ];
    let setting = SETTINGS.iter().find(|(name, ..)| asks(name));
    Some(match (setting, method) {
        (Some((_, put, _)), &Method::PUT) => put,
        (Some((_, _, read)), &Method::GET) => read,
        (None, &Method::POST) if asks("delete") => "DeleteObjects",
        (None, &Method::GET) if asks("uploads") => "ListMultipartUploads",
        (None, &Method::GET) if asks("location") => "GetBucketLocation",
        (None, &Method::GET) if asks("list-type") => "ListObjectsV2",
        (None, &Method::GET) => "ListObjects",
        (None, &Method::PUT) => "CreateBucket",
        (None, &Method::HEAD) => "HeadBucket",
        (None, &Method::DELETE) => "DeleteBucket",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::Service;

    fn named(service: Service, method: &str, uri: &str, headers: &[(&str, &str)]) -> String {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        service.operation(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_target_names_an_operation_of_dynamodb() {
        let target = [("X-Amz-Target", "DynamoDB_20120810.UpdateItem")];
        assert_eq!(named(Service::DynamoDb, "POST", "/", &target), "UpdateItem");
        assert_eq!(named(Service::DynamoDb, "GET", "/", &[]), "GET /");
    }

    #[test]
    fn method_path_and_query_name_an_operation_of_s3() {
        for (method, uri, name) in [
            ("PUT", "/bucket/a/b?x-id=PutObject", "PutObject"),
            ("PUT", "/bucket/a?partNumber=1&uploadId=u", "UploadPart"),
            ("POST", "/bucket/a?uploads", "CreateMultipartUpload"),
            ("POST", "/bucket/a?uploadId=u", "CompleteMultipartUpload"),
            ("DELETE", "/bucket/a?uploadId=u", "AbortMultipartUpload"),
            ("DELETE", "/bucket/a", "DeleteObject"),
            ("GET", "/bucket/uploads?x-id=GetObject", "GetObject"),
            ("HEAD", "/bucket/a", "HeadObject"),
            ("HEAD", "/bucket", "HeadBucket"),
            ("HEAD", "/bucket/", "HeadBucket"),
            ("PUT", "/bucket", "CreateBucket"),
            ("PUT", "/bucket?lifecycle", "PutBucketLifecycleConfiguration"),
            ("GET", "/bucket?encryption", "GetBucketEncryption"),
            ("POST", "/bucket?delete", "DeleteObjects"),
            ("POST", "/bucket/?delete", "DeleteObjects"),
            ("GET", "/bucket?list-type=2&prefix=uploads", "ListObjectsV2"),
            ("GET", "/bucket?uploads", "ListMultipartUploads"),
            ("GET", "/", "ListBuckets"),
            ("PATCH", "/bucket/a", "PATCH /bucket/a"),
        ] {
            assert_eq!(named(Service::S3, method, uri, &[]), name, "{method} {uri}");
        }
        let copy = [("x-amz-copy-source", "bucket/b")];
        assert_eq!(named(Service::S3, "PUT", "/bucket/a", &copy), "CopyObject");
    }
}
