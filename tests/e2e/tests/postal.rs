//! postal writes, rabid reads and checks the MD5 that postal wrote: the tools of the first PuRo's own tests.
//!
//! postal writes a transcript of each thread (`-z`), which tells what was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use puro_e2e::{Mode, Running, System, Tool, both_modes, wait_until};

const USERS: usize = 6;
const SECRET: &str = "postal-password";

both_modes! {
    fn rabid_finds_what_postal_wrote(system) {
        let postal = Postal::prepare(system);
        let running = postal.start(system);
        wait_until("postal has sent 100 messages", || (postal.acknowledged().len() >= 100).then_some(()));
        running.stop();
        postal.everything_is_there_once(system);
        postal.rabid_agrees(system);
    }
}

#[test]
fn killed_as_one_process() {
    killed_while_postal_runs(Mode::Single, &["puro", "puro", "puro"]);
}

#[test]
fn killed_one_of_four() {
    killed_while_postal_runs(Mode::Four, &["puro-smtp", "puro-metadata", "puro-blob", "puro-pop3"]);
}

/// kill -9 while postal runs: every message that got a 250 is there exactly once after the restart, and whole.
///
/// postal itself does not survive the end of its connections, so each life of the server has a postal of its own.
fn killed_while_postal_runs(mode: Mode, victims: &[&'static str]) {
    let mut system = System::start(mode);
    let postal = Postal::prepare(&system);
    for victim in victims {
        let before = postal.acknowledged().len();
        let running = postal.start(&system);
        wait_until("postal has sent 20 more", || (postal.acknowledged().len() >= before + 20).then_some(()));
        // The moment of the kill is left to chance on purpose.
        thread::sleep(Duration::from_millis(137));
        system.kill_and_restart(victim);
        running.stop();
    }
    postal.everything_is_there_once(&system);
    postal.rabid_agrees(&system);
}

/// A folder with the lists of users, in which both programs leave their logs.
struct Postal {
    folder: PathBuf,
    users: Vec<String>,
    runs: Cell<usize>,
}

impl Postal {
    fn prepare(system: &System) -> Self {
        let folder = system.folder().join("postal");
        fs::create_dir(&folder).unwrap();
        let users: Vec<String> = (1..=USERS).map(|n| format!("postal{n}@example.test")).collect();
        for user in &users {
            system.add_user_with(user, SECRET);
        }
        fs::write(folder.join("senders"), users.iter().map(|user| format!("{user}\n")).collect::<String>())
            .unwrap();
        let logins: String = users.iter().map(|user| format!("{user} {SECRET}\n")).collect();
        fs::write(folder.join("logins"), logins).unwrap();
        Self { folder, users, runs: Cell::new(0) }
    }

    fn start(&self, system: &System) -> Running {
        let server = format!("[127.0.0.1]{}", system.ports.smtp.port());
        let run = self.runs.get();
        self.runs.set(run + 1);
        let transcript = format!("sent{run}");
        Tool::new("postal")
            .args(["-t", "4", "-c", "5", "-m", "20", "-r", "6000", "-z", &transcript, &server, "senders"])
            .folder(&self.folder)
            .start(&self.folder.join("postal.out"))
    }

    /// Returns the hashes of all messages which got a 250.
    fn acknowledged(&self) -> BTreeSet<String> {
        let mut hashes = BTreeSet::new();
        for transcript in transcripts(&self.folder, "sent") {
            let (mut hash, mut ended) = (None, false);
            for line in transcript.split("\r\n") {
                if let Some(value) = line.strip_prefix("X-PostalHash: ") {
                    hash = Some(value.to_owned());
                } else if ended && line.starts_with("250 ") {
                    hashes.extend(hash.take());
                }
                ended = line == ".";
            }
        }
        hashes
    }

    fn everything_is_there_once(&self, system: &System) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for user in &self.users {
            for message in system.fetch_with(user, SECRET) {
                let text = String::from_utf8_lossy(&message).into_owned();
                let hash = text.split("\r\n").find_map(|line| line.strip_prefix("X-PostalHash: "));
                *found.entry(hash.expect("a message by postal").to_owned()).or_default() += 1;
            }
        }
        let acknowledged = self.acknowledged();
        let lost: Vec<_> = acknowledged.iter().filter(|hash| !found.contains_key(*hash)).collect();
        assert!(lost.is_empty(), "lost of {}: {lost:?}", acknowledged.len());
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "there more than once: {twice:?}");
    }

    /// Lets rabid fetch and delete all; it logs each hash that it found to be right.
    fn rabid_agrees(&self, system: &System) {
        let server = format!("[127.0.0.1]{}", system.ports.pop3.port());
        let out = self.folder.join("rabid.out");
        let running = Tool::new("rabid")
            .args(["-p", "3", "-r", "6000", "-z", "fetched", &server, "logins"])
            .folder(&self.folder)
            .start(&out);
        let wanted = self.acknowledged();
        let right = || -> BTreeSet<String> {
            let log = fs::read_to_string(self.folder.join("rabid.log")).unwrap_or_default();
            log.lines().map(str::to_owned).collect()
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !wanted.is_subset(&right()) {
            let missing: Vec<_> = wanted.difference(&right()).cloned().collect();
            assert!(
                Instant::now() < deadline,
                "of {} messages rabid has not found to be right: {missing:?}\n{}\n{:?}",
                wanted.len(),
                fs::read_to_string(&out).unwrap_or_default(),
                self.fetched_with(&missing),
            );
            thread::sleep(Duration::from_millis(50));
        }
        running.stop();
        let said = fs::read_to_string(&out).unwrap();
        assert!(!said.contains("mis-match"), "{said}");
        for transcript in transcripts(&self.folder, "fetched:") {
            assert!(!transcript.contains("\r\n-ERR [SYS"), "no store failed while rabid read");
        }
    }
}

impl Postal {
    /// Returns how often each of these messages stands in rabid's transcripts, and every refusal in them.
    fn fetched_with(&self, hashes: &[String]) -> (Vec<usize>, Vec<String>) {
        let all = transcripts(&self.folder, "fetched").concat();
        let times = hashes.iter().map(|hash| all.matches(hash.as_str()).count()).collect();
        (times, all.lines().filter(|line| line.starts_with("-ERR")).map(str::to_owned).collect())
    }
}

fn transcripts(folder: &Path, prefix: &str) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    files.map(|entry| String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()).collect()
}
