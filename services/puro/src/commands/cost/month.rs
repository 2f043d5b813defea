//! What a profile does in a month, in recorded units.

use puro_blob::BlobConfig;
use puro_metadata::MetadataConfig;

use super::{
    assumed::{Assumed, HostKind},
    profile::Profile,
    units::{Gathered, Recorded, Units},
    usage::{DAYS, GB, HOURS, Requests, Usage, Work},
};

/// How messages are put into segments.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Segments {
    /// One message, one segment.
    OneEach,
    /// Group commit with `blob.linger_ms`.
    Grouped {
        /// How long a message waits for others.
        linger_ms: f64,
    },
}

/// Seconds of an hour and of a month.
const HOUR: f64 = 3_600.0;
const MONTH: f64 = HOURS * HOUR;
const DAY: f64 = 86_400.0;

/// How many there are of everything in a month.
#[derive(Debug, Clone, Copy)]
struct Counts {
    /// Messages that users send to users here, to others, and that come from outside.
    local: f64,
    outgoing: f64,
    outside: f64,
    /// Messages in mailboxes.
    copies: f64,
    polls: f64,
    /// Sessions that find something new; as many remove something.
    news: f64,
}

impl Counts {
    fn of(profile: &Profile) -> Self {
        let sent = profile.users * profile.sent * DAYS;
        let local = sent * profile.local_share;
        let copies = profile.users * profile.received * DAYS;
        // Arrivals are at random, sessions are not.
        let finds = if profile.polls > 0.0 { 1.0 - (-profile.received / profile.polls).exp() } else { 0.0 };
        let polls = profile.users * profile.polls * DAYS;
        Self {
            local,
            outgoing: sent - local,
            outside: (copies / profile.recipients - local).max(0.0),
            copies,
            polls,
            news: polls * finds,
        }
    }

    /// Messages that go to mailboxes here.
    fn delivered(&self) -> f64 {
        self.local + self.outside
    }

    /// Messages that are stored.
    fn stored(&self) -> f64 {
        self.delivered() + self.outgoing
    }

    fn submitted(&self) -> f64 {
        self.local + self.outgoing
    }
}

/// Computes a month of a profile.
pub(super) struct Month<'a> {
    profile: &'a Profile,
    recorded: &'a Recorded,
    assumed: &'a Assumed,
    segments: Segments,
    /// The hosts, whose memory holds the listings.
    kind: &'a HostKind,
    counts: Counts,
    /// What the services are set to.
    blob: BlobConfig,
    metadata: MetadataConfig,
}

impl<'a> Month<'a> {
    pub(super) fn new(
        profile: &'a Profile,
        recorded: &'a Recorded,
        assumed: &'a Assumed,
        segments: Segments,
        kind: &'a HostKind,
    ) -> Self {
        let (blob, metadata) = (BlobConfig::default(), MetadataConfig::default());
        Self { profile, recorded, assumed, segments, kind, counts: Counts::of(profile), blob, metadata }
    }

    /// Returns what the month uses.
    pub(super) fn usage(&self) -> Usage {
        let Self { profile, counts, .. } = self;
        let sharing = self.sharing();
        let work = self.work(&sharing);
        let (segments_gb, kept_gb) = self.stored_gb(&sharing);
        let items = counts.copies / DAYS * (profile.kept_days + self.assumed.dynamodb.tombstone_days);
        let item_bytes = self.recorded.item_bytes + self.assumed.dynamodb.item_overhead_bytes;
        let mean_bytes = profile.sizes.mean_bytes();
        let mut usage = Usage {
            work,
            segments_gb,
            kept_gb,
            items_gb: (items * item_bytes + profile.users * self.assumed.dynamodb.user_bytes) / GB,
            balancer_units: self.balancer_units(mean_bytes),
            peak: profile.curve().into_iter().fold(0.0, f64::max),
            vcpus: 0.0,
            mail_queries: counts.outside,
            info_lines: counts.stored() + counts.polls,
            out_gb: (counts.copies + counts.outgoing) * mean_bytes / GB,
        };
        usage.vcpus = self.vcpus(&usage.requests());
        usage
    }

    /// The work of a month, kind by kind.
    fn work(&self, sharing: &Sharing) -> Vec<Work> {
        let Self { counts, recorded, assumed, .. } = self;
        let operations = &recorded.operations;
        let work = |name, parts: &[(f64, Units)]| {
            let sum = parts.iter().fold(Requests::default(), |sum, (times, units)| Requests {
                writes: sum.writes + times * units.writes,
                reads: sum.reads + times * units.reads,
                ..sum
            });
            Work { name, requests: sum }
        };
        let further = counts.copies - counts.delivered();
        let mut deliveries = work(
            "deliveries",
            &[
                (counts.submitted(), operations.login),
                (counts.delivered(), operations.deliver),
                (further, operations.deliver_further),
            ],
        );
        deliveries.requests.puts = sharing.puts;
        let mut sessions = self.sessions();
        sessions.requests.gets = counts.copies * recorded.requests.gets;
        let removals =
            work("removals", &[(counts.news, operations.quit), (counts.copies, operations.delete)]);
        let mut clean_up = work(
            "clean-up",
            &[
                (counts.news, operations.cleanup_quit),
                (counts.copies, operations.cleanup_message),
                (sharing.segments, recorded.freed(sharing.slots_a_segment())),
                (further, operations.cleanup_owners),
            ],
        );
        clean_up.requests.reads += self.looks();
        let relay = Requests {
            writes: counts.outgoing * assumed.relay.write_units,
            reads: counts.outgoing * assumed.relay.read_units,
            puts: 0.0,
            gets: counts.outgoing * assumed.relay.gets,
        };
        vec![deliveries, sessions, removals, clean_up, Work { name: "relay", requests: relay }]
    }

    /// POP3 sessions: what is new is listed once on each host; what the cache has no room for, each time.
    fn sessions(&self) -> Work {
        let Self { counts, recorded, profile, .. } = self;
        let operations = &recorded.operations;
        let cached = self.cached_share();
        let fresh = (counts.news * self.hosts()).min(counts.polls);
        let known =
            operations.poll_news.reads * fresh + operations.poll_unchanged.reads * (counts.polls - fresh);
        let items = profile.received * (profile.kept_days + self.assumed.dynamodb.tombstone_days);
        let listed = counts.polls * (operations.login.reads + recorded.listing_reads(items));
        let reads = cached * known + (1.0 - cached) * listed;
        Work { name: "POP3 sessions", requests: Requests { reads, ..Requests::default() } }
    }

    /// The hosts that it was computed for.
    pub(super) fn kind(&self) -> &'a HostKind {
        self.kind
    }

    /// Share of the maildrops whose listing a host has room for.
    pub(super) fn cached_share(&self) -> f64 {
        let messages = self.kept_messages();
        let room = self.assumed.hosts.listed_messages(self.kind);
        if messages > 0.0 { (room / messages).min(1.0) } else { 1.0 }
    }

    /// What `metadata.listed_messages` is set to on each host.
    pub(super) fn listed_messages(&self) -> f64 {
        self.kept_messages().min(self.assumed.hosts.listed_messages(self.kind))
    }

    fn kept_messages(&self) -> f64 {
        self.profile.users * self.profile.received * self.profile.kept_days
    }

    /// Read units of the workers' looks at the queue: each removal is a job twice.
    fn looks(&self) -> f64 {
        let jobs_per_second = 2.0 * self.counts.news / MONTH / self.hosts();
        let hour = |load: f64| self.recorded.looking_reads(jobs_per_second * load) * HOUR;
        let day: f64 = self.profile.curve().into_iter().map(hour).sum();
        day * DAYS * self.hosts()
    }

    fn sharing(&self) -> Sharing {
        let Self { profile, counts, blob, .. } = self;
        let shared_max = f64::from(u32::try_from(blob.shared_max_bytes).unwrap_or(u32::MAX));
        let batch_bytes = f64::from(u32::try_from(blob.batch_bytes).unwrap_or(u32::MAX));
        let part = self.assumed.s3.part_bytes;
        let is_shared = |bytes: f64| bytes <= shared_max;
        let share = profile.sizes.mean(|bytes| f64::from(u8::from(is_shared(bytes))));
        let stored = |bytes: f64| self.recorded.stored_bytes(bytes);
        let large_puts = profile.sizes.mean(|bytes| match stored(bytes) {
            _ if is_shared(bytes) => 0.0,
            stored if stored <= part => self.recorded.requests.puts_alone,
            stored => (stored / part).ceil() + 2.0,
        });
        let small_bytes = profile.sizes.mean(|bytes| if is_shared(bytes) { stored(bytes) } else { 0.0 });
        let Segments::Grouped { linger_ms } = self.segments else {
            let puts = counts.stored() * (large_puts + share * self.recorded.requests.puts_alone);
            return Sharing { puts, ..Sharing::default() };
        };
        // No batch is larger than this, whoever else is there.
        let least = if share > 0.0 { small_bytes / share / batch_bytes } else { 0.0 };
        let mut sharing = Sharing { puts: counts.stored() * large_puts, small_bytes, ..Sharing::default() };
        for load in profile.curve() {
            let messages = counts.stored() * share * load / 24.0;
            let rate = messages / (DAYS * HOUR) / self.hosts();
            let Gathered { alone, shared, .. } = self.recorded.gathered(linger_ms, rate);
            let shared = shared.max(least - alone);
            sharing.puts += messages * (alone + shared);
            sharing.segments += messages * shared;
            sharing.slots += messages * (1.0 - alone);
        }
        sharing
    }

    /// Returns the GB of segments, and how much of it is kept for longer than a day.
    fn stored_gb(&self, sharing: &Sharing) -> (f64, f64) {
        let Self { profile, counts, .. } = self;
        let stored = profile.sizes.mean(|bytes| self.recorded.stored_bytes(bytes));
        let a_day = counts.delivered() / DAYS;
        let kept = a_day * stored * profile.kept_days;
        // Mail on its way out shares segments with mail that stays, and is dead in them when it is gone: until half of a
        // segment is dead nothing is copied.
        let outgoing = counts.outgoing / DAYS * sharing.small_bytes * profile.kept_days;
        let dead = outgoing.min(a_day * sharing.small_bytes * profile.kept_days);
        let grace_days = self.metadata.grace.as_secs_f64() / DAY;
        let all = (kept + dead + a_day * stored * grace_days) / GB;
        (all, if profile.kept_days > 1.0 { all * (1.0 - 1.0 / profile.kept_days) } else { 0.0 })
    }

    /// Each hour is billed for what it has most of.
    fn balancer_units(&self, mean_bytes: f64) -> f64 {
        let Self { counts, assumed, profile, .. } = self;
        let balancer = &assumed.balancer;
        let connections = (counts.polls + counts.submitted() + counts.outside) / MONTH;
        let bytes = (counts.stored() + counts.copies) * mean_bytes / GB / HOURS;
        let hour = |load: f64| {
            (connections * load / balancer.new_connections_per_second)
                .max(connections * load * balancer.connection_seconds / balancer.active_connections)
                .max(bytes * load / balancer.gigabytes)
        };
        profile.curve().into_iter().map(hour).sum::<f64>() * DAYS
    }

    fn vcpus(&self, requests: &Requests) -> f64 {
        let Self { counts, assumed, profile, .. } = self;
        let cpu = &assumed.cpu;
        let mean = |of: &dyn Fn(f64) -> f64| profile.sizes.mean(of);
        let ms = counts.stored() * mean(&|bytes| cpu.delivery_ms(bytes))
            + counts.copies * mean(&|bytes| cpu.retrieval_ms(bytes))
            + counts.polls * cpu.poll_ms
            + (counts.polls + counts.submitted() + counts.outside) * cpu.handshake_ms
            + (counts.polls * self.hashed_share() + counts.submitted()) * cpu.password_ms
            + (requests.writes + requests.reads + requests.puts + requests.gets) * cpu.aws_call_ms;
        ms / 1_000.0 / MONTH
    }

    /// Share of the sessions whose password is hashed: of those that come while the last check is remembered, none.
    pub(super) fn hashed_share(&self) -> f64 {
        let pause_seconds = DAY / self.profile.polls.max(1e-9);
        let remembered = f64::from(u32::try_from(self.metadata.passwords.remembered).unwrap_or(u32::MAX));
        let room = (remembered / self.profile.users.max(1.0)).min(1.0);
        let hashed = 1.0 / (1.0 + (self.recorded.password_seconds / pause_seconds).floor());
        1.0 - room * (1.0 - hashed)
    }

    fn hosts(&self) -> f64 {
        self.assumed.hosts.least
    }
}

/// How a month's messages share segments.
#[derive(Debug, Clone, Copy, Default)]
struct Sharing {
    /// PUT requests, those of large messages among them.
    puts: f64,
    /// Segments with more than one message, and the messages in them.
    segments: f64,
    slots: f64,
    /// Octets stored of a mean message that share a segment with others.
    small_bytes: f64,
}

impl Sharing {
    /// Returns the messages of a mean segment that has more than one.
    fn slots_a_segment(&self) -> f64 {
        if self.segments > 0.0 { self.slots / self.segments } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(profile: &str, segments: Segments) -> Usage {
        let (recorded, assumed) = (Recorded::read().unwrap(), Assumed::read().unwrap());
        Month::new(&Profile::read(profile).unwrap(), &recorded, &assumed, segments, &assumed.hosts.kinds[0])
            .usage()
    }

    fn near(is: f64, expected: f64) {
        assert!((is / expected - 1.0).abs() < 0.01, "{is} is not {expected}");
    }

    #[test]
    fn the_seed_is_counted_by_hand() {
        let seed = usage("seed", Segments::OneEach);
        // 100,000 users, ten messages a day, thirty days, one PUT and one GET each.
        near(seed.requests().puts, 30e6);
        near(seed.requests().gets, 30e6);
        let deliveries = &seed.work[0];
        assert_eq!(deliveries.name, "deliveries");
        near(deliveries.requests.writes, 60e6);
        // In and out through the balancer: 30 TB by the slide's decimal count.
        near(seed.balancer_units, 30e12 / GB);
        near(seed.out_gb, 15e12 / GB);
        assert!(seed.mail_queries.abs() < 1.0, "all of it is local");
        // 500 GB a day for 86 minutes and the grace of 15, less what zstd saves.
        assert!((15.0..36.0).contains(&seed.segments_gb), "{}", seed.segments_gb);
        assert!(seed.kept_gb.abs() < 1e-9);
    }

    #[test]
    fn mixed_has_mail_to_and_from_the_world() {
        let mixed = usage("mixed", Segments::OneEach);
        // 30 million copies of 23.1 million messages, of which 9 million are local; and 21 million go out.
        near(mixed.mail_queries, 30e6 / 1.3 - 9e6);
        near(mixed.work[0].requests.writes, 60e6);
        near(mixed.work[4].requests.writes, 63e6);
        // More than one PUT a message: those beyond 8 MB go in parts.
        let messages = 30e6 / 1.3 + 21e6;
        assert!((1.0..1.1).contains(&(mixed.requests().puts / messages)), "{}", mixed.requests().puts);
        assert!(mixed.kept_gb > 5_000.0);
    }

    #[test]
    fn waiting_saves_requests_and_costs_clean_up() {
        for profile in ["seed", "seed30", "mixed", "small"] {
            let puts = |segments| usage(profile, segments).requests().puts;
            let grouped = |linger_ms| puts(Segments::Grouped { linger_ms });
            assert!(puts(Segments::OneEach) > grouped(0.0), "{profile}");
            assert!(grouped(0.0) > grouped(300.0) && grouped(300.0) > grouped(1_000.0), "{profile}");
            let writes = |segments| usage(profile, segments).work[3].requests.writes;
            assert!(writes(Segments::OneEach) < writes(Segments::Grouped { linger_ms: 1_000.0 }));
        }
    }
}
