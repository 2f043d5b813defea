//! The life of a process: one tracker of tasks, a readiness latch, signals, and a drain in two phases.
//!
//! Front ends (sessions with clients) end first, back ends (gRPC servers, workers) after them, so that a session's
//! last question still finds its service, also where all are in one process.

mod descriptors;
mod main;
mod ports;
mod private;

#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::config::Drain;
pub use main::{Flags, StartError, main, run};
pub use ports::PORTS_FILE;

/// Which tasks end together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Listeners and sessions: end first.
    Front,
    /// What they rest on: ends after them.
    Back,
}

/// A process: everything in it runs as a task of one of its phases. Clones are handles to the same process.
#[derive(Debug, Clone, Default)]
pub struct Process(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Somebody wants the process to end.
    wanted: CancellationToken,
    front: Group,
    back: Group,
    readiness: Readiness,
    ports: ports::Ports,
    /// Why the process has to end with an error.
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Group {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Process {
    /// A new process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn group(&self, phase: Phase) -> &Group {
        match phase {
            Phase::Front => &self.0.front,
            Phase::Back => &self.0.back,
        }
    }

    /// Runs a task. It should end soon after the phase's [`Process::stopped`] token is cancelled.
    pub fn spawn<F>(&self, phase: Phase, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.group(phase).tasks.spawn(task));
    }

    /// Cancelled when the tasks of this phase have to end.
    #[must_use]
    pub fn stopped(&self, phase: Phase) -> &CancellationToken {
        &self.group(phase).stop
    }

    /// The readiness latch.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.0.readiness
    }

    /// Sets the readiness latch once this is done: for a front end, once its back ends have answered. A process that has
    /// to end before does not wait for it.
    pub fn ready_after<F>(&self, reached: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let process = self.clone();
        self.spawn(Phase::Front, async move {
            tokio::select! {
                () = reached => process.readiness().set(),
                () = process.stopped(Phase::Front).cancelled() => {}
            }
        });
    }

    /// Notes where a listener is bound, by its setting's path.
    pub fn bound(&self, key: &'static str, address: std::net::SocketAddr) {
        self.0.ports.note(key, address);
    }

    /// Where a listener is bound, by the name that scripts know: `smtp`, `smtps`, `submission`, `pop3`, `pop3s`, …
    #[must_use]
    pub fn address(&self, name: &str) -> Option<std::net::SocketAddr> {
        self.0.ports.address(name)
    }

    /// Asks the process to end, as SIGTERM does.
    pub fn request_stop(&self) {
        self.0.wanted.cancel();
    }

    /// Asks the process to end with an error: something it cannot live without has failed. The first reason counts.
    pub fn fail(&self, reason: impl Into<String>) {
        let reason = reason.into();
        tracing::error!(reason, "the process has to end");
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.request_stop();
    }

    /// Why the process failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the process has been asked to end.
    pub async fn stop_requested(&self) {
        self.0.wanted.cancelled().await;
    }

    /// Ends everything in order: not ready; wait for the balancer; no more connections and sessions drained; back ends
    /// stopped. Returns whether all ended within the grace period; what did not is for the caller to drop.
    pub async fn drain(&self, drain: &Drain) -> bool {
        self.0.readiness.clear();
        tokio::time::sleep(drain.wait).await;
        let deadline = Instant::now() + drain.grace;
        let front = self.end(Phase::Front, deadline).await;
        // What sessions left is small; the back ends get a moment even where sessions took all the time.
        let deadline = deadline.max(Instant::now() + BACK_GRACE_MIN);
        let back = self.end(Phase::Back, deadline).await;
        front && back
    }

    async fn end(&self, phase: Phase, deadline: Instant) -> bool {
        let group = self.group(phase);
        group.stop.cancel();
        group.tasks.close();
        let ended = tokio::time::timeout_at(deadline, group.tasks.wait()).await.is_ok();
        if !ended {
            tracing::warn!(?phase, left = group.tasks.len(), "the grace period is over, tasks are cut off");
        }
        ended
    }
}

/// The least that back ends get to end in.
const BACK_GRACE_MIN: Duration = Duration::from_secs(1);

/// Whether the process should get connections: a latch. It is set once everything is bound and the back ends have been
/// in touch once, and cleared only by the drain: a store's bad minute is answered 451, not by vanishing from the
/// balancer.
#[derive(Debug, Default)]
pub struct Readiness {
    ready: AtomicBool,
    /// Once draining, never ready again.
    over: AtomicBool,
}

impl Readiness {
    /// The process is ready.
    pub fn set(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether the process should get connections.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.over.load(Ordering::Acquire)
    }

    fn clear(&self) {
        self.over.store(true, Ordering::Release);
    }
}
