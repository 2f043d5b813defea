//! When the next piece of work is due, and when there is no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much work there is and how fast it comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Stop after so many pieces.
    pub count: Option<u64>,
    /// Stop after this time.
    pub time: Option<Duration>,
    /// Open loop: pieces a second, due whether or not the server keeps up. Without it the loop is closed:
    /// each connection starts its next piece when the last one is done.
    pub rate: Option<f64>,
}

/// Hands out pieces of work to any number of connections.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    start: Instant,
    next: AtomicU64,
}

/// A piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Its number, from 0.
    pub number: u64,
    /// When it should start: latency counts from here.
    pub due: Instant,
}

impl Pace {
    /// Starts the clock.
    #[must_use]
    pub fn start(limits: Limits) -> Self {
        Self { limits, start: Instant::now(), next: AtomicU64::new(0) }
    }

    /// Waits for the next piece to be due; `None` when there is no more.
    pub async fn turn(&self) -> Option<Turn> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if self.limits.count.is_some_and(|count| number >= count) {
            return None;
        }
        let due = match self.limits.rate {
            #[expect(clippy::cast_precision_loss, reason = "2^53 messages are out of reach")]
            Some(rate) => self.start + Duration::from_secs_f64(number as f64 / rate),
            None => Instant::now(),
        };
        if self.limits.time.is_some_and(|time| due >= self.start + time) {
            return None;
        }
        sleep_until(due).await;
        Some(Turn { number, due })
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_is_due_by_the_clock_however_late_the_worker() {
        let limits = Limits { rate: Some(10.0), time: Some(Duration::from_secs(1)), count: None };
        let pace = Pace::start(limits);
        assert_eq!(pace.turn().await.unwrap().due.duration_since(pace.start), Duration::ZERO);
        tokio::time::advance(Duration::from_millis(450)).await;
        let late = pace.turn().await.unwrap();
        assert_eq!(late.due.duration_since(pace.start), Duration::from_millis(100));
        assert!(late.due.elapsed() >= Duration::from_millis(350));
        let mut turns = 2;
        while pace.turn().await.is_some() {
            turns += 1;
        }
        assert_eq!(turns, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_ends_at_its_count() {
        let pace = Pace::start(Limits { count: Some(2), ..Limits::default() });
        assert_eq!(pace.turn().await.unwrap().number, 0);
        assert_eq!(pace.turn().await.unwrap().number, 1);
        assert!(pace.turn().await.is_none());
    }
}
