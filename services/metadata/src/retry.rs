//! Repeats of idempotent store operations inside a deadline.
//!
//! The clients of this service retry whole calls; here a single write is repeated, because its failure would otherwise
//! turn a nearly finished delivery into a duplicate at the sender's next attempt.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{
    clock::{Random, random_octets},
    store::StoreError,
};

/// Pause before the second attempt; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// How often and until when an operation is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    deadline: Instant,
    attempts: u32,
}

impl Patience {
    /// At most `attempts` attempts, all within `limit` from now.
    pub(crate) fn new(attempts: u32, limit: Duration) -> Self {
        Self { deadline: Instant::now() + limit, attempts }
    }
}

/// Runs `attempt` until it gives something other than `Unavailable` or `OutcomeUnknown`, or patience ends. An attempt
/// that is still running at the deadline counts as `OutcomeUnknown`. `attempt` gets the worst that went before it.
pub(crate) async fn persist<T, F, Fut>(
    patience: Patience,
    random: &dyn Random,
    mut attempt: F,
) -> Result<T, StoreError>
where
    F: FnMut(Before) -> Fut + Send,
    Fut: Future<Output = Result<T, StoreError>> + Send,
    T: Send,
{
    let mut before = Before::Nothing;
    let mut pause = FIRST_PAUSE;
    for left in (0..patience.attempts).rev() {
        let result = timeout_at(patience.deadline, attempt(before))
            .await
            .unwrap_or_else(|_| Err(StoreError::OutcomeUnknown("no answer within the deadline".to_owned())));
        match result {
            Err(StoreError::OutcomeUnknown(_)) => before = Before::Unknown,
            Err(StoreError::Unavailable(_)) if before == Before::Nothing => before = Before::Unavailable,
            Err(StoreError::Unavailable(_)) => {}
            other => return other,
        }
        let wait = jittered(pause, random);
        if left == 0 || Instant::now() + wait >= patience.deadline {
            // A later "nothing was changed" must not hide an earlier "perhaps".
            return match (before, result) {
                (Before::Unknown, Err(StoreError::Unavailable(why))) => Err(StoreError::OutcomeUnknown(why)),
                (_, result) => result,
            };
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    Err(StoreError::Unavailable("no attempt was allowed".to_owned()))
}

/// What an attempt knows of the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// It is the first.
    Nothing,
    /// None of them changed anything.
    Unavailable,
    /// One of them may have been applied.
    Unknown,
}

/// Half to all of `pause`, so that many waiters do not come back at once.
fn jittered(pause: Duration, random: &dyn Random) -> Duration {
    let [octet] = random_octets::<1>(random).unwrap_or([255]);
    pause / 2 + pause.mul_f64(f64::from(octet) / 510.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::SeededRandom;

    fn unavailable() -> StoreError {
        StoreError::Unavailable("x".to_owned())
    }

    fn unknown() -> StoreError {
        StoreError::OutcomeUnknown("x".to_owned())
    }

    async fn run(
        script: Vec<Result<u8, StoreError>>,
        attempts: u32,
    ) -> (Result<u8, StoreError>, Vec<Before>) {
        let seen = std::sync::Mutex::new(Vec::new());
        let at = AtomicU32::new(0);
        let patience = Patience::new(attempts, Duration::from_secs(5));
        let result = persist(patience, &SeededRandom::new(1), |before| {
            seen.lock().unwrap().push(before);
            let step = script[at.fetch_add(1, Ordering::SeqCst) as usize].clone();
            async move { step }
        })
        .await;
        (result, seen.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn repeats_what_may_be_repeated() {
        let (result, seen) =
            run(vec![Err(unavailable()), Err(unknown()), Err(unavailable()), Ok(7)], 4).await;
        assert_eq!(result, Ok(7));
        assert_eq!(seen, [Before::Nothing, Before::Unavailable, Before::Unknown, Before::Unknown]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_outcome_is_never_forgotten() {
        let (result, _) = run(vec![Err(unknown()), Err(unavailable())], 2).await;
        assert_eq!(result, Err(unknown()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_condition_is_an_answer() {
        let (result, seen) = run(vec![Err(StoreError::ConditionFailed(None)), Ok(1)], 3).await;
        assert_eq!(result, Err(StoreError::ConditionFailed(None)));
        assert_eq!(seen.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_is_left_at_the_deadline() {
        let patience = Patience::new(3, Duration::from_secs(2));
        let begun = Instant::now();
        let result: Result<(), _> =
            persist(patience, &SeededRandom::new(1), |_| std::future::pending()).await;
        assert!(matches!(result, Err(StoreError::OutcomeUnknown(_))));
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
    }
}
