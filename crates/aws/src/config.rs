//! Region, endpoint, credentials, deadlines and the HTTP client.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How long a call may take. The operation's deadline holds the attempts and the pauses between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Making a connection, TLS included.
    pub connect: Duration,
    /// One attempt, up to the head of the answer; `None` for calls that carry large bodies.
    pub attempt: Option<Duration>,
    /// All of it; `None` where the caller sets a deadline for each call.
    pub operation: Option<Duration>,
    /// Attempts at most; 1 for no repeat.
    pub attempts: u32,
}

/// Where region, endpoint and credentials come from.
#[derive(Clone)]
pub enum Source {
    /// The SDK's chain: environment, profile, web identity (IRSA), container and instance roles; endpoints by
    /// `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>`.
    Chain,
    /// Given, for a server that stands in for AWS.
    Given {
        /// URL of the server.
        endpoint: String,
        /// Region that requests are signed for.
        region: String,
        /// Access key id and secret access key.
        keys: (String, String),
    },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain => f.write_str("Chain"),
            // The keys are nobody's to read.
            Self::Given { endpoint, region, .. } => f
                .debug_struct("Given")
                .field("endpoint", endpoint)
                .field("region", region)
                .finish_non_exhaustive(),
        }
    }
}

/// The SDK's chain gives no region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no AWS region is set: set AWS_REGION, or a region in the AWS profile")]
pub struct NoRegion;

/// Pause before the SDK's second attempt at most, before jitter; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Reads the configuration. Credentials are found when the first call needs them, and refreshed by the SDK.
///
/// # Errors
/// [`NoRegion`]. Nothing else is checked: whether the store answers, the first call tells.
pub async fn load(source: &Source, deadlines: Deadlines) -> Result<SdkConfig, NoRegion> {
    let mut timeouts = TimeoutConfig::builder().connect_timeout(deadlines.connect);
    timeouts.set_operation_attempt_timeout(deadlines.attempt);
    timeouts.set_operation_timeout(deadlines.operation);
    let retries = RetryConfig::standard()
        .with_max_attempts(deadlines.attempts.max(1))
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(timeouts.build())
        .retry_config(retries);
    if let Ok(name) = AppName::new("puro-mail") {
        loader = loader.app_name(name);
    }
    if let Some(client) = shared_client() {
        loader = loader.http_client(client);
    }
    if let Source::Given { endpoint, region, keys: (id, secret) } = source {
        let credentials = Credentials::new(id, secret, None, None, "given");
        loader = loader
            .endpoint_url(endpoint)
            .region(Region::new(region.clone()))
            .credentials_provider(credentials);
    }
    let config = loader.load().await;
    if config.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(NoRegion);
    }
    share_client(&config);
    Ok(config)
}

/// The process's HTTP client: connections to one host are shared by all that talk to it. How many there are is bounded by
/// the stores' gates, since a call takes one connection. A client lives and dies with its runtime, which in a service
/// is the process; tests have many.
static SHARED: Mutex<Option<(tokio::runtime::Id, SharedHttpClient)>> = Mutex::new(None);

fn shared_client() -> Option<SharedHttpClient> {
    let shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let (runtime, client) = shared.as_ref()?;
    (*runtime == tokio::runtime::Handle::current().id()).then(|| client.clone())
}

fn share_client(config: &SdkConfig) {
    if let Some(client) = config.http_client() {
        let runtime = tokio::runtime::Handle::current().id();
        *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Some((runtime, client));
    }
}
