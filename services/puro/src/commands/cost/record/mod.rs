//! The recorded run: the real mail logic on metered stores in memory, with time moved by hand or by tokio's paused clock.
//! One seed, one run.
//!
//! `PURO_TEST_WRITE=1` writes the file anew (`cargo xtask cost-record`); without it the run must agree with the file.

mod group_commit;
mod items;
mod worker;

use std::{env, fs, path::Path};

use super::units::{RECORDED, Recorded};

const ABOUT: &str = "Units of the mail logic on metered stores in memory; written by `cargo xtask cost-record`, \
                     and compared with a fresh run by the tests.";

/// Keeps what a person can read and a platform cannot change.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// Draws numbers from a seed.
struct Draw(u64);

impl Draw {
    /// Returns the next 64 bits (SplitMix64).
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Returns a number above 0 and below 1.
    fn share(&mut self) -> f64 {
        // 32 bits are exact in a double.
        let bits = u32::try_from(self.bits() >> 32).unwrap_or(0);
        (f64::from(bits) + 0.5) / 4_294_967_296.0
    }

    /// Returns the time to the next of events that come at random at this rate.
    fn pause_seconds(&mut self, per_second: f64) -> f64 {
        -self.share().ln() / per_second
    }
}

fn recorded() -> Recorded {
    let items = run(items::operations());
    Recorded {
        about: ABOUT.to_owned(),
        put_ms: group_commit::PUT_MS,
        operations: items.operations,
        requests: run(group_commit::requests()),
        item_bytes: items.item_bytes,
        password_seconds: run(items::password_seconds()),
        listings: items.listings,
        shared_segments: items.shared_segments,
        worker: worker::looks(),
        group_commit: group_commit::ladder(),
        compression: run(group_commit::compression()),
    }
}

/// Runs a part on a clock of its own, which moves on when all wait.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

#[test]
fn the_recorded_file_is_what_a_run_gives() {
    let fresh = serde_json::to_string_pretty(&recorded()).unwrap() + "\n";
    if env::var_os("PURO_TEST_WRITE").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/cost/recorded.json");
        fs::write(path, fresh).unwrap();
    } else {
        assert!(
            fresh == RECORDED,
            "the code spends other units now: run `cargo xtask cost-record`.\n{fresh}"
        );
    }
}
