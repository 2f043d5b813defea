//! Faults from outside: silence, floods, full and read-only disks, SIGTERM. A living server, a clear error, nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{net::TcpStream, path::Path, time::Duration};

use puro_e2e::{Mode, Process, Raw, System, both_modes, message, wait_until};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};

both_modes! {
    /// Half a command, then silence: the others are served, and what follows completes the command.
    fn half_a_command_waits(system) {
        let mut half: Vec<Raw> = (0..50).map(|_| { let mut smtp = system.smtp(); smtp.send("EHL"); smtp }).collect();
        let mut pop3 = system.pop3();
        pop3.send("CAP");
        system.deliver("alice@example.test", &message("meanwhile", "x\r\n"));
        pop3.send("A\r\n");
        pop3.expect("+OK");
        half[49].send("O c.example.net\r\n");
        half[49].expect("250");
    }

    fn a_thousand_idle_connections_harm_nobody(system) {
        let before = memory_kib(system);
        let mut idle = Vec::new();
        for n in 0..1000u32 {
            // From many addresses, as a thousand clients would come.
            let port = if n % 2 == 0 { system.ports.smtp } else { system.ports.pop3 };
            idle.push(from_address([127, 0, 1, (n % 250 + 1).try_into().unwrap()], port));
        }
        idle.iter_mut().for_each(|raw| { raw.line().expect("a greeting"); });
        system.deliver("alice@example.test", &message("idle", "x\r\n"));
        assert_eq!(system.fetch("alice").len(), 1);
        let grown = memory_kib(system).saturating_sub(before);
        assert!(grown < 100 * 1024, "1,000 idle connections took {grown} KiB");
    }

    /// A client that asks for everything and reads nothing: memory stays bounded, the others are served.
    fn a_client_that_never_reads_is_bounded(system) {
        let body = format!("{}\r\n", "n".repeat(76)).repeat(60_000);
        system.deliver("alice@example.test", &message("big", &body));
        let before = memory_kib(system);
        let mut deaf: Vec<Raw> = (0..10).map(|_| system.pop3_as("alice")).collect();
        for raw in &mut deaf {
            raw.try_send("RETR 1\r\n".repeat(100));
        }
        assert_eq!(system.fetch("alice").len(), 1, "others are served");
        let grown = memory_kib(system).saturating_sub(before);
        assert!(grown < 60 * 1024, "ten deaf clients of 46 MB took {grown} KiB");
    }

    /// A message of 45 MB passes in and out in bounded memory.
    fn a_big_message_takes_constant_memory(system) {
        system.deliver("alice@example.test", &message("small", "x\r\n"));
        let before = memory_kib(system);
        let body = format!("{}\r\n", "0123456789abcdef".repeat(4)).repeat(700_000);
        let text = message("big", &body);
        system.deliver("bob@example.test", &text);
        let fetched = system.fetch("bob");
        assert!(fetched[0].ends_with(&text));
        let grown = peak_kib(system).saturating_sub(before);
        assert!(grown < 100 * 1024, "{} octets took {grown} KiB", text.len());
    }

    /// Dropped in every state: nothing is deleted, nothing half-delivered, and the next client is served.
    fn dropped_connections_leave_nothing_behind(system) {
        system.deliver("alice@example.test", &message("one", "x\r\n"));
        for stage in 0..6 {
            let mut smtp = system.smtp();
            let script = ["EHLO c\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<alice@example.test>\r\n", "DATA\r\n", "Subject: x\r\n\r\n", "text\r\n"];
            script[..=stage].iter().for_each(|text| { smtp.try_send(text); });
            let mut pop3 = system.pop3_as("alice");
            pop3.send(["STAT\r\n", "DELE 1\r\n", "RETR 1\r\n", "TOP 1 0\r\n", "DELE 1\r\nQUI", "LIST"][stage]);
        }
        assert_eq!(system.fetch("alice").len(), 1);
    }

    /// SIGTERM: idle sessions get 421 or a closed connection, a transaction in hand is finished, exit code 0.
    fn sigterm_drains(system) {
        let mut idle = system.smtp();
        let mut busy = system.smtp();
        busy.command("EHLO c.example.net", "250");
        busy.command("MAIL FROM:<>", "250");
        busy.command("RCPT TO:<alice@example.test>", "250");
        busy.command("DATA", "354");
        let mut reader = system.pop3_as("alice");
        system.deliver("alice@example.test", &message("kept", "x\r\n"));
        for service in ["puro-smtp", "puro-pop3"] {
            system.process(service).terminate();
            if system.mode() == Mode::Single {
                break;
            }
        }
        assert!(idle.expect_end().last().is_some_and(|line| line.starts_with("421")), "idle sessions are told");
        reader.expect_end();
        busy.send(message("in hand", "x\r\n"));
        busy.send(".\r\n");
        busy.expect("250 2.");
        assert!(busy.expect_end().last().is_some_and(|line| line.starts_with("421")));
        let names = system.names();
        for name in names {
            if system.mode() == Mode::Single || ["puro-smtp", "puro-pop3"].contains(&name) {
                assert_eq!(system.process(name).exit_code(), Some(0), "{name}");
                system.restart(name);
            }
        }
        assert_eq!(system.fetch("alice").len(), 2);
    }

    fn health_is_told_over_http(system) {
        for name in system.names() {
            let admin = system.process(name).port("admin");
            for (path, text) in [("/livez", "200"), ("/readyz", "200"), ("/metrics", "# TYPE puro_")] {
                let mut http = Raw::connect(admin);
                http.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
                let answer = String::from_utf8(http.rest()).unwrap();
                assert!(answer.contains(text), "{name} {path}: {answer}");
            }
        }
    }
}

/// A full disk: 451, and service again without a restart once there is room.
fn full_disk(mode: Mode) {
    let disk = Disk::new(48);
    let mut system = System::start_in(mode, &[], disk.folder(), disk.data());
    let mut kept = Kept::default();
    kept.deliver(&system, SMALL).expect("a disk with room");
    disk.fill();
    (0..200).find_map(|_| kept.deliver(&system, SMALL).err()).expect("a full disk is told");
    kept.check(&system, "on a full disk");
    disk.free();
    wait_until("mail is taken again", || kept.deliver(&system, SMALL).ok());
    kept.check(&system, "with room again");
    for name in system.names() {
        system.kill_and_restart(name);
    }
    kept.check(&system, "after a crash");
}

/// A data folder that turns read-only. What needs a new file (a message of several megabytes does) is put off with 451;
/// what still can be kept is kept. Service again when it ends, without a restart, and nothing acknowledged is lost.
fn read_only(mode: Mode) {
    let disk = Disk::new(256);
    let mut system = System::start_in(mode, &[], disk.folder(), disk.data());
    let mut kept = Kept::default();
    kept.deliver(&system, SMALL).expect("a folder that can be written");
    let read_only = ReadOnly::over(system.data());
    kept.deliver(&system, BIG).expect_err("no new file can be made");
    for _ in 0..20 {
        let _ = kept.deliver(&system, SMALL);
    }
    kept.check(&system, "in a read-only folder");
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
    acknowledged: Vec<usize>,
    refused: Vec<usize>,
}

impl Kept {
    /// Delivers one more; anything but a 250 has to be a reply that makes the sender try again.
    fn deliver(&mut self, system: &System, octets: usize) -> Result<(), String> {
        let number = self.acknowledged.len() + self.refused.len();
        let outcome = try_deliver_sized(system, number, octets);
        match &outcome {
            Ok(()) => self.acknowledged.push(number),
            Err(reply) => {
                assert!(reply.starts_with("45") || reply.starts_with("421"), "{reply}");
                self.refused.push(number);
            }
        }
        outcome
    }

    /// Asserts that each acknowledged message is there exactly once. One that was put off may be there too, when the
    /// write came through and its answer did not: its sender makes the duplicate.
    fn check(&self, system: &System, when: &str) {
        let found = numbers(system).unwrap_or_else(|reply| panic!("{when}: {reply}"));
        let times = |number: &usize| found.iter().filter(|other| *other == number).count();
        for number in &self.acknowledged {
            assert_eq!(times(number), 1, "{when}: acknowledged {number} in {found:?}");
        }
        assert!(self.refused.iter().all(|number| times(number) <= 1), "{when}: {found:?}");
    }
}

/// Returns the numbers in the subjects of alice's messages, each read whole; or the first reply that is not good.
fn numbers(system: &System) -> Result<Vec<usize>, String> {
    count(system)?;
    let subject = |mail: Vec<u8>| {
        let text = String::from_utf8(mail).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")?.parse().ok()).expect("a number")
    };
    Ok(system.fetch("alice").into_iter().map(subject).collect())
}

/// Starting on a folder that cannot be written is refused in one clear line, with no port bound.
#[test]
fn a_read_only_folder_is_refused_at_start() {
    let disk = Disk::new(64);
    std::fs::create_dir(disk.data()).unwrap();
    let _read_only = ReadOnly::over(&disk.data());
    let ran = puro_e2e::System::try_serve(&disk.data());
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

/// A failure never looks like emptiness: with the metadata or the blob service dead the front ends say so, and when it is
/// back they go on.
#[test]
fn a_dead_back_end_is_told_and_forgiven() {
    let mut system = System::start(Mode::Four);
    system.deliver("alice@example.test", &message("before", "x\r\n"));
    let mut open = system.pop3_as("alice");
    for dead in ["puro-blob", "puro-metadata"] {
        system.process(dead).kill();
        let reply = try_deliver(&system, 0).expect_err("nothing can be kept");
        assert!(reply.starts_with("45"), "{dead}: {reply}");
        if dead == "puro-metadata" {
            let reply = count(&system).expect_err("no maildrop to be seen");
            assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
        } else {
            open.command("RETR 1", "-ERR [SYS/TEMP]");
            open.command("STAT", "+OK 1 ");
        }
        system.restart(dead);
        wait_until("mail is taken again", || try_deliver(&system, 1).ok());
    }
    open.command("RETR 1", "+OK");
    open.multi_line();
    open.command("DELE 1", "+OK");
    open.command("QUIT", "+OK");
    assert_eq!(count(&system), Ok(2));
}

/// Octets of a message.
const SIZE: usize = 64_000;

/// Delivers one message; the first reply that is not good is the error.
fn try_deliver(system: &System, number: usize) -> Result<(), String> {
    try_deliver_sized(system, number, SIZE)
}

fn try_deliver_sized(system: &System, number: usize, octets: usize) -> Result<(), String> {
    let mut smtp = Raw::connect(system.ports.smtp);
    let body = random_text(number, octets);
    let text = String::from_utf8(message(&number.to_string(), &format!("{body}{number}"))).unwrap();
    for (command, good) in [
        ("", "220"),
        ("HELO c.example.net\r\n", "250"),
        ("MAIL FROM:<>\r\n", "250"),
        ("RCPT TO:<alice@example.test>\r\n", "250"),
        ("DATA\r\n", "354"),
        (&format!("{text}\r\n.\r\n"), "250"),
    ] {
        smtp.send(command);
        let reply = smtp.line().ok_or("421 closed")?;
        if !reply.starts_with(good) {
            return Err(reply);
        }
    }
    Ok(())
}

/// Returns text that does not compress to nothing, so that a disk fills up.
fn random_text(seed: usize, octets: usize) -> String {
    let mut state = seed as u64 + 1;
    let mut text = String::with_capacity(octets + octets / 38);
    while text.len() < octets {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!(
            "{:016x}{:016x}\r\n",
            state,
            state.rotate_left(29).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ));
    }
    text
}

/// Returns how many messages are in alice's maildrop, each of them read whole; or the first reply that is not good.
fn count(system: &System) -> Result<usize, String> {
    subjects(system).map(|subjects| subjects.len())
}

/// Returns the subjects of the messages in alice's maildrop, each of them read whole; or the first reply that is not good.
fn subjects(system: &System) -> Result<Vec<String>, String> {
    let mut pop3 = Raw::connect(system.ports.pop3);
    let mut stat = String::new();
    for command in
        ["", "USER alice@example.test\r\n", &format!("PASS {}\r\n", puro_e2e::PASSWORD), "STAT\r\n"]
    {
        pop3.send(command);
        stat = pop3.line().ok_or("-ERR closed")?;
        if !stat.starts_with("+OK") {
            return Err(stat);
        }
    }
    let messages: usize = stat.split(' ').nth(1).unwrap().parse().unwrap();
    let read = |number| {
        pop3.command(&format!("RETR {number}"), "+OK");
        let text = String::from_utf8(pop3.multi_line()).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    Ok((1..=messages).map(read).collect())
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

    fn data(&self) -> std::path::PathBuf {
        self.mount.path().join("data")
    }

    fn ballast(&self) -> std::path::PathBuf {
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
    folder: std::path::PathBuf,
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

fn from_address(from: [u8; 4], to: std::net::SocketAddr) -> Raw {
    Raw::connect_from(from.into(), to)
}

fn status_kib(process: &Process, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn memory_kib(system: &mut System) -> u64 {
    system.names().into_iter().map(|name| status_kib(system.process(name), "VmRSS")).sum()
}

fn peak_kib(system: &mut System) -> u64 {
    system.names().into_iter().map(|name| status_kib(system.process(name), "VmHWM")).sum()
}

/// The time-out of a silent client is long (RFC 5321 section 4.5.3.2); a short one set by the operator is kept.
#[test]
fn a_silent_client_is_told_and_closed() {
    let system = System::start_with(Mode::Single, &[("PURO_SMTP_COMMAND_TIMEOUT", "1s")]);
    let mut smtp = system.smtp();
    smtp.send("EHLO c");
    let said = smtp.expect_end();
    assert!(said.last().is_some_and(|line| line.starts_with("421 4.4.2")), "{said:?}");
    let probe = TcpStream::connect_timeout(&system.ports.smtp, Duration::from_secs(5));
    assert!(probe.is_ok());
}
