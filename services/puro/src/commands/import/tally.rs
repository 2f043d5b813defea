//! What an import did, for its last lines.

use puro_api::model::Written;
use serde::Serialize;

use crate::output::say;

/// Of one kind of thing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) added: u64,
    /// There before, the same.
    pub(super) already_there: u64,
    /// There before, different, and changed as asked.
    pub(super) replaced: u64,
    /// Refused or damaged; each was named.
    pub(super) failed: u64,
}

impl Counts {
    pub(super) fn count(&mut self, written: Written) {
        match written {
            Written::Added => self.added += 1,
            Written::Same => self.already_there += 1,
            Written::Replaced => self.replaced += 1,
        }
    }

    fn tell(&self, what: &str) {
        let Self { added, already_there, replaced, failed } = self;
        if added + already_there + replaced + failed == 0 {
            return;
        }
        let mut text = format!("{what}: {added} added, {already_there} already there");
        for (count, word) in [(replaced, "replaced"), (failed, "failed")] {
            if *count > 0 {
                text.push_str(&format!(", {count} {word}"));
            }
        }
        say(format_args!("{text}."));
    }
}

/// Of messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Messages {
    pub(super) added: u64,
    pub(super) already_there: u64,
    /// Deleted by their user, and left so.
    pub(super) deleted: u64,
    pub(super) failed: u64,
    /// Octets of those added.
    pub(super) bytes_added: u64,
}

impl Messages {
    pub(super) fn tell(&self) {
        let Self { added, already_there, deleted, failed, .. } = self;
        let mut text = format!("messages: {added} added, {already_there} already there");
        for (count, word) in [(deleted, "deleted by their user and left so"), (failed, "failed")] {
            if *count > 0 {
                text.push_str(&format!(", {count} {word}"));
            }
        }
        say(format_args!("{text}."));
    }
}

/// Of a whole import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) domains: Counts,
    pub(super) users: Counts,
    pub(super) aliases: Counts,
    pub(super) config: Counts,
    pub(super) messages: Messages,
    /// Messages that were lost already when the export was made.
    pub(super) lost_before: u64,
}

impl Tally {
    pub(super) fn tell(&self) {
        let kinds = [
            ("domains", self.domains),
            ("users", self.users),
            ("aliases", self.aliases),
            ("settings", self.config),
        ];
        kinds.iter().for_each(|(what, counts)| counts.tell(what));
        self.messages.tell();
        if self.lost_before > 0 {
            say(format_args!("{} messages were lost already when the export was made.", self.lost_before));
        }
    }

    pub(super) fn failed(&self) -> u64 {
        let kinds = [self.domains, self.users, self.aliases, self.config];
        kinds.iter().map(|counts| counts.failed).sum::<u64>() + self.messages.failed
    }
}
