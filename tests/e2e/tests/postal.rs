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
    time::Duration,
};

use puro_e2e::{Drill, Mode, Running, Stores, System, Tool, everywhere, wait_until};
use puro_stand_ins::Plan;

const USERS: usize = 6;
const SECRET: &str = "postal-password";

everywhere! {
    fn rabid_finds_what_postal_wrote(system) {
        let postal = Postal::prepare(system);
        let running = postal.start(system);
        wait_until("postal has sent 100 messages", || (postal.acknowledged().len() >= 100).then_some(()));
        running.stop();
        postal.everything_is_there_once(system);
        postal.rabid_agrees(system);
        postal.rabid_notices_a_change(system);
    }
}

#[test]
fn killed_as_one_process() {
    killed_while_postal_runs(Mode::Single, Stores::Embedded, &["puro", "puro", "puro"]);
}

#[test]
fn killed_one_of_four() {
    killed_while_postal_runs(Mode::Four, Stores::Embedded, &EACH_OF_FOUR);
}

#[test]
fn killed_as_one_process_on_aws() {
    killed_while_postal_runs(Mode::Single, Stores::Aws, &["puro", "puro", "puro"]);
}

#[test]
fn killed_one_of_four_on_aws() {
    killed_while_postal_runs(Mode::Four, Stores::Aws, &EACH_OF_FOUR);
}

const EACH_OF_FOUR: [&str; 4] = ["puro-smtp", "puro-metadata", "puro-blob", "puro-pop3"];

/// kill -9 while postal runs: every message that got a 250 is there exactly once after the restart, and whole.
///
/// postal itself does not survive the end of its connections, so each life of the server has a postal of its own.
fn killed_while_postal_runs(mode: Mode, stores: Stores, victims: &[&'static str]) {
    let mut system = System::start_on(mode, stores, &[]);
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

/// postal sends and rabid reads while requests to the stores meet all kinds of faults; then all is there once, and whole.
#[test]
fn both_in_a_storm() {
    let drill = Drill::start(Mode::Four);
    let postal = Postal::prepare(&drill.system);
    let sending = postal.start(&drill.system);
    wait_until("postal has sent 20 messages", || (postal.acknowledged().len() >= 20).then_some(()));
    for seed in 11..=13 {
        let (before, faults) = (postal.acknowledged().len(), drill.dynamodb.faults());
        drill.dynamodb.set(Plan::mixture(seed, 100));
        drill.s3.set(Plan::mixture(seed, 100));
        wait_until("faults are met", || (drill.dynamodb.faults() >= faults + 20).then_some(()));
        drill.dynamodb.clear();
        drill.s3.clear();
        wait_until("postal goes on", || (postal.acknowledged().len() >= before + 20).then_some(()));
    }
    sending.stop();
    wait_until("what was queued is delivered", || {
        postal.acknowledged().is_subset(&postal.found(&drill.system).into_keys().collect()).then_some(())
    });
    postal.everything_is_there_once(&drill.system);
    postal.rabid_agrees(&drill.system);
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

    /// Returns how often each message is in a maildrop.
    fn found(&self, system: &System) -> BTreeMap<String, usize> {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for user in &self.users {
            for message in system.fetch_with(user, SECRET) {
                let text = String::from_utf8_lossy(&message).into_owned();
                let hash = text.split("\r\n").find_map(|line| line.strip_prefix("X-PostalHash: "));
                *found.entry(hash.expect("a message by postal").to_owned()).or_default() += 1;
            }
        }
        found
    }

    fn everything_is_there_once(&self, system: &System) {
        let found = self.found(system);
        let acknowledged = self.acknowledged();
        let lost: Vec<_> = acknowledged.iter().filter(|hash| !found.contains_key(*hash)).collect();
        assert!(lost.is_empty(), "lost of {}: {lost:?}", acknowledged.len());
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "there more than once: {twice:?}");
    }

    /// Lets rabid fetch, check and delete all. Its transcripts tell what it took; its log is written by several threads
    /// at once and loses a line now and then.
    fn rabid_agrees(&self, system: &System) {
        let wanted = self.acknowledged();
        let running = self.start_rabid(system);
        wait_until("rabid has deleted every message", || {
            let taken = taken(&transcripts(&self.folder, "fetched").concat());
            wanted.is_subset(&taken).then_some(())
        });
        running.stop();
        let said = fs::read_to_string(self.folder.join("rabid.out")).unwrap();
        assert!(!said.contains("mis-match"), "{said}");
        for transcript in transcripts(&self.folder, "fetched") {
            assert!(!transcript.contains("\r\n-ERR"), "nothing was refused while rabid read");
        }
    }

    /// A message by postal with another sender: rabid has to complain, or its silence would say nothing.
    fn rabid_notices_a_change(&self, system: &System) {
        let sent = transcripts(&self.folder, "sent").concat();
        let (_, rest) = sent.split_once("\r\nFrom: <").unwrap();
        let (message, _) = rest.split_once("\r\n.\r\n").unwrap();
        let mut smtp = system.smtp();
        smtp.command("EHLO client.example.net", "250");
        smtp.command("MAIL FROM:<>", "250");
        smtp.command(&format!("RCPT TO:<{}>", self.users[0]), "250");
        smtp.command("DATA", "354");
        smtp.send(format!("From: <changed-{message}\r\n.\r\n"));
        smtp.expect("250 2.");
        let running = self.start_rabid(system);
        wait_until("rabid complains", || {
            let said = fs::read_to_string(self.folder.join("rabid.out")).unwrap();
            said.contains("MD5 mis-match").then_some(())
        });
        running.stop();
    }

    fn start_rabid(&self, system: &System) -> Running {
        let server = format!("[127.0.0.1]{}", system.ports.pop3.port());
        Tool::new("rabid")
            .args(["-p", "3", "-r", "6000", "-z", "fetched", &server, "logins"])
            .folder(&self.folder)
            .start(&self.folder.join("rabid.out"))
    }
}

/// Returns the hashes of the messages which rabid has fetched and deleted.
fn taken(transcript: &str) -> BTreeSet<String> {
    let (mut hashes, mut hash) = (BTreeSet::new(), None);
    for line in transcript.split("\r\n") {
        if let Some(value) = line.strip_prefix("X-PostalHash: ") {
            hash = Some(value.to_owned());
        } else if line.starts_with("dele ") {
            hashes.extend(hash.take());
        }
    }
    hashes
}

fn transcripts(folder: &Path, prefix: &str) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    files.map(|entry| String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()).collect()
}
