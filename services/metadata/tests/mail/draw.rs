//! Chance by seed, for mixtures.

use std::ops::Range;

/// Returns the seeds to run: the one that `PURO_TEST_SEED` names, or these.
pub(crate) fn seeds(all: Range<u64>) -> Vec<u64> {
    match std::env::var("PURO_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => all.collect(),
    }
}

/// A small generator (SplitMix64): one seed gives one run.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}
