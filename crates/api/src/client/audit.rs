//! Audits.

use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::client;
use crate::{
    channel::{Busy, Call, stamp},
    failure::Failure,
    model::{AuditEvent, Malformed},
    pb::metadata::v1 as pb,
    pb::metadata::v1::audit_service_client::AuditServiceClient,
};

client! {
    /// Compares what the items say with what the segments hold.
    AuditClient
}

impl AuditClient {
    /// Begins an audit; dropping the stream ends it. With `repair` it mends what can be mended.
    ///
    /// # Errors
    /// [`Failure::FailedPrecondition`] while another audit runs; [`Failure::Unavailable`] where the service cannot
    /// answer.
    pub async fn audit(&self, repair: bool) -> Result<AuditStream, Failure> {
        let begin = Call::read("audit", self.backend.deadlines().admin);
        let deadline = Instant::now() + begin.within;
        self.backend
            .attempts(&begin, deadline, |lane| {
                // No deadline in the request: an audit takes as long as there is mail.
                let request = stamp(pb::AuditRequest { repair }, None);
                let stall = Call::read("audit", self.backend.deadlines().stall);
                async move {
                    let busy = lane.busy();
                    let answer = AuditServiceClient::new(lane.channel()).audit(request).await?;
                    Ok(AuditStream { stream: answer.into_inner(), call: stall, ended: false, _busy: busy })
                }
            })
            .await
    }
}

/// What an audit says as it goes on.
#[derive(Debug)]
pub struct AuditStream {
    stream: Streaming<pb::AuditResponse>,
    call: Call,
    ended: bool,
    _busy: Busy,
}

impl AuditStream {
    /// Returns what comes next; `None` after the summary.
    ///
    /// # Errors
    /// Any: the audit was broken off, and what was found is not all.
    pub async fn next(&mut self) -> Result<Option<AuditEvent>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let answer = match timeout(self.call.within, self.stream.message()).await {
            Ok(Ok(Some(answer))) => answer,
            Ok(Ok(None)) => return Err(Failure::Unavailable("the audit ended without a summary".to_owned())),
            Ok(Err(status)) => return Err(self.call.failure(&status)),
            Err(_) => return Err(self.call.late()),
        };
        let event = AuditEvent::try_from(answer).map_err(Malformed::in_answer)?;
        self.ended = matches!(event, AuditEvent::Summary(_));
        Ok(Some(event))
    }
}
