//! Which connection takes the next call.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::lane::Lane;

/// Chance that is cheap and good enough to spread load and retries; nothing secret hangs on it.
pub(super) struct Dice(AtomicU64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(RandomState::new().hash_one(0)))
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    fn below(&self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// Returns a time below `longest`.
    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        let micros = usize::try_from(longest.as_micros()).unwrap_or(usize::MAX).max(1);
        Duration::from_micros(self.below(micros) as u64)
    }
}

/// Picks the less busy of two connections taken by chance from those that are not in disgrace. Where all are, the one
/// whose time is up first: a call is better tried than refused. `avoid` is taken only when it is the only one.
pub(super) fn pick(
    lanes: &[Arc<Lane>],
    avoid: Option<&Lane>,
    dice: &Dice,
    now: Instant,
) -> Option<Arc<Lane>> {
    if let [only] = lanes {
        return Some(only.clone());
    }
    let avoided = |lane: &Lane| avoid.is_some_and(|avoid| std::ptr::eq(avoid, lane));
    let open: Vec<&Arc<Lane>> =
        lanes.iter().filter(|lane| !avoided(lane) && lane.out_until(now).is_none()).collect();
    if open.is_empty() {
        return lanes.iter().min_by_key(|lane| (avoided(lane), lane.out_until(now))).cloned();
    }
    let first = dice.below(open.len());
    let other = (first + 1 + dice.below(open.len().saturating_sub(1).max(1))) % open.len();
    let less_busy = if open[other].in_flight() < open[first].in_flight() { other } else { first };
    Some(open[less_busy].clone())
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    fn lanes(count: usize) -> Vec<Arc<Lane>> {
        let channel = || Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        (0..count).map(|_| Arc::new(Lane::new(None, channel()))).collect()
    }

    fn index(lanes: &[Arc<Lane>], lane: &Arc<Lane>) -> usize {
        lanes.iter().position(|other| Arc::ptr_eq(other, lane)).unwrap()
    }

    #[tokio::test]
    async fn the_busiest_is_never_taken_and_all_others_are() {
        let lanes = lanes(4);
        let dice = Dice::new();
        let _busy: Vec<_> = (0..3).map(|_| lanes[2].busy()).collect();
        let mut taken = [0; 4];
        for _ in 0..1000 {
            let lane = pick(&lanes, None, &dice, Instant::now()).unwrap();
            taken[index(&lanes, &lane)] += 1;
        }
        assert_eq!(taken[2], 0);
        assert!(taken.iter().filter(|times| **times > 100).count() == 3, "{taken:?}");
    }

    #[tokio::test]
    async fn the_end_of_a_call_frees_its_connection() {
        let lanes = lanes(1);
        let busy = lanes[0].busy();
        assert_eq!(lanes[0].in_flight(), 1);
        drop(busy);
        assert_eq!(lanes[0].in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusing_one_is_left_out_longer_each_time() {
        let lanes = lanes(2);
        let dice = Dice::new();
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            let now = Instant::now();
            lanes[0].refused(now, &dice);
            for _ in 0..50 {
                assert_eq!(index(&lanes, &pick(&lanes, None, &dice, now).unwrap()), 1);
            }
            let out = lanes[0].out_until(now).unwrap() - now;
            assert!(out >= last && out <= Duration::from_secs(10), "{out:?} after {last:?}");
            last = out;
            tokio::time::advance(out).await;
            assert!(lanes[0].out_until(Instant::now()).is_none());
        }
        lanes[0].answered();
        lanes[0].refused(Instant::now(), &dice);
        assert!(lanes[0].out_until(Instant::now()).unwrap() - Instant::now() <= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn all_in_disgrace_is_still_tried_but_not_the_one_just_tried() {
        let lanes = lanes(2);
        let dice = Dice::new();
        for lane in &lanes {
            lane.refused(Instant::now(), &dice);
        }
        for avoid in 0..2 {
            let lane = pick(&lanes, Some(&lanes[avoid]), &dice, Instant::now()).unwrap();
            assert_eq!(index(&lanes, &lane), 1 - avoid);
        }
        assert!(pick(&[], None, &dice, Instant::now()).is_none());
    }
}
