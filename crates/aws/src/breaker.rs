//! Stops asking a store that is down, and finds out when it is back. No clock and no lock of its own.

use std::time::Duration;

use tokio::time::Instant;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open before it lets one call through to try.
    pub first_pause: Duration,
    /// The pause doubles with each try that fails, up to this.
    pub longest_pause: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self { failures: 20, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(2) }
    }
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// As any other.
    Call,
    /// It may, and its outcome decides for all.
    Probe,
    /// It may not.
    Refused,
}

/// What a call's outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Opened,
    Closed,
    None,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

impl Breaker {
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        Self { limits, state: State::Closed { failures: 0 } }
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Says whether a call would be refused now, and takes no probe.
    pub(crate) fn refuses(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until, .. } => now < until,
            State::Probing { .. } => true,
        }
    }

    /// Admits a call or refuses it. A probe must be settled by one of the three below.
    pub(crate) fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Call,
            State::Open { until, pause } if now >= until => {
                self.state = State::Probing { pause };
                Admission::Probe
            }
            State::Open { .. } | State::Probing { .. } => Admission::Refused,
        }
    }

    /// The store answered, if only to refuse. Also the late answer to a call from before it opened closes it.
    pub(crate) fn answered(&mut self) -> Turn {
        let turn = if self.is_open() { Turn::Closed } else { Turn::None };
        self.state = State::Closed { failures: 0 };
        turn
    }

    /// The store failed.
    pub(crate) fn failed(&mut self, is_probe: bool, now: Instant) -> Turn {
        match self.state {
            State::Closed { failures } if failures + 1 < self.limits.failures => {
                self.state = State::Closed { failures: failures + 1 };
                Turn::None
            }
            State::Closed { .. } => {
                self.open(self.limits.first_pause, now);
                Turn::Opened
            }
            State::Probing { pause } if is_probe => {
                self.open((pause * 2).min(self.limits.longest_pause), now);
                Turn::None
            }
            // A call from before it opened.
            State::Open { .. } | State::Probing { .. } => Turn::None,
        }
    }

    /// The caller of a probe went away: the next call is the probe.
    pub(crate) fn abandoned(&mut self, now: Instant) {
        if let State::Probing { pause } = self.state {
            self.state = State::Open { until: now, pause };
        }
    }

    fn open(&mut self, pause: Duration, now: Instant) {
        self.state = State::Open { until: now + pause, pause };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);

    fn breaker() -> Breaker {
        Breaker::new(BreakerLimits { failures: 3, first_pause: PAUSE, longest_pause: PAUSE * 3 })
    }

    fn opened(now: Instant) -> Breaker {
        let mut breaker = breaker();
        for turn in [Turn::None, Turn::None, Turn::Opened] {
            assert_eq!(breaker.failed(false, now), turn);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let (mut breaker, now) = (breaker(), Instant::now());
        for _ in 0..10 {
            assert_eq!(breaker.failed(false, now), Turn::None);
            assert_eq!(breaker.failed(false, now), Turn::None);
            assert_eq!(breaker.answered(), Turn::None);
        }
        assert_eq!(breaker.admit(now), Admission::Call);
        assert_eq!(opened(now).admit(now), Admission::Refused);
    }

    #[test]
    fn one_probe_at_a_time_and_pauses_that_grow_to_a_bound() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for pause in [PAUSE, PAUSE * 2, PAUSE * 3, PAUSE * 3] {
            assert!(breaker.refuses(now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(!breaker.refuses(now));
            assert_eq!(breaker.admit(now), Admission::Probe);
            assert_eq!(breaker.admit(now), Admission::Refused, "one is under way");
            assert_eq!(breaker.failed(false, now), Turn::None, "a call from before says nothing");
            assert_eq!(breaker.admit(now), Admission::Refused);
            assert_eq!(breaker.failed(true, now), Turn::None);
        }
        now += PAUSE * 3;
        assert_eq!(breaker.admit(now), Admission::Probe);
        assert_eq!(breaker.answered(), Turn::Closed);
        assert_eq!(breaker.admit(now), Admission::Call);
    }

    #[test]
    fn a_probe_that_is_given_up_makes_way_for_the_next() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + PAUSE), Admission::Probe);
        breaker.abandoned(now + PAUSE);
        assert_eq!(breaker.admit(now + PAUSE), Admission::Probe);
    }

    #[test]
    fn the_late_answer_of_an_older_call_closes_it() {
        let mut breaker = opened(Instant::now());
        assert_eq!(breaker.answered(), Turn::Closed);
        assert!(!breaker.is_open());
    }
}
