//! Prices: a dated file, built in or of the operator's own.

use std::path::Path;

use serde::Deserialize;

use super::file;
use crate::exit::Fault;

const BUILT_IN: &str = include_str!("../../../data/cost/prices.toml");

/// What one thing costs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Price {
    /// US dollars for `per` units.
    usd: f64,
    per: f64,
    pub(super) unit: String,
    /// Units a month that cost nothing.
    #[serde(default)]
    free: f64,
    #[serde(default)]
    tiers: Vec<Tier>,
    pub(super) date: String,
    pub(super) source: String,
}

/// A price for the units beyond a number of them in a month.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    from: f64,
    usd: f64,
}

impl Price {
    /// Returns what so many units of one month cost, in US dollars.
    pub(super) fn of(&self, units: f64) -> f64 {
        let mut from = self.free;
        let mut usd = self.usd;
        let mut sum = 0.0;
        for tier in &self.tiers {
            sum += (units.min(tier.from) - from).max(0.0) * usd;
            (from, usd) = (tier.from, tier.usd);
        }
        (sum + (units - from).max(0.0) * usd) / self.per
    }

    fn fault(&self) -> Option<&'static str> {
        let dollars = std::iter::once(self.usd).chain(self.tiers.iter().map(|tier| tier.usd));
        let steps: Vec<f64> =
            std::iter::once(self.free).chain(self.tiers.iter().map(|tier| tier.from)).collect();
        let digits: Vec<&str> = self.date.split('-').collect();
        let is_date = matches!(digits.len(), 2 | 3)
            && digits[0].len() == 4
            && digits.iter().all(|part| part.bytes().all(|digit| digit.is_ascii_digit()))
            && digits[1..].iter().all(|part| part.len() == 2);
        if dollars.into_iter().any(|usd| !(usd.is_finite() && usd >= 0.0)) {
            Some("`usd` is a number from 0")
        } else if !(self.per.is_finite() && self.per > 0.0) {
            Some("`per` is a number above 0")
        } else if !steps[0].is_finite() || steps[0] < 0.0 || !steps.is_sorted_by(|a, b| a < b) {
            Some("`free` and the tiers' `from` grow, from 0")
        } else if !is_date {
            Some("`date` is YYYY-MM or YYYY-MM-DD")
        } else if self.unit.is_empty() || self.source.is_empty() {
            Some("`unit` and `source` must not be empty")
        } else {
            None
        }
    }
}

/// Defines the table of prices, and the list of its names.
macro_rules! prices {
    ($($name:ident),* $(,)?) => {
        /// All prices that a bill needs; a file must have each of them, and nothing else.
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Prices {
            $(pub(super) $name: Price,)*
        }

        impl Prices {
            /// Returns each price with its name.
            pub(super) fn each(&self) -> Vec<(&'static str, &Price)> {
                vec![$((stringify!($name), &self.$name),)*]
            }
        }
    };
}

prices!(
    dynamodb_write,
    dynamodb_read,
    dynamodb_write_hour,
    dynamodb_read_hour,
    dynamodb_storage,
    dynamodb_backup,
    s3_storage,
    s3_put,
    s3_get,
    balancer_hour,
    balancer_unit,
    ipv4_hour,
    host_gb_hour,
    host_burst,
    volume,
    metric,
    alarm,
    log,
    zone,
    dns_query,
    traffic_out,
    traffic_zone,
);

impl Prices {
    /// Reads a file of prices, or the one that is built in.
    ///
    /// # Errors
    /// [`Fault::Setting`] where the file cannot be read or is not right.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Fault> {
        match path {
            None => Self::parse(BUILT_IN, "the built-in prices"),
            Some(path) => Self::parse(&file::read(path)?, &path.display().to_string()),
        }
    }

    fn parse(text: &str, place: &str) -> Result<Self, Fault> {
        let prices: Self = file::parse(text, place)?;
        let fault = prices.each().into_iter().find_map(|(name, price)| Some((name, price.fault()?)));
        match fault {
            Some((name, fault)) => Err(Fault::Setting(format!("{place}: {name}: {fault}"))),
            None => Ok(prices),
        }
    }

    /// Returns the oldest and the newest date of the prices.
    pub(super) fn dates(&self) -> (String, String) {
        let mut dates: Vec<&str> = self.each().into_iter().map(|(_, price)| price.date.as_str()).collect();
        dates.sort_unstable();
        let at = |date: Option<&&str>| date.map_or_else(String::new, ToString::to_string);
        (at(dates.first()), at(dates.last()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-9, "{is} is not {expected}");
    }

    #[test]
    fn units_are_priced_by_hand() {
        let prices = Prices::read(None).unwrap();
        near(prices.dynamodb_write.of(60_000_000.0), 42.3);
        near(prices.s3_put.of(30_000_000.0), 150.0);
        near(prices.balancer_hour.of(720.0), 18.144);
        near(prices.host_gb_hour.of(2.0 * 720.0), 0.0184 * 720.0);
        near(prices.zone.of(0.0), 0.0);
    }

    #[test]
    fn tiers_are_priced_by_hand() {
        let prices = Prices::read(None).unwrap();
        let out = |gigabytes| prices.traffic_out.of(gigabytes);
        near(out(50.0), 0.0);
        near(out(100.0), 0.0);
        near(out(1_100.0), 90.0);
        near(out(10_240.0), 10_140.0 * 0.09);
        near(out(11_240.0), 10_140.0 * 0.09 + 1_000.0 * 0.085);
        let beyond = 10_140.0 * 0.09 + 40_960.0 * 0.085 + 102_400.0 * 0.07 + 1.0 * 0.05;
        near(out(153_601.0), beyond);
        near(prices.s3_storage.of(51_200.0), 1_177.6);
        near(prices.s3_storage.of(51_300.0), 1_177.6 + 2.2);
    }

    #[test]
    fn bad_files_say_where_and_what() {
        let refused = |text: &str, words: &[&str]| {
            let fault = Prices::parse(text, "my.toml").unwrap_err();
            assert_eq!(fault.exit() as u8, 64);
            let told = fault.to_string();
            assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told}");
        };
        refused("", &["my.toml", "dynamodb_write"]);
        refused("[dynamodb_write", &["my.toml", "line 1"]);
        let edited = |from: &str, to: &str| BUILT_IN.replacen(from, to, 1);
        refused(&edited("usd = 0.705", "usd = -1.0"), &["dynamodb_write", "`usd`"]);
        refused(&edited("usd = 0.705", "usd = nan"), &["dynamodb_write", "`usd`"]);
        refused(&edited("per = 1_000_000", "per = 0"), &["dynamodb_write", "`per`"]);
        refused(&edited("date = \"2026-09\"", "date = \"autumn\""), &["dynamodb_write", "YYYY-MM"]);
        refused(&edited("from = 512_000", "from = 1"), &["s3_storage", "grow"]);
        refused(&edited("[zone]", "[zones]"), &["zones"]);
        refused(&edited("unit = \"zones\"", "unit = \"\""), &["zone", "must not be empty"]);
    }
}
