//! What the proxy says in the server's name, as AWS documents it.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;

use super::Service;

impl Service {
    /// Returns how the service asks its clients to slow down.
    pub(super) fn throttled(self, method: &Method) -> Response<Full<Bytes>> {
        match self {
            Self::DynamoDb => json(StatusCode::BAD_REQUEST, "ProvisionedThroughputExceededException"),
            Self::S3 => xml(StatusCode::SERVICE_UNAVAILABLE, "SlowDown", method),
        }
    }

    /// Returns how the service says that something went wrong on its side.
    pub(super) fn internal_error(self, method: &Method) -> Response<Full<Bytes>> {
        match self {
            Self::DynamoDb => json(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
            Self::S3 => xml(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", method),
        }
    }
}

/// DynamoDB: "Error handling with DynamoDB", programmatic errors.
fn json(status: StatusCode, name: &str) -> Response<Full<Bytes>> {
    let body =
        format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{name}","message":"by the fault proxy"}}"#);
    said(status, "application/x-amz-json-1.0", body)
}

/// S3: "Error responses". The answer to HEAD has no body (RFC 9110 section 9.3.2).
fn xml(status: StatusCode, code: &str, method: &Method) -> Response<Full<Bytes>> {
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>by the fault proxy</Message></Error>"#
    );
    said(status, "application/xml", if method == Method::HEAD { String::new() } else { body })
}

fn said(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
