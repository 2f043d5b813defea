//! The worker is killed with SIGKILL, again and again, while it compacts; what is left is what must be.
//!
//! The test starts itself again as a child that works, with the embedded store and segments as files, in steps of a few
//! hours of a clock of its own; kills it at random; and looks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use puro_api::model::{AuditEvent, AuditKind, Delivery, Labelled, Owners, Segment, SegmentPage};
use puro_metadata::{
    ManualClock, Metadata, MetadataConfig, Presence, Segments, SegmentsError, Snapshot, SystemRandom,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};

const FOLDER: &str = "PURO_TEST_CLEANUP_FOLDER";
const START_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const LENGTH: u64 = 64;
/// Hours until every compaction is over.
const HOURS: u64 = 9 * 24;

/// Segments as files: a line for each message, its identity and its label.
#[derive(Debug)]
struct Files(PathBuf);

impl Files {
    fn lines(&self, name: &str) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.0.join(name)).ok()?;
        Some(text.lines().map(ToOwned::to_owned).collect())
    }

    /// Writes a segment under a name that was never given, as a whole.
    fn write(&self, lines: &[String]) -> Vec<Location> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let name = format!("s{nanos:x}-{:x}", std::process::id());
        let partial = self.0.with_extension(&name);
        fs::write(&partial, lines.join("\n")).unwrap();
        fs::rename(partial, self.0.join(&name)).unwrap();
        let slots = u32::try_from(lines.len()).unwrap();
        let place = |(slot, line): (u32, &String)| Location {
            bucket: String::new(),
            object_name: name.clone(),
            offset: u64::from(slot) * LENGTH,
            header: frame(line),
            body: frame(line),
            slot,
            slots,
        };
        (0..).zip(lines).map(place).collect()
    }

    fn line(&self, location: &Location) -> Option<String> {
        let lines = self.lines(&location.object_name)?;
        lines.get(usize::try_from(location.slot).ok()?).filter(|line| frame(line) == location.header).cloned()
    }
}

fn frame(line: &str) -> Frame {
    let checksum = line.split(' ').next().unwrap().parse().unwrap();
    Frame { stored_length: LENGTH / 2, length: LENGTH / 2, codec: Codec::Plain, checksum }
}

fn label(line: &str) -> Bytes {
    let hex = line.split(' ').nth(1).unwrap();
    let octets = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    octets.collect::<Vec<_>>().into()
}

#[async_trait]
impl Segments for Files {
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError> {
        object_names.iter().for_each(|name| drop(fs::remove_file(self.0.join(name))));
        Ok(())
    }

    async fn labels(&self, object_name: &str, _: u64) -> Result<Vec<Labelled>, SegmentsError> {
        let lines = self.lines(object_name).unwrap_or_default();
        Ok(lines.iter().map(|line| Labelled { stored_length: LENGTH, label: label(line) }).collect())
    }

    async fn copy(&self, locations: &[Location]) -> Result<Option<Vec<Location>>, SegmentsError> {
        let lines: Option<Vec<String>> = locations.iter().map(|location| self.line(location)).collect();
        Ok(lines.map(|lines| self.write(&lines)))
    }

    async fn list(&self, _: Option<&str>) -> Result<SegmentPage, SegmentsError> {
        let names =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let segment = |object_name| Segment { object_name, size_bytes: 1 << 20, created_ms: START_MS };
        let now_ms = START_MS + 2 * HOURS * HOUR_MS;
        Ok(SegmentPage { segments: names.map(segment).collect(), next: None, now_ms })
    }

    async fn inspect(&self, location: &Location) -> Result<Presence, SegmentsError> {
        Ok(if self.line(location).is_some() { Presence::Whole } else { Presence::Gone })
    }
}

struct System {
    metadata: Arc<Metadata>,
    clock: Arc<ManualClock>,
    files: PathBuf,
    time: PathBuf,
}

impl System {
    /// Opens what is in a folder, at the hour that it had come to.
    fn open(folder: &Path) -> Self {
        let (files, time) = (folder.join("segments"), folder.join("hour"));
        fs::create_dir_all(&files).unwrap();
        let hour: u64 = fs::read_to_string(&time).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        let clock = Arc::new(ManualClock::new(START_MS + hour * HOUR_MS));
        let store = EmbeddedStore::open(&folder.join("items"), EmbeddedOptions::default()).unwrap();
        let config = MetadataConfig { audit_pause: Duration::from_millis(1), ..MetadataConfig::default() };
        let segments = Arc::new(Files(files.clone()));
        let metadata =
            Metadata::new(Arc::new(store), segments, clock.clone(), Arc::new(SystemRandom), config).unwrap();
        Self { metadata: Arc::new(metadata), clock, files, time }
    }

    /// An hour passes, and the worker does what is due then. The time is noted first: it never goes back.
    async fn hour(&self, hour: u64) {
        let partial = self.time.with_extension("new");
        fs::write(&partial, hour.to_string()).unwrap();
        fs::rename(partial, &self.time).unwrap();
        self.clock.advance_ms(HOUR_MS);
        while self.metadata.work_once().await.done > 0 {}
    }

    fn now(&self) -> u64 {
        fs::read_to_string(&self.time).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

fn mailbox(number: u8) -> MailboxId {
    MailboxId::new([number; 12])
}

/// Twenty segments of eight messages to one to three mailboxes, five of the eight deleted. Returns what is to stay.
async fn furnish(folder: &Path) -> BTreeSet<(MailboxId, MessageId)> {
    let system = System::open(folder);
    let files = Files(system.files.clone());
    let mut stay = BTreeSet::new();
    for segment in 0..20_u64 {
        let mut lines = Vec::new();
        let mut deliveries = Vec::new();
        for slot in 0..8 {
            let number = segment * 8 + slot;
            let mailboxes: Vec<MailboxId> = (0..=u8::try_from(number % 3).unwrap()).map(mailbox).collect();
            let transaction = TransactionId::new(START_MS + number, [u8::try_from(number).unwrap(); 11]);
            let owners = Owners::of_delivery(&transaction, START_MS + number, &mailboxes);
            let hex: String = owners.label().iter().map(|octet| format!("{octet:02x}")).collect();
            lines.push(format!("{number} {hex}"));
            deliveries.push((transaction, START_MS + number, mailboxes, owners));
        }
        for (at, (location, (transaction, accepted_ms, mailboxes, owners))) in
            files.write(&lines).into_iter().zip(deliveries).enumerate()
        {
            let delivery = Delivery { transaction, accepted_ms, mailboxes, location };
            system.metadata.deliver(&delivery).await.unwrap();
            for (mailbox, message) in owners.iter() {
                if at < 5 {
                    system.metadata.remove(mailbox, std::slice::from_ref(message)).await.unwrap();
                } else {
                    stay.insert((mailbox.clone(), message.clone()));
                }
            }
        }
    }
    stay
}

/// Works until it is killed, or until all is over.
#[test]
#[ignore = "the child that the test below starts and kills"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { panic!("only the crash test starts this") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let system = System::open(Path::new(&folder));
        for hour in system.now() + 1..=HOURS {
            system.hour(hour).await;
        }
    });
}

/// Runs the child for so long; says whether it came to its end.
fn run(folder: &Path, lasting: Duration) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return true;
        }
        if begun.elapsed() >= lasting {
            child.kill().unwrap();
            child.wait().unwrap();
            return false;
        }
        // The moment of the kill is left to chance on purpose.
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn listed(system: &System) -> Vec<(MailboxId, MessageId, Location)> {
    let mut all = Vec::new();
    for number in 0..3 {
        let Snapshot::Current(listing) = system.metadata.list(&mailbox(number), 0).await.unwrap() else {
            panic!("nothing was known")
        };
        let here = |message: &puro_api::model::Message| {
            (mailbox(number), message.id.clone(), message.location.clone())
        };
        all.extend(listing.messages.iter().map(here));
    }
    all
}

#[tokio::test]
async fn nothing_is_lost_when_the_worker_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let stay = furnish(folder.path()).await;
    let mut kills = 0;
    let mut lasting = 40;
    while !run(folder.path(), Duration::from_millis(lasting)) {
        kills += 1;
        lasting = 40 + (lasting * 7 + 13) % 170;
        let system = System::open(folder.path());
        let files = Files(system.files.clone());
        let there = listed(&system).await;
        assert!(
            there.iter().all(|(_, _, place)| files.line(place).is_some()),
            "kill {kills}: bytes are gone"
        );
        let ids: BTreeSet<_> = there.into_iter().map(|(mailbox, id, _)| (mailbox, id)).collect();
        assert_eq!(ids, stay, "kill {kills}");
    }
    assert!(kills > 3, "{kills}: it was over too soon");
    let system = System::open(folder.path());
    let (sender, mut events) = tokio::sync::mpsc::channel(1_000);
    system.metadata.audit(true, sender).await.unwrap();
    while let Some(event) = events.recv().await {
        if let AuditEvent::Finding(finding) = event {
            let is_left = matches!(finding.kind, AuditKind::Orphan | AuditKind::LeftBehind);
            assert!(is_left && finding.repaired, "{finding:?}");
        }
    }
    let there = listed(&system).await;
    let used: BTreeSet<_> = there.iter().map(|(_, _, place)| place.object_name.clone()).collect();
    let files: BTreeSet<_> = fs::read_dir(&system.files)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, used, "all that is left is in use");
    // Where a copy was half used for half a day, the rest is in another.
    let slots: Vec<u32> = there.iter().map(|(_, _, place)| place.slots).collect();
    assert!(slots.iter().all(|slots| *slots <= 3), "every segment was compacted: {slots:?}");
    assert_eq!(there.into_iter().map(|(mailbox, id, _)| (mailbox, id)).collect::<BTreeSet<_>>(), stay);
}
