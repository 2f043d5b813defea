//! Where the servers are, and how to be alone on them.

use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// The variable that tells where DynamoDB Local listens.
pub const DYNAMODB_VARIABLE: &str = "PURO_TEST_DYNAMODB";

/// The variable that tells where the S3 server listens.
pub const S3_VARIABLE: &str = "PURO_TEST_S3";

/// The region both servers take themselves to be in.
pub const REGION: &str = "eu-west-1";

/// The account of both servers. DynamoDB Local wants letters and digits alone.
pub const ACCESS_KEY_ID: &str = "PURO0STAND0IN0ACCESS";

/// Opens nothing but a test server on this machine.
pub const SECRET_ACCESS_KEY: &str = "PuroStandInSecretForTestsOnThisMachine00";

/// A server that stands in for one of AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// Its URL, without a slash at the end. Clients of the S3 server have to use path-style addresses.
    pub endpoint: String,
    /// The region to sign for.
    pub region: &'static str,
    /// The account.
    pub access_key_id: &'static str,
    /// Its secret.
    pub secret_access_key: &'static str,
    endpoint_variable: &'static str,
}

impl StandIn {
    /// Returns the variables by which an AWS SDK, in this process or another, finds the server and nothing else.
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            (self.endpoint_variable, self.endpoint.clone()),
            ("AWS_REGION", self.region.to_owned()),
            ("AWS_ACCESS_KEY_ID", self.access_key_id.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_access_key.to_owned()),
            // The chain of credentials ends at the metadata of a virtual machine, which a test must never ask.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    fn found(variable: &'static str, endpoint_variable: &'static str) -> Self {
        let endpoint = env::var(variable).unwrap_or_default();
        assert!(
            endpoint.starts_with("http://"),
            "{variable} tells no server: run `cargo xtask test` or `cargo xtask stand-ins`"
        );
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region: REGION,
            access_key_id: ACCESS_KEY_ID,
            secret_access_key: SECRET_ACCESS_KEY,
            endpoint_variable,
        }
    }
}

/// Returns the server that stands in for DynamoDB.
///
/// # Panics
/// When nothing tells where it is.
pub fn dynamodb() -> StandIn {
    StandIn::found(DYNAMODB_VARIABLE, "AWS_ENDPOINT_URL_DYNAMODB")
}

/// Returns the server that stands in for S3.
///
/// # Panics
/// When nothing tells where it is.
pub fn s3() -> StandIn {
    StandIn::found(S3_VARIABLE, "AWS_ENDPOINT_URL_S3")
}

/// Returns a name no other test has, good for a table prefix and for a bucket: small letters, digits and hyphens, at most 40
/// characters.
pub fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("puro-{:x}-{:x}-{count:x}", since.as_nanos(), std::process::id())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{StandIn, fresh_name};

    #[test]
    fn fresh_names_differ_and_fit_a_bucket() {
        let names: BTreeSet<String> = (0..1000).map(|_| fresh_name()).collect();
        assert_eq!(names.len(), 1000);
        for name in names {
            assert!(name.len() <= 40, "{name}");
            assert!(
                name.bytes()
                    .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            );
        }
    }

    #[test]
    #[should_panic(expected = "run `cargo xtask test` or `cargo xtask stand-ins`")]
    fn a_server_that_nothing_tells_of_fails() {
        StandIn::found("PURO_TEST_NO_SUCH_SERVER", "AWS_ENDPOINT_URL_NONE");
    }
}
