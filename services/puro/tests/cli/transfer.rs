//! `puro export` and `puro import` against services in memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::system::System;

const ME: &str = "me@example.org";
const FIRST: &str = "Return-Path: <ann@example.net>\r\nSubject: one\r\n\r\nFrom here\r\nto \u{e9}ternity\r\n";
const NO_END: &str = "Subject: two\r\n\r\n\0no end of line\r\n\n.\r\nbare \r and \n";
const NO_HEADER: &str = "\r\nbody only";

async fn furnished() -> System {
    let system = System::with_account(ME).await;
    for (number, text) in [FIRST, NO_END, NO_HEADER].into_iter().enumerate() {
        system.deliver(ME, 1_700_000_000_000 + 1_000 * number as u64, text).await;
    }
    system.run("domain add example.net --catch-all me@example.org").await.done();
    system
        .run_with("user add you@example.net --password-stdin --first-name You --quota 5MB", "other\n")
        .await
        .done();
    system.run("user disable you@example.net").await.done();
    system.run("alias add all@example.org me@example.org you@example.net far@example.net").await.done();
    system.run("config set domain example.net").await.done();
    system
}

/// What an operator sees of a system.
async fn seen(system: &System) -> Vec<Value> {
    let mut seen = Vec::new();
    for line in ["domain list", "user list", "alias list", "config get", "mail list me@example.org"] {
        seen.push(system.run(&format!("{line} --json")).await.json());
    }
    seen
}

async fn octets(system: &System) -> Vec<String> {
    let mut octets = Vec::new();
    for number in 1..=3 {
        octets.push(system.run(&format!("mail show {ME} {number}")).await.done());
    }
    octets
}

fn mailbox_of(folder: &Path) -> PathBuf {
    let mut folders = fs::read_dir(folder.join("mail")).unwrap().map(|entry| entry.unwrap().path());
    folders.find(|folder| fs::read_dir(folder.join("new")).unwrap().count() > 0).unwrap()
}

/// The files of messages, in the order of their times.
fn files(folder: &Path) -> Vec<PathBuf> {
    let new = mailbox_of(folder).join("new");
    let mut files: Vec<_> = fs::read_dir(new).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_system_moves_into_another_one() {
    let system = furnished().await;
    let summary = system.run("export backup --json").await.json();
    let totals = json!({"domains": 2, "users": 2, "aliases": 1, "config": 2, "messages": 3, "lost": 0,
        "bytes": FIRST.len() + NO_END.len() + NO_HEADER.len()});
    assert_eq!((&summary["complete"], &summary["totals"]), (&json!(true), &totals));
    let backup = system.folder.path().join("backup");
    for (file, text) in files(&backup).iter().zip([FIRST, NO_END, NO_HEADER]) {
        assert_eq!(fs::read(file).unwrap(), text.as_bytes());
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for folder in [backup.clone(), mailbox_of(&backup)] {
        assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let other = System::start().await;
    let import = format!("import {} --json", backup.display());
    let summary = other.run(&import).await.json();
    assert_eq!((&summary["users"]["added"], &summary["messages"]["added"]), (&json!(2), &json!(3)));
    assert_eq!(seen(&other).await, seen(&system).await);
    assert_eq!(octets(&other).await, [FIRST, NO_END, NO_HEADER]);
    assert!(other.logs_in(ME, "secret").await && !other.logs_in("you@example.net", "other").await);
    other.run("user enable you@example.net").await.done();
    assert!(other.logs_in("you@example.net", "other").await, "it was disabled, not lost");
    other.run("user disable you@example.net").await.done();
    // Again, and back again: nothing more.
    for place in [&other, &system] {
        let summary = place.run(&import).await.json();
        for kind in ["domains", "users", "aliases", "config", "messages"] {
            let counts = &summary[kind];
            assert_eq!((&counts["added"], &counts["failed"]), (&json!(0), &json!(0)), "{kind}: {summary}");
        }
        assert_eq!(summary["messages"]["already_there"], 3);
    }
    assert_eq!(seen(&other).await, seen(&system).await);
    // What is exported there is the same mail under the same ids.
    other.run("export again").await.done();
    let names = |folder: &Path| -> Vec<_> {
        files(folder).iter().map(|file| file.file_name().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&other.folder.path().join("again")), names(&backup));
}

#[tokio::test]
async fn what_a_user_deleted_after_the_import_does_not_come_back() {
    let system = furnished().await;
    system.run("export backup").await.done();
    let other = System::start().await;
    let import = format!("import {} --json", system.folder.path().join("backup").display());
    other.run(&import).await.done();
    other.delete_first(ME).await;
    assert_eq!(other.run(&import).await.json()["messages"]["added"], 0);
    assert_eq!(other.run("mail list me@example.org --json").await.json().as_array().unwrap().len(), 2);
    // Where the mail was not imported it may have been lost, but for what was deleted lately.
    system.delete_first(ME).await;
    let summary = system.run(&import).await.json();
    assert_eq!((&summary["messages"]["added"], &summary["messages"]["deleted"]), (&json!(0), &json!(1)));
    for place in [&other, &system] {
        assert_eq!(place.run(&format!("{import} --overwrite")).await.json()["messages"]["added"], 1);
        assert_eq!(place.run("mail list me@example.org --json").await.json().as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn what_is_different_is_named_and_left_alone() {
    let system = furnished().await;
    system.run("export backup").await.done();
    let other = System::with_account(ME).await;
    other.run("domain add example.net").await.done();
    other.run("config set domain example.org").await.done();
    let import = format!("import {}", system.folder.path().join("backup").display());
    let told = ["example.net", "me@example.org", "another mailbox", "setting domain", "users: 1 added"];
    let before = other.run("mail list me@example.org").await.done();
    other.run(&import).await.refused(1, &told);
    assert_eq!(other.run("mail list me@example.org").await.done(), before);
    assert_eq!(other.run("config get domain").await.done(), "example.org\n");
    let summary = other.run(&format!("{import} --overwrite --json")).await.json();
    assert_eq!((&summary["users"]["replaced"], &summary["domains"]["replaced"]), (&json!(1), &json!(1)));
    assert_eq!(seen(&other).await, seen(&system).await);
    assert_eq!(octets(&other).await, [FIRST, NO_END, NO_HEADER]);
}

#[tokio::test]
async fn a_damaged_export_is_refused() {
    let system = furnished().await;
    system.run("export backup").await.done();
    let backup = system.folder.path().join("backup");
    let spoil = |path: &Path| {
        let mut octets = fs::read(path).unwrap();
        let at = octets.len() / 2;
        octets[at] ^= 1;
        fs::write(path, octets).unwrap();
    };
    let other = System::start().await;
    let import = format!("import {}", backup.display());
    for name in ["domains.jsonl", "users.jsonl", "files.jsonl"] {
        spoil(&backup.join(name));
        other.run(&import).await.refused(1, &[name, "damaged"]);
        spoil(&backup.join(name));
    }
    // A message: the others come, and the mailbox stays closed until somebody decides.
    let message = files(&backup).remove(1);
    spoil(&message);
    let name = message.file_name().unwrap().to_str().unwrap();
    other.run(&import).await.refused(1, &[name, "damaged", "--skip-damaged"]);
    assert_eq!(other.run("mail list me@example.org --json").await.json().as_array().unwrap().len(), 2);
    assert!(!other.logs_in(ME, "secret").await);
    other.run(&format!("{import} --skip-damaged")).await.refused(1, &[name, "damaged"]);
    assert!(other.logs_in(ME, "secret").await);
    fs::remove_file(&message).unwrap();
    let third = System::start().await;
    third.run(&import).await.refused(1, &[name]);
}

#[tokio::test]
async fn an_export_is_not_written_over_and_not_half_imported() {
    let system = furnished().await;
    system.run("export backup").await.done();
    system.run("export backup").await.refused(1, &["complete", "another folder"]);
    fs::create_dir(system.folder.path().join("other")).unwrap();
    fs::write(system.folder.path().join("other/file"), "mine").unwrap();
    system.run("export other").await.refused(1, &["not empty"]);
    system.run("import other").await.refused(1, &["no export"]);
    system.run("import absent").await.refused(1, &["no export"]);
    let manifest = system.folder.path().join("backup/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"complete\": true", "\"complete\": false")).unwrap();
    system.run("import backup").await.refused(1, &["not complete", "puro export"]);
    fs::write(&manifest, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
    system.run("import backup").await.refused(1, &["format 2"]);
    system.run("export backup me@example.org").await.refused(1, &["format 2"]);
}

#[tokio::test]
async fn an_interrupted_export_goes_on() {
    let system = furnished().await;
    let backup = system.folder.path().join("backup");
    system.run("export backup").await.done();
    let whole = tree(&backup);
    // As a process that was killed leaves it: an unfinished list with a torn line, half a message, no manifest.
    let mailbox = mailbox_of(&backup);
    let list = fs::read_to_string(mailbox.join("messages.jsonl")).unwrap();
    let second_line = list.match_indices('\n').nth(1).unwrap().0;
    for cut in [0, 1, second_line - 1, second_line, second_line + 1, list.len()] {
        fs::remove_file(mailbox.join("messages.jsonl")).unwrap();
        fs::write(mailbox.join("messages.partial.jsonl"), &list[..cut]).unwrap();
        fs::write(mailbox.join("tmp/half"), "half").unwrap();
        // Its line is there, and its octets did not make it to the disk.
        fs::write(&files(&backup)[0], "").unwrap();
        let manifest = fs::read_to_string(backup.join("manifest.json")).unwrap();
        fs::write(
            backup.join("manifest.json"),
            manifest.replace("\"complete\": true", "\"complete\": false"),
        )
        .unwrap();
        system.run("export backup you@example.net").await.refused(1, &["unfinished export of other users"]);
        system.run("export backup").await.done();
        assert_eq!(tree(&backup), whole, "cut at {cut}");
    }
}

/// All files but the manifest, which tells times.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("manifest.json") {
                let octets = fs::read(&path).unwrap();
                found.push((path, octets));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn some_users_are_exported_by_themselves() {
    let system = furnished().await;
    system.run("export some you@example.net nobody@example.org").await.refused(1, &["nobody@example.org"]);
    fs::remove_dir_all(system.folder.path().join("some")).unwrap();
    let summary = system.run("export some you@example.net YOU@example.net --json").await.json();
    let totals =
        json!({"domains": 1, "users": 1, "aliases": 0, "config": 0, "messages": 0, "bytes": 0, "lost": 0});
    assert_eq!(summary["totals"], totals);
    let other = System::start().await;
    other.run(&format!("import {}", system.folder.path().join("some").display())).await.done();
    assert_eq!(other.run("domain list").await.done(), "example.net\tme@example.org\n");
    assert_eq!(other.run("user list").await.done(), "you@example.net\tYou\t\tdisabled\t5MB\n");
}

#[tokio::test]
async fn a_lost_message_is_named_and_the_rest_is_whole() {
    let system = System::with_account(ME).await;
    let segment = system.deliver(ME, 1_700_000_000_000, FIRST).await;
    system.deliver(ME, 1_700_000_060_000, NO_END).await;
    let listed = system.run("mail list me@example.org --json").await.json();
    system.blob().delete_segments(&[segment]).await.unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    system.run("export backup").await.refused(1, &[id, "1 messages that are damaged or lost"]);
    let other = System::start().await;
    let ended = other.run(&format!("import {}", system.folder.path().join("backup").display())).await;
    assert!(ended.talk.contains("lost already when the export was made"), "{ended:?}");
    ended.done();
    assert_eq!(other.run("mail show me@example.org 1").await.done(), NO_END);
}

#[tokio::test]
async fn services_that_are_not_there_end_it_with_69() {
    let mut system = furnished().await;
    system.run("export backup").await.done();
    let there = std::mem::replace(&mut system.blob_url, "http://127.0.0.1:1".into());
    system.run("export other").await.refused(69, &["blob service"]);
    system.metadata_url = "http://127.0.0.1:1".into();
    system.run("export third").await.refused(69, &["metadata service"]);
    system.run("import backup").await.refused(69, &["metadata service"]);
    system.blob_url = there;
    for line in ["import", "export", "import backup --ignore-quota", "import a@b.test x.eml --overwrite"] {
        let ended = system.run(line).await;
        assert_eq!(ended.code, 2, "{line}: {ended:?}");
    }
    system.run("import backup x.eml").await.refused(2, &["no address"]);
}

#[tokio::test]
async fn mail_of_other_programs_comes_in_once() {
    let system = System::with_account(ME).await;
    let folder = system.folder.path();
    let date = "Date: Tue, 14 Nov 2023 22:13:20 +0000\n";
    fs::write(folder.join("one.eml"), format!("Subject: one\n{date}\nbody\n")).unwrap();
    let mbox = format!(
        "From a Tue Nov 14 22:13:20 2023\nSubject: two\n{date}\n>From me\n>>From you\n\n\
         From a Tue Nov 14 22:13:20 2023\nSubject: one\n{date}\nbody\n\n"
    );
    fs::write(folder.join("box"), mbox).unwrap();
    for name in ["dir/cur", "dir/new"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::write(folder.join("dir/cur/1.x:2,S"), "Subject: three\r\n\r\nno date\r\n").unwrap();
    let summary = system.run("import me@example.org one.eml box dir --json").await.json();
    assert_eq!((&summary["added"], &summary["already_there"]), (&json!(3), &json!(1)));
    assert_eq!(summary["line_ends_mended"], 2, "{summary}");
    let listed = system.run("mail list me@example.org --json").await.json();
    let accepted: Vec<_> = listed.as_array().unwrap().iter().map(|message| &message["accepted"]).collect();
    assert_eq!(accepted[..2], ["2023-11-14T22:13:20Z"; 2]);
    let mut texts = octets(&system).await;
    texts.sort();
    let date = date.replace('\n', "\r\n");
    let expected = [
        format!("Subject: one\r\n{date}\r\nbody\r\n"),
        "Subject: three\r\n\r\nno date\r\n".to_owned(),
        format!("Subject: two\r\n{date}\r\nFrom me\r\n>From you\r\n"),
    ];
    assert_eq!(texts, expected);
    // Again, and another way: a message is known by its octets.
    let again = system.run("import me@example.org dir box one.eml --json").await.json();
    assert_eq!((&again["added"], &again["already_there"]), (&json!(0), &json!(4)));
    system.delete_first(ME).await;
    let again = system.run("import me@example.org dir box one.eml --json").await.json();
    let counts = (again["deleted"].as_u64().unwrap(), again["already_there"].as_u64().unwrap());
    assert!(again["added"] == 0 && counts.0 >= 1 && counts.0 + counts.1 == 4, "{again}");
    let as_old = system.run("import me@example.org box --mbox o --json").await.json();
    assert_eq!(as_old["added"], 1, ">>From is read otherwise: {as_old}");
}

#[tokio::test]
async fn mail_of_other_programs_that_cannot_come_in() {
    let system = System::with_account(ME).await;
    fs::write(system.folder.path().join("one.eml"), format!("Subject: x\r\n\r\n{}", "x".repeat(600)))
        .unwrap();
    fs::write(system.folder.path().join("two.eml"), format!("Subject: y\r\n\r\n{}", "x".repeat(600)))
        .unwrap();
    fs::write(system.folder.path().join("photo"), "\u{7f}\u{1}").unwrap();
    system.run("import nobody@example.org one.eml").await.refused(1, &["not found", "nobody@example.org"]);
    system.run("import me@example.org one.eml absent").await.refused(1, &["absent"]);
    system.run("import me@example.org one.eml photo").await.refused(1, &["photo", "neither"]);
    assert_eq!(system.run("mail list me@example.org").await.done(), "", "a wrong name changes nothing");
    system.run_with("user add small@example.org --password-stdin --quota 1000", "x\n").await.done();
    system
        .run("import small@example.org one.eml two.eml")
        .await
        .refused(1, &["1 messages", "--ignore-quota"]);
    assert_eq!(system.run("mail list small@example.org").await.done().lines().count(), 1);
    system.run("import small@example.org one.eml two.eml --ignore-quota").await.done();
    assert_eq!(system.run("mail list small@example.org").await.done().lines().count(), 2);
    system.run("alias add all@example.org me@example.org").await.done();
    system.run("import all@example.org one.eml").await.refused(1, &["alias"]);
}
