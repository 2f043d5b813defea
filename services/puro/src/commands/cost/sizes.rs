//! Sizes of messages as a distribution, and means over it.

use serde::Deserialize;

/// Steps of the quadrature: the error is below one in ten thousand, also for functions with a step.
const STEPS: u32 = 20_000;
/// Deviations below the median where a lognormal part begins.
const LOWEST: f64 = -8.0;
/// Deviations above the median where it ends, if it is not cut before.
const HIGHEST: f64 = 8.0;

/// One part of a distribution.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Part {
    /// All of one size.
    Constant {
        /// Share of the messages.
        share: f64,
        bytes: f64,
    },
    /// Lognormal.
    Lognormal {
        /// Share of the messages.
        share: f64,
        median_bytes: f64,
        /// Deviation of the natural logarithm.
        sigma: f64,
        /// Larger messages do not occur.
        #[serde(default = "never")]
        cut_bytes: f64,
    },
}

fn never() -> f64 {
    f64::INFINITY
}

impl Part {
    fn share(self) -> f64 {
        match self {
            Self::Constant { share, .. } | Self::Lognormal { share, .. } => share,
        }
    }

    fn fault(self) -> Option<&'static str> {
        let is_positive = |number: f64| number.is_finite() && number > 0.0;
        match self {
            _ if !(is_positive(self.share()) && self.share() <= 1.0) => Some("`share` is above 0, at most 1"),
            Self::Constant { bytes, .. } if !is_positive(bytes) => Some("`bytes` is above 0"),
            Self::Lognormal { median_bytes, .. } if !is_positive(median_bytes) => {
                Some("`median_bytes` is above 0")
            }
            Self::Lognormal { sigma, .. } if !(is_positive(sigma) && sigma <= 5.0) => {
                Some("`sigma` is above 0, at most 5")
            }
            Self::Lognormal { median_bytes, cut_bytes, .. }
                if cut_bytes.is_nan() || cut_bytes <= median_bytes =>
            {
                Some("`cut_bytes` is above the median")
            }
            _ => None,
        }
    }

    /// Returns the mean of a function of the size, in octets, over this part.
    fn mean(self, of: &impl Fn(f64) -> f64) -> f64 {
        let (median_bytes, sigma, cut_bytes) = match self {
            Self::Constant { bytes, .. } => return of(bytes),
            Self::Lognormal { median_bytes, sigma, cut_bytes, .. } => (median_bytes, sigma, cut_bytes),
        };
        let highest = ((cut_bytes / median_bytes).ln() / sigma).min(HIGHEST);
        let step = (highest - LOWEST) / f64::from(STEPS);
        let (mut sum, mut weights) = (0.0, 0.0);
        for index in 0..STEPS {
            let deviations = LOWEST + step * (f64::from(index) + 0.5);
            let weight = (-deviations * deviations / 2.0).exp();
            sum += weight * of(median_bytes * (sigma * deviations).exp());
            weights += weight;
        }
        sum / weights
    }
}

/// A distribution of sizes.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Sizes(Vec<Part>);

impl Sizes {
    /// Says what is wrong with it.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let shares: f64 = self.0.iter().map(|part| part.share()).sum();
        let fault = self.0.iter().find_map(|part| part.fault());
        fault.or(((shares - 1.0).abs() > 1e-9).then_some("the shares of all parts make 1"))
    }

    /// Returns the mean of a function of the size in octets.
    pub(super) fn mean(&self, of: impl Fn(f64) -> f64) -> f64 {
        self.0.iter().map(|part| part.share() * part.mean(&of)).sum()
    }

    /// Returns the mean size in octets.
    pub(super) fn mean_bytes(&self) -> f64 {
        self.mean(|bytes| bytes)
    }

    /// Returns each part's share, and a sample of it: `count` sizes that stand for as many like parts of it.
    #[cfg(test)]
    pub(super) fn samples(&self, count: u16) -> Vec<(f64, Vec<f64>)> {
        self.0.iter().map(|part| (part.share(), part.sample(count))).collect()
    }
}

#[cfg(test)]
impl Part {
    fn sample(self, count: u16) -> Vec<f64> {
        let (Self::Constant { bytes, .. } | Self::Lognormal { median_bytes: bytes, .. }) = self;
        let sizes = std::cell::RefCell::new(vec![bytes]);
        // The quadrature visits all sizes in their order, and these weights are what it gives them.
        if let Self::Lognormal { median_bytes, sigma, .. } = self {
            let weight = |bytes: f64| (-((bytes / median_bytes).ln() / sigma).powi(2) / 2.0).exp();
            let whole = std::cell::Cell::new(0.0);
            self.mean(&|bytes| {
                whole.set(whole.get() + weight(bytes));
                0.0
            });
            sizes.borrow_mut().clear();
            let passed = std::cell::Cell::new(0.0);
            self.mean(&|bytes| {
                passed.set(passed.get() + weight(bytes));
                let taken = u16::try_from(sizes.borrow().len()).unwrap_or(u16::MAX);
                if taken < count && passed.get() / whole.get() >= (f64::from(taken) + 0.5) / f64::from(count)
                {
                    sizes.borrow_mut().push(bytes);
                }
                0.0
            });
        }
        sizes.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cost::profile::Profile;

    fn sizes(parts: &[Part]) -> Sizes {
        Sizes(parts.to_vec())
    }

    fn near(is: f64, expected: f64, share: f64) {
        assert!((is / expected - 1.0).abs() < share, "{is} is not {expected}");
    }

    #[test]
    fn the_quadrature_agrees_with_the_closed_form() {
        let uncut =
            Part::Lognormal { share: 1.0, median_bytes: 10_000.0, sigma: 1.0, cut_bytes: f64::INFINITY };
        near(sizes(&[uncut]).mean_bytes(), 10_000.0 * 0.5_f64.exp(), 1e-6);
        // Half of a lognormal lies below its median, and 84.134 % below one deviation more.
        let below = |limit: f64| sizes(&[uncut]).mean(|bytes| f64::from(u8::from(bytes <= limit)));
        near(below(10_000.0), 0.5, 1e-3);
        near(below(10_000.0 * std::f64::consts::E), 0.841_345, 1e-3);
        let constant = Part::Constant { share: 1.0, bytes: 500_000.0 };
        near(sizes(&[constant]).mean_bytes(), 500_000.0, 1e-12);
    }

    #[test]
    fn a_sample_stands_for_its_part() {
        let part =
            Part::Lognormal { share: 1.0, median_bytes: 10_000.0, sigma: 1.0, cut_bytes: f64::INFINITY };
        let sample = part.sample(100);
        assert_eq!(sample.len(), 100);
        let below = sample.iter().filter(|bytes| **bytes < 10_000.0).count();
        assert!((49..=51).contains(&below), "{below}");
        near(sample.iter().sum::<f64>() / 100.0, part.mean(&|bytes| bytes), 0.05);
    }

    #[test]
    fn the_profiles_have_the_means_that_they_are_told_to_have() {
        // The sources give mixed as 508 KB and small as 63 KB; cut at 25 MB these parameters make 514 and 61.
        for (name, kilobytes) in [("seed", 500.0), ("seed30", 500.0), ("mixed", 508.0), ("small", 63.0)] {
            let profile = Profile::read(name).unwrap();
            near(profile.sizes.mean_bytes(), kilobytes * 1000.0, 0.04);
        }
        let mixed = Profile::read("mixed").unwrap().sizes;
        near(mixed.mean(|bytes| f64::from(u8::from(bytes < 73_000.0))), 0.5, 0.02);
        near(mixed.mean_bytes(), 514_405.0, 1e-4);
    }

    #[test]
    fn a_part_that_cannot_be_is_refused() {
        let part = |share, median_bytes, sigma, cut_bytes| {
            sizes(&[Part::Lognormal { share, median_bytes, sigma, cut_bytes }]).fault()
        };
        assert_eq!(part(1.0, 10.0, 1.0, 100.0), None);
        for fault in [
            part(0.5, 10.0, 1.0, 100.0),
            part(0.0, 10.0, 1.0, 100.0),
            part(1.0, 0.0, 1.0, 100.0),
            part(1.0, 10.0, 0.0, 100.0),
            part(1.0, 10.0, 1.0, 5.0),
            part(1.0, 10.0, 1.0, f64::NAN),
            sizes(&[]).fault(),
            sizes(&[Part::Constant { share: 1.0, bytes: f64::NAN }]).fault(),
        ] {
            assert!(fault.is_some());
        }
    }
}
