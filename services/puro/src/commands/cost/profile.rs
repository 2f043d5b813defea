//! Profiles: who the users are and what they do all day. Four are built in; a file may hold another.

use std::path::Path;

use serde::Deserialize;

use super::{file, sizes::Sizes};
use crate::exit::Fault;

/// The profiles that are built in, by name.
pub(super) const BUILT_IN: [(&str, &str); 4] = [
    ("seed", include_str!("../../../data/cost/profiles/seed.toml")),
    ("seed30", include_str!("../../../data/cost/profiles/seed30.toml")),
    ("mixed", include_str!("../../../data/cost/profiles/mixed.toml")),
    ("small", include_str!("../../../data/cost/profiles/small.toml")),
];

/// The users of a system and what they do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// The name, or the file.
    #[serde(skip)]
    pub(super) name: String,
    /// What it stands for, in a line.
    pub(super) about: String,
    /// Users on a day.
    pub(super) users: f64,
    /// Messages that a user sends a day.
    pub(super) sent: f64,
    /// Messages that arrive in a user's mailbox a day.
    pub(super) received: f64,
    /// POP3 sessions of a user a day.
    pub(super) polls: f64,
    /// Share of the messages sent that go to users of this system.
    pub(super) local_share: f64,
    /// Mailboxes here that a message goes to, if it goes to any.
    pub(super) recipients: f64,
    /// Days from a delivery to the deletion by the user.
    pub(super) kept_days: f64,
    /// The load of each hour of the day, in any unit.
    pub(super) hours: [f64; 24],
    /// Sizes of the messages.
    pub(super) sizes: Sizes,
}

impl Profile {
    /// Reads a built-in profile by its name, or one of the operator's by its file.
    ///
    /// # Errors
    /// [`Fault::Usage`] for a name that is neither; [`Fault::Setting`] for a file that is not right.
    pub(super) fn read(name: &str) -> Result<Self, Fault> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, name);
        }
        let path = Path::new(name);
        if !path.exists() && path.extension().is_none() && path.components().count() == 1 {
            let names = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(Fault::Usage(format!("no profile {name:?}: there are {names}, or name a TOML file")));
        }
        Self::parse(&file::read(path)?, name)
    }

    fn parse(text: &str, name: &str) -> Result<Self, Fault> {
        let profile: Self = file::parse(text, name)?;
        match profile.fault() {
            Some(fault) => Err(Fault::Setting(format!("{name}: {fault}"))),
            None => Ok(Self { name: name.to_owned(), ..profile }),
        }
    }

    fn fault(&self) -> Option<String> {
        let counts = [
            ("users", self.users),
            ("sent", self.sent),
            ("received", self.received),
            ("polls", self.polls),
            ("kept_days", self.kept_days),
        ];
        for (name, count) in counts {
            if !(count.is_finite() && (0.0..=1e9).contains(&count)) {
                return Some(format!("`{name}` is a number from 0"));
            }
        }
        if !(0.0..=1.0).contains(&self.local_share) {
            return Some("`local_share` is from 0 to 1".to_owned());
        }
        if !(1.0..=2.0).contains(&self.recipients) {
            return Some("`recipients` is from 1 to 2".to_owned());
        }
        let is_load = |load: &f64| load.is_finite() && *load >= 0.0;
        if !self.hours.iter().all(is_load) || self.hours.iter().sum::<f64>() <= 0.0 {
            return Some("`hours` are 24 numbers from 0, not all of them 0".to_owned());
        }
        if self.sent * self.local_share * self.recipients > self.received * (1.0 + 1e-9) {
            return Some("users here send each other more than they receive".to_owned());
        }
        self.sizes.fault().map(|fault| format!("sizes: {fault}"))
    }

    /// Returns each hour's share of a day's load as a multiple of the mean hour's.
    pub(super) fn curve(&self) -> [f64; 24] {
        let mean = self.hours.iter().sum::<f64>() / 24.0;
        self.hours.map(|load| load / mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_are_sound() {
        for (name, _) in BUILT_IN {
            let profile = Profile::read(name).unwrap();
            assert_eq!(profile.name, name);
            assert!((profile.curve().iter().sum::<f64>() - 24.0).abs() < 1e-9);
        }
    }

    #[test]
    fn a_name_that_is_none_is_usage_and_a_bad_file_is_a_setting() {
        let fault = Profile::read("sed").unwrap_err();
        assert_eq!(fault.exit() as u8, 2);
        assert!(fault.to_string().contains("seed30"), "{fault}");
        let fault = Profile::read("no/such.toml").unwrap_err();
        assert_eq!(fault.exit() as u8, 64);
        assert!(fault.to_string().contains("no/such.toml"), "{fault}");
        let (_, mixed) = BUILT_IN[2];
        for (from, to, word) in [
            ("polls = 144", "polls = -1", "polls"),
            ("polls = 144", "polls = nan", "polls"),
            ("polls = 144", "pols = 144", "pols"),
            ("local_share = 0.3", "local_share = 1.3", "local_share"),
            ("local_share = 0.3", "local_share = 1.0", "more than they receive"),
            ("recipients = 1.3", "recipients = 0.5", "recipients"),
            ("hours = [3,", "hours = [", "24"),
            ("share = 0.35", "share = 0.36", "shares"),
            ("sigma = 0.7", "sigma = -0.7", "sigma"),
        ] {
            let fault = Profile::parse(&mixed.replacen(from, to, 1), "my.toml").unwrap_err();
            assert_eq!(fault.exit() as u8, 64);
            let told = fault.to_string();
            assert!(told.starts_with("my.toml: ") && told.contains(word), "{word} in {told}");
        }
    }
}
