//! `puro export` and `puro import`: from store to store, cut off at any moment, and mail of other programs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use puro_e2e::{Mode, PASSWORD, Ran, Stores, System, Tool, message, on_embedded_stores, random_octets};

const OLD_PASSWORD: &str = "from the old system";
const USERS: [&str; 2] = ["alice", "bob"];

/// A maildrop as POP3 shows it: the octets of each message by its UIDL, in order.
type Maildrop = Vec<(String, Vec<u8>)>;

fn maildrop(system: &System, user: &str, password: &str) -> Maildrop {
    let mut pop3 = system.pop3_with(&format!("{user}@example.test"), password);
    pop3.command("UIDL", "+OK");
    let uidl = String::from_utf8(pop3.multi_line()).unwrap();
    uidl.lines()
        .map(|line| {
            let (number, id) = line.split_once(' ').unwrap();
            pop3.command(&format!("RETR {number}"), "+OK");
            (id.to_owned(), pop3.multi_line())
        })
        .collect()
}

/// Mail of many kinds, a password, an alias, settings.
fn furnish(system: &System) {
    let large = [message("large", ""), random_octets(7, 3 << 20)].concat();
    let bodies: [&[u8]; 5] =
        [b"", b".\r\n..\r\n", b"From here\r\n>From there\r\n", b"\xff\xfe 8-bit\r\n", b"\r\n\r\n"];
    for body in bodies {
        system.deliver("alice@example.test", &[message("small", ""), body.to_vec()].concat());
    }
    system.deliver("alice@example.test", &large);
    system.operator_with(&["user", "passwd", "alice@example.test", "--password-stdin"], OLD_PASSWORD).ok();
    system.operator(&["alias", "add", "both@example.test", "alice@example.test", "bob@example.test"]).ok();
    system.operator(&["domain", "add", "other.test", "--catch-all", "bob@example.test"]).ok();
    system.operator(&["config", "set", "domain", "example.test"]).ok();
    system.deliver("both@example.test", &message("both", "to two\r\n"));
    // One that was deleted must not come along.
    let mut pop3 = system.pop3_with("alice@example.test", OLD_PASSWORD);
    pop3.command("DELE 1", "+OK");
    pop3.command("QUIT", "+OK");
}

/// What an operator sees, in no order, but for the account that each first start makes.
fn records(system: &System) -> Vec<BTreeSet<String>> {
    let lists: [&[&str]; 4] =
        [&["domain", "list"], &["user", "list"], &["alias", "list"], &["config", "get"]];
    lists
        .map(|list| {
            let out = system.operator(&[&["--json"][..], list].concat()).ok().out;
            let rows: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
            let rows = rows.iter().map(ToString::to_string);
            rows.filter(|row| !row.contains("puro.localhost")).collect()
        })
        .into()
}

/// Moves a system through others and compares what its users and its operator see in each.
fn moves_through(hops: &[(Mode, Stores)]) {
    let (mode, stores) = hops[0];
    let mut system = System::start_on(mode, stores, &[]);
    furnish(&system);
    let passwords = BTreeMap::from([("alice", OLD_PASSWORD), ("bob", PASSWORD)]);
    let seen = |system: &System| USERS.map(|user| maildrop(system, user, passwords[user]));
    let (before, kept) = (seen(&system), records(&system));
    assert_eq!(before.each_ref().map(Vec::len), [6, 1]);
    for (mode, stores) in &hops[1..] {
        let next = System::start_on(*mode, *stores, &[]);
        let backup = system.folder().join("backup");
        let folder = backup.to_str().unwrap();
        system.operator(&["export", folder]).ok().says("7 messages");
        // The accounts that the harness made there are in the way of those that come.
        next.operator(&["import", folder]).code(1).says("alice@example.test, with another mailbox");
        next.operator(&["import", folder, "--overwrite"]).ok();
        assert_eq!(seen(&next), before, "UIDLs and octets, in {mode:?} on {stores:?}");
        assert_eq!(records(&next), kept);
        next.operator(&["import", folder]).ok().says("7 already there");
        // It lives on: mail comes in and is shown behind the rest.
        next.deliver("both@example.test", &message("new", "there\r\n"));
        let after = seen(&next);
        for (after, before) in after.iter().zip(&before) {
            assert_eq!((&after[..before.len()], after.len()), (&before[..], before.len() + 1));
        }
        for (user, password) in &passwords {
            let mut pop3 = next.pop3_with(&format!("{user}@example.test"), password);
            let last = pop3.command("STAT", "+OK").split(' ').nth(1).unwrap().to_owned();
            pop3.command(&format!("DELE {last}"), "+OK");
            pop3.command("QUIT", "+OK");
        }
        system = next;
    }
}

#[test]
fn from_one_process_to_four() {
    moves_through(&[(Mode::Single, Stores::Embedded), (Mode::Four, Stores::Embedded)]);
}

#[test]
fn from_embedded_stores_to_aws_and_back() {
    let embedded = (Mode::Single, Stores::Embedded);
    moves_through(&[embedded, (Mode::Four, Stores::Aws), embedded]);
}

/// Returns where `puro` is, as the harness finds it.
fn puro() -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned();
    std::env::var_os("PURO_TEST_BIN_DIR").map_or_else(beside, PathBuf::from).join("puro")
}

/// Runs a command of the operator and kills it, as `kill -9` does, after some milliseconds.
fn killed_after(milliseconds: u64, system: &System, arguments: &[&str]) -> Ran {
    Tool::new("env")
        .args(["-i", &format!("PATH={}", std::env::var("PATH").unwrap())])
        .args([format!("PURO_METADATA_URL=http://{}", system.ports.metadata)])
        .args([format!("PURO_BLOB_URL=http://{}", system.ports.blob)])
        .args(["timeout", "-s", "KILL", &format!("{:.3}", milliseconds as f64 / 1000.0)])
        .args([puro()])
        .args(arguments)
        .folder(system.folder())
        .run()
}

/// Runs a command again and again, each time a little longer, until it is done; returns how often it was killed.
fn until_done(system: &System, arguments: &[&str]) -> usize {
    let mut milliseconds = 15;
    for kills in 0..100 {
        // At which moment it is killed is left to chance on purpose.
        let ran = killed_after(milliseconds, system, arguments);
        // Killed between its last write and its end it was done, and says so when it is run again.
        if ran.code == Some(0) || ran.err.contains("holds a complete export") {
            return kills;
        }
        // `timeout` dies of the signal that it sent.
        assert!(matches!(ran.code, None | Some(137)), "{:?}: {}{}", ran.code, ran.out, ran.err);
        milliseconds += milliseconds / 4;
    }
    panic!("{arguments:?} comes to no end");
}

on_embedded_stores! {
    fn killed_at_any_moment_it_goes_on(system) {
        const MESSAGES: usize = 150;
        let mut smtp = system.smtp();
        smtp.command("EHLO client.example.net", "250");
        for n in 0..MESSAGES {
            let text = [message(&format!("n{n}"), ""), random_octets(n, 20 * n)].concat();
            assert!(smtp.send_message("<sender@example.net>", &["alice@example.test"], &text).starts_with("250"));
        }
        let before = maildrop(system, "alice", PASSWORD);
        assert_eq!(before.len(), MESSAGES);
        let backup = system.folder().join("backup");
        let folder = backup.to_str().unwrap();
        // The system is in use meanwhile.
        let over = AtomicBool::new(false);
        let kills = thread::scope(|scope| {
            let busy = scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    system.deliver("bob@example.test", &message("busy", "x\r\n"));
                }
            });
            let exporting = scope.spawn(|| until_done(system, &["export", folder]));
            let kills = exporting.join();
            over.store(true, Ordering::Release);
            busy.join().unwrap();
            kills.unwrap()
        });
        assert!(kills >= 3, "it was killed {kills} times only");
        let next = System::start(Mode::Single);
        for user in USERS {
            next.operator(&["user", "remove", &format!("{user}@example.test")]).ok();
        }
        for list in ["me@puro.localhost", "postmaster@puro.localhost"] {
            // Made by the first start of one process; those of the export are others.
            next.operator(&["user", "remove", list]);
            next.operator(&["alias", "remove", list]);
        }
        let kills = until_done(&next, &["import", folder, "--overwrite"]);
        assert!(kills >= 3, "it was killed {kills} times only");
        assert_eq!(maildrop(&next, "alice", PASSWORD), before);
        let (here, there) = (maildrop(system, "bob", PASSWORD), maildrop(&next, "bob", PASSWORD));
        assert!(!there.is_empty() && there.iter().all(|message| here.contains(message)), "whole messages only");
        next.operator(&["import", folder]).ok().says("messages: 0 added");
    }

    fn mail_made_by_python_comes_in(system) {
        let folder = system.folder().join("python");
        std::fs::create_dir(&folder).unwrap();
        Tool::new("python3").args(["-c", PYTHON]).folder(&folder).run().ok();
        let path = |name: &str| folder.join(name).display().to_string();
        let import = |name: &str| system.operator(&["import", "alice@example.test", &path(name), "--mbox", "o"]).ok();
        import("box.mbox").says("messages: 3 added");
        import("maildir").says("messages: 1 added, 3 already there");
        import("one.eml").says("messages: 0 added, 1 already there");
        import("box.mbox").says("messages: 0 added, 3 already there");
        let texts: Vec<Vec<u8>> = maildrop(system, "alice", PASSWORD).into_iter().map(|(_, text)| text).collect();
        let expected = |n: usize, body: &str| {
            format!("Subject: number {n}\r\nDate: Tue, 14 Nov 2023 22:13:2{n} +0000\r\n\r\n{body}").into_bytes()
        };
        let bodies = ["plain\r\n", "From here\r\n.\r\nto there\r\n", "caf\u{e9}\r\n", "only in the Maildir\r\n"];
        let expected: Vec<_> = bodies.iter().enumerate().map(|(n, body)| expected(n, body)).collect();
        assert_eq!(texts, expected, "in the order of their dates");
        system.operator(&["import", "nobody@example.test", &path("one.eml")]).code(1).says("not found");
    }
}

/// Writes the same messages as Python's `mailbox` keeps them.
const PYTHON: &str = r#"
import mailbox
bodies = ["plain\n", "From here\n.\nto there\n", "caf\u00e9\n", "only in the Maildir\n"]
texts = [f"Subject: number {n}\nDate: Tue, 14 Nov 2023 22:13:2{n} +0000\n\n{body}".encode()
         for n, body in enumerate(bodies)]
box, folder = mailbox.mbox("box.mbox"), mailbox.Maildir("maildir")
for n, text in enumerate(texts):
    if n < 3:
        box.add(text)
    message = mailbox.MaildirMessage(text)
    message.set_subdir("cur" if n % 2 else "new")
    message.set_flags("S" if n % 2 else "")
    folder.add(text if n == 2 else message)
box.close()
open("one.eml", "wb").write(texts[0])
"#;
