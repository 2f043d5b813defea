//! Full and read-only disks: 451 or [SYS/TEMP], nothing lost, and service again when there is room, without a restart.
//! Embedded stores alone have a disk; faults of the others are in `store_faults.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use puro_e2e::{Mode, PASSWORD, Ran, System, message, random_text, wait_until};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

/// A full disk: 451, and service again without a restart once there is room.
fn full_disk(mode: Mode) {
    let disk = Disk::new(48);
    let mut system = System::start_in(mode, &[], disk.folder(), disk.data());
    let mut kept = Kept::default();
    kept.deliver(&system, SMALL).expect("a disk with room");
    kept.check(&system, "with room");
    disk.fill();
    (0..200).find_map(|_| kept.deliver(&system, SMALL).err()).expect("a full disk is told");
    kept.nothing_goes(&system, "on a full disk");
    let said = kept.remove_first(&system);
    assert!(said.starts_with("+OK") || said.starts_with("-ERR [SYS/TEMP]"), "{said}");
    kept.nothing_goes(&system, "after a removal on a full disk");
    let added = add_carol(&system);
    // It works where the store still has a little room set aside.
    assert!(matches!(added.code, Some(0 | 1 | 69)), "{added:?}");
    assert!(added.code == Some(0) || added.err.starts_with("puro: "), "{added:?}");
    disk.free();
    wait_until("mail is taken again", || kept.deliver(&system, SMALL).ok());
    kept.check(&system, "with room again");
    if !said.starts_with("+OK") {
        let said = kept.remove_first(&system);
        assert!(said.starts_with("+OK"), "{said}");
        kept.check(&system, "after the removal");
    }
    if added.code != Some(0) {
        add_carol(&system).ok();
    }
    system.pop3_as("carol").command("QUIT", "+OK");
    for name in system.names() {
        system.kill_and_restart(name);
    }
    kept.check(&system, "after a crash");
}

fn add_carol(system: &System) -> Ran {
    system.operator_with(&["user", "add", "carol@example.test", "--password-stdin"], PASSWORD)
}

/// A data folder that turns read-only. What needs a new file (a message of several megabytes does) is put off with 451;
/// what still can be kept is kept. Service again when it ends, without a restart, and nothing acknowledged is lost.
fn read_only(mode: Mode) {
    let disk = Disk::new(256);
    let mut system = System::start_in(mode, &[], disk.folder(), disk.data());
    let mut kept = Kept::default();
    kept.deliver(&system, SMALL).expect("a folder that can be written");
    kept.check(&system, "in a folder that can be written");
    let read_only = ReadOnly::over(system.data());
    kept.deliver(&system, BIG).expect_err("no new file can be made");
    for _ in 0..20 {
        let _ = kept.deliver(&system, SMALL);
    }
    kept.nothing_goes(&system, "in a read-only folder");
    drop(read_only);
    wait_until("mail is taken again", || kept.deliver(&system, BIG).ok());
    kept.check(&system, "in a folder that can be written again");
    for name in system.names() {
        system.kill_and_restart(name);
    }
    kept.check(&system, "after a crash");
}

/// Octets of a message that fits what is preallocated, and of one that needs a file of its own.
const SMALL: usize = 64_000;
const BIG: usize = 5_000_000;

/// What was sent to alice, each message with a number of its own.
#[derive(Default)]
struct Kept {
    count: usize,
    acknowledged: BTreeSet<usize>,
    seen: BTreeSet<usize>,
    /// Removed with a +OK.
    gone: BTreeSet<usize>,
    /// Removed with an error: there or not.
    doubtful: BTreeSet<usize>,
}

impl Kept {
    /// Delivers one more; anything but a 250 has to be a reply that makes the sender try again.
    fn deliver(&mut self, system: &System, octets: usize) -> Result<(), String> {
        let number = self.count;
        self.count += 1;
        let body = random_text(number, octets);
        let text = message(&number.to_string(), &format!("{body}{number}\r\n"));
        let outcome = system.try_deliver("alice@example.test", &text);
        match &outcome {
            Ok(()) => {
                self.acknowledged.insert(number);
            }
            Err(reply) => assert!(reply.starts_with("45") || reply.starts_with("421"), "{reply}"),
        }
        outcome
    }

    /// Marks the oldest message and ends the session; returns the answer to QUIT. After an error it is not known whether
    /// the message is gone; all others have to be there.
    fn remove_first(&mut self, system: &System) -> String {
        let oldest = numbers(system)[0];
        let mut pop3 = system.pop3_as("alice");
        pop3.command("DELE 1", "+OK");
        pop3.send("QUIT\r\n");
        let said = pop3.line().expect("an answer to QUIT");
        self.acknowledged.remove(&oldest);
        self.seen.remove(&oldest);
        if said.starts_with("+OK") {
            self.gone.insert(oldest)
        } else {
            self.doubtful.insert(oldest)
        };
        said
    }

    /// Asserts that each acknowledged message is there exactly once. One that could be queued and not be put into the
    /// maildrop at once comes within seconds.
    fn check(&mut self, system: &System, when: &str) {
        wait_until(&format!("{when}, all that was acknowledged is there"), || {
            self.nothing_goes(system, when);
            self.acknowledged.is_subset(&self.seen).then_some(())
        });
    }

    /// Asserts that what was ever seen is still there, exactly once, unless it was removed; that is not. A message that
    /// was put off may be there too, when the write came through and its answer did not: its sender makes the duplicate.
    fn nothing_goes(&mut self, system: &System, when: &str) {
        let found = numbers(system);
        let once: BTreeSet<usize> = found.iter().copied().collect();
        assert_eq!(once.len(), found.len(), "{when}: {found:?}");
        assert!(self.seen.is_subset(&once), "{when}: of {:?} there is {found:?}", self.seen);
        assert!(self.gone.is_disjoint(&once), "{when}: {found:?}");
        let doubtful = self.doubtful.iter().copied();
        self.seen = once.difference(&doubtful.collect()).copied().collect();
    }
}

/// Returns the numbers in the subjects of alice's messages, each read whole.
fn numbers(system: &System) -> Vec<usize> {
    let subject = |mail: Vec<u8>| {
        let text = String::from_utf8(mail).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")?.parse().ok()).expect("a number")
    };
    system.fetch("alice").into_iter().map(subject).collect()
}

/// Starting on a folder that cannot be written is refused in one clear line, with no port bound.
#[test]
fn a_read_only_folder_is_refused_at_start() {
    let disk = Disk::new(64);
    std::fs::create_dir(disk.data()).unwrap();
    let _read_only = ReadOnly::over(&disk.data());
    let ran = System::try_serve(&disk.data());
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    ran.says(disk.data().to_str().unwrap());
}

#[test]
fn full_disk_single() {
    full_disk(Mode::Single);
}

#[test]
fn full_disk_four() {
    full_disk(Mode::Four);
}

#[test]
fn read_only_single() {
    read_only(Mode::Single);
}

#[test]
fn read_only_four() {
    read_only(Mode::Four);
}

/// A small file system of its own; unmounted when dropped.
struct Disk {
    mount: tempfile::TempDir,
}

impl Disk {
    fn new(megabytes: u32) -> Self {
        let folder = tempfile::Builder::new().prefix("puro-disk-").tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={megabytes}m")).unwrap();
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), Some(size.as_c_str()))
            .expect("a tmpfs needs root, or `unshare -Urm` around the tests");
        Self { mount: folder }
    }

    fn folder(&self) -> tempfile::TempDir {
        tempfile::Builder::new().prefix("puro-e2e-").tempdir().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.mount.path().join("data")
    }

    fn ballast(&self) -> PathBuf {
        self.mount.path().join("ballast")
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        let error = std::io::copy(&mut std::io::repeat(b'b'), &mut file).expect_err("the disk fills up");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

/// A read-only view mounted over a folder; files that are open for writing stay so, as with any file system.
struct ReadOnly {
    folder: PathBuf,
}

impl ReadOnly {
    fn over(folder: &Path) -> Self {
        mount_bind(folder, folder).expect("a bind mount");
        mount_remount(folder, MountFlags::BIND | MountFlags::RDONLY, c"").expect("a read-only remount");
        Self { folder: folder.to_owned() }
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = unmount(self.mount.path(), UnmountFlags::DETACH);
    }
}
