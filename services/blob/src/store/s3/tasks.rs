//! What runs beside the verbs: parts and bodies on their way, and uploads whose sender went away. These are aborted within
//! bounds; what the bounds leave behind, the bucket's lifecycle rule takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{bucket::Bucket, name::Name};

/// Aborts under way at one time.
const ABORTS_MAX: usize = 256;
/// Tries of one abort, each with the SDK's own repeats.
const TRIES: u32 = 5;
/// Before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The tasks of one bucket.
#[derive(Debug)]
pub(super) struct Tasks {
    all: TaskTracker,
    /// Aborts are tried once more and no longer paused for.
    ending: CancellationToken,
    aborts: Arc<AtomicUsize>,
    /// Where a writer is dropped, there may be no runtime any more.
    runtime: Handle,
}

impl Tasks {
    /// Must be called in a tokio runtime, on which the tasks will run.
    pub(super) fn new() -> Self {
        let all = TaskTracker::new();
        Self { all, ending: CancellationToken::new(), aborts: Arc::default(), runtime: Handle::current() }
    }

    /// Runs a task that [`Tasks::end`] waits for.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.all.spawn_on(task, &self.runtime)
    }

    /// Aborts an upload, once the part of it that is under way has ended: a part that arrives later would stay.
    pub(super) fn abort<T: Send + 'static>(
        &self,
        bucket: Arc<Bucket>,
        name: Name,
        upload_id: String,
        part: Option<JoinHandle<T>>,
    ) {
        if self.aborts.fetch_add(1, Ordering::Relaxed) >= ABORTS_MAX {
            self.aborts.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%name, "too many unfinished uploads: this one is left to the bucket's lifecycle rule");
            return;
        }
        let (ending, aborts) = (self.ending.clone(), self.aborts.clone());
        drop(self.spawn(async move {
            if let Some(part) = part {
                drop(part.await);
            }
            try_to_abort(&bucket, &name, &upload_id, &ending).await;
            aborts.fetch_sub(1, Ordering::Relaxed);
        }));
    }

    /// Waits for all tasks, which pause no more.
    pub(super) async fn end(&self) {
        self.ending.cancel();
        self.settled().await;
    }

    /// Waits until no task runs.
    pub(super) async fn settled(&self) {
        self.all.close();
        self.all.wait().await;
    }
}

async fn try_to_abort(bucket: &Bucket, name: &Name, upload_id: &str, ending: &CancellationToken) {
    let mut pause = PAUSE;
    for tried in 1..=TRIES {
        let Err(error) = bucket.abort_upload(name, upload_id).await else { return };
        tracing::debug!(%name, tried, %error, "an unfinished upload could not be aborted");
        if tried == TRIES || ending.is_cancelled() {
            break;
        }
        tokio::select! {
            () = sleep(pause) => {}
            () = ending.cancelled() => {}
        }
        pause *= 2;
    }
    tracing::warn!(%name, "an unfinished upload is left to the bucket's lifecycle rule");
}
