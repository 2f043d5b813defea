//! One call: its deadline, its repeats, its trace.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status, transport::Channel};

use super::{Backend, Lane, was_not_sent};
use crate::{
    failure::{Effect, Failure, is_from_transport},
    trace,
};

/// Times a call is made at most.
const ATTEMPTS: u32 = 3;

/// What is to know about a call before it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// For logs.
    name: &'static str,
    /// Retries included.
    pub(crate) within: Duration,
    effect: Effect,
    idempotent: bool,
}

impl Call {
    /// A call that changes nothing.
    pub(crate) fn read(name: &'static str, within: Duration) -> Self {
        Self { name, within, effect: Effect::Read, idempotent: true }
    }

    /// A write that may be made twice.
    pub(crate) fn idempotent_write(name: &'static str, within: Duration) -> Self {
        Self { name, within, effect: Effect::Write, idempotent: true }
    }

    /// A write that may not.
    pub(crate) fn write(name: &'static str, within: Duration) -> Self {
        Self { name, within, effect: Effect::Write, idempotent: false }
    }

    /// The failure of a call that ran out of time.
    pub(crate) fn late(&self) -> Failure {
        self.effect.lost(format!("{}: no answer within {:?}", self.name, self.within))
    }

    /// Reads the status that the call ended with.
    pub(crate) fn failure(&self, status: &Status) -> Failure {
        if was_not_sent(status) {
            return Effect::Read.lost(format!("{}: {}", self.name, chain(status)));
        }
        Failure::from_status(status, self.effect)
    }

    /// Says whether a call that ended so may be made again. What a service itself declared stands: a store that is
    /// short of breath is not helped by more calls, and SMTP's own retry is the cheapest queue.
    fn may_repeat(&self, status: &Status) -> bool {
        was_not_sent(status) || (self.idempotent && is_from_transport(status))
    }
}

/// Tells a failed connection with its causes, since tonic's own text is only "transport error".
fn chain(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Makes a request that carries the deadline and the trace.
pub(crate) fn stamp<Q>(message: Q, deadline: Option<Instant>) -> Request<Q> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    trace::inject(request.metadata_mut());
    request
}

impl Backend {
    /// Makes a call with one request and one answer.
    pub(crate) async fn unary<Q, R, F, S>(&self, call: &Call, message: Q, send: F) -> Result<R, Failure>
    where
        Q: Clone,
        F: Fn(Channel, Request<Q>) -> S,
        S: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = Instant::now() + call.within;
        self.attempts(call, deadline, |lane| {
            let request = stamp(message.clone(), Some(deadline));
            let answer = send(lane.channel(), request);
            async move { answer.await.map(Response::into_inner) }
        })
        .await
    }

    /// Runs an attempt, and again while that is safe and may help: elsewhere where there is an elsewhere.
    pub(crate) async fn attempts<R, F, S>(
        &self,
        call: &Call,
        deadline: Instant,
        mut attempt: F,
    ) -> Result<R, Failure>
    where
        F: FnMut(std::sync::Arc<Lane>) -> S,
        S: Future<Output = Result<R, Status>>,
    {
        let mut avoid = None;
        let mut count = 0;
        loop {
            count += 1;
            let lane = self.lane(avoid.as_deref(), deadline).await?;
            let busy = lane.busy();
            let Ok(outcome) = timeout_at(deadline, attempt(lane.clone())).await else {
                return Err(call.late());
            };
            drop(busy);
            let status = match outcome {
                Ok(answer) => {
                    lane.answered();
                    return Ok(answer);
                }
                Err(status) => status,
            };
            self.judge(&lane, &status);
            let again = call.may_repeat(&status) && count < ATTEMPTS;
            if !again || !self.pause_before_repeat(&status, count, deadline).await {
                return Err(call.failure(&status));
            }
            tracing::debug!(call = call.name, backend = ?self, %status, "trying again");
            avoid = Some(lane);
        }
    }

    /// Notes what a failed call says about the connection.
    pub(crate) fn judge(&self, lane: &Lane, status: &Status) {
        if was_not_sent(status) {
            self.disgrace(lane);
        } else if !is_from_transport(status) {
            lane.answered();
        }
    }

    /// Waits before a repeat, not at all where another address can be tried at once. Says whether there is time.
    pub(crate) async fn pause_before_repeat(&self, status: &Status, count: u32, deadline: Instant) -> bool {
        if count == 1 && was_not_sent(status) && self.has_alternative() {
            return Instant::now() < deadline;
        }
        self.pause(count, deadline).await
    }
}
