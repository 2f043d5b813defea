//! The worker: does what is due in the queue.
//!
//! Any number of workers may run; leases keep them from doing one job at once, and every job may be done twice.

mod blob;
mod compact;
mod empty;
mod free;
mod segments;
mod survey;
mod waiting;

use tokio_util::sync::CancellationToken;

pub use self::blob::BlobSegments;
use puro_api::model::Labelled;
pub use segments::{Presence, Segments, SegmentsError};
pub(crate) use survey::Survey;
pub(crate) use waiting::Waiting;

use crate::{
    Metadata, MetadataError,
    clock::random_octets,
    metrics,
    queue::Leased,
    schema::{Job, JobKind, SHARDS, shard_name},
    store::{Item, Key},
};

/// What a worker did in one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Jobs that are done, or put off for their next step.
    pub done: u32,
    /// Jobs that failed and will be tried again.
    pub failed: u32,
    /// Jobs that were seen due, those that other workers hold among them.
    pub due: u32,
}

/// What becomes of a job after its step.
enum Next {
    /// It is done.
    Finished,
    /// The same job, as it is from now on, is due again at this time (milliseconds since the Unix epoch).
    Again(Job, u64),
    /// Another worker has it by now.
    Lost,
}

impl Metadata {
    /// Works on the queue until cancelled; a job in hand is finished first.
    pub async fn run_worker(&self, cancel: CancellationToken) {
        let due_jobs = metrics::due_jobs();
        while !cancel.is_cancelled() {
            self.worker.reset();
            let round = self.work_until(&cancel).await;
            due_jobs.record(round.due.into(), &[]);
            if round.done == 0 || round.failed > 0 {
                cancel
                    .run_until_cancelled(self.worker.wait(self.clock.as_ref(), self.config.poll_interval))
                    .await;
            }
        }
    }

    /// Does all that is due now, once.
    pub async fn work_once(&self) -> Round {
        self.work_until(&CancellationToken::new()).await
    }

    async fn work_until(&self, cancel: &CancellationToken) -> Round {
        let mut round = Round::default();
        // Several workers begin at different shards, and so seldom meet.
        let [first] = random_octets::<1>(self.random.as_ref()).unwrap_or([0]);
        for offset in 0..SHARDS {
            if cancel.is_cancelled() {
                break;
            }
            let shard = first.wrapping_add(offset) % SHARDS;
            if let Err(error) = self.work_on_shard(&shard_name(shard), cancel, &mut round).await {
                tracing::warn!(shard, %error, "a shard of the queue cannot be read");
                round.failed += 1;
            }
        }
        round
    }

    async fn work_on_shard(
        &self,
        shard: &str,
        cancel: &CancellationToken,
        round: &mut Round,
    ) -> Result<(), MetadataError> {
        let mut after = String::new();
        loop {
            let due = self.due(shard, &after).await?;
            let Some((last, _)) = due.last() else { return Ok(()) };
            after.clone_from(&last.sort);
            round.due = round.due.saturating_add(u32::try_from(due.len()).unwrap_or(u32::MAX));
            for (key, item) in due {
                if cancel.is_cancelled() {
                    return Ok(());
                }
                self.work_on(key, item, round).await;
            }
        }
    }

    async fn work_on(&self, key: Key, item: Item, round: &mut Round) {
        if let Err(error) = Job::from_item(&key, &item) {
            tracing::error!(job = key.sort, %error, "a queue item is damaged");
            round.failed += 1;
            if let Err(error) = self.put_off_damaged(&key, &item).await {
                tracing::warn!(job = key.sort, %error, "it cannot be put off");
            }
            return;
        }
        let leased = match self.lease(key, &item).await {
            Ok(Some(leased)) => leased,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "a job cannot be leased");
                round.failed += 1;
                return;
            }
        };
        let after = match self.step(&leased).await {
            Ok(Next::Lost) => return,
            Ok(Next::Finished) => self.finish(&leased).await,
            Ok(Next::Again(job, due_ms)) => self.put_off(&leased, &job, due_ms).await,
            Err(error) => {
                tracing::warn!(job = leased.job.id, attempts = leased.job.attempts, %error, "a job failed");
                round.failed += 1;
                if let Err(error) = self.put_off_failed(&leased).await {
                    tracing::warn!(job = leased.job.id, %error, "it cannot be put off");
                }
                return;
            }
        };
        match after {
            Ok(()) => round.done += 1,
            // The lease runs out, the job is due still, and doing it again changes nothing.
            Err(error) => {
                tracing::warn!(job = leased.job.id, %error, "a job that is done is still in the queue");
                round.failed += 1;
            }
        }
    }

    async fn step(&self, leased: &Leased) -> Result<Next, MetadataError> {
        match &leased.job.kind {
            JobKind::Deliver { message, mail } => self.deliver_again(leased, message, mail).await,
            JobKind::Free { span, step } => self.free(leased, span, *step).await,
            JobKind::Empty { email, step } => self.empty(leased, email, *step).await,
            JobKind::Compact { object_name, step } => self.compact(leased, object_name, step).await,
        }
    }
}
