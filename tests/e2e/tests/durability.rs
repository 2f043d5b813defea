//! Power loss: what is acknowledged has been synced, bytes first. The system calls tell, as nothing else does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{fs, path::PathBuf};

use puro_e2e::{Running, System, Tool, both_modes, message, wait_until};

both_modes! {
    /// The 250 to the dot comes after a sync of the bytes, and that before a sync of the metadata which name them.
    fn a_delivery_is_synced_before_its_250(system) {
        // A message that shares a segment with others, and one that is streamed into its own.
        for octets in [100, 3_000_000] {
            let mut smtp = system.smtp();
            smtp.command("EHLO client.example.net", "250");
            let body = format!("{}\r\n", "d".repeat(78)).repeat(octets / 80 + 1);
            let strace = Strace::attach(system);
            let reply = smtp.send_message("<a@example.net>", &["alice@example.test"], &message("synced", &body));
            assert!(reply.starts_with("250 2."), "{reply}");
            let trace = strace.detach();
            let replied = trace.sent(&reply);
            let blob = trace.sync_between(system.data().join("blob"), 0, replied);
            trace.sync_between(system.data().join("metadata"), blob, replied);
        }
    }

    /// RFC 1939 section 6: +OK to QUIT says that the marked messages are gone; a crash does not bring them back.
    fn a_removal_is_synced_before_its_ok(system) {
        system.deliver("alice@example.test", &message("one", "x\r\n"));
        let mut pop3 = system.pop3_as("alice");
        pop3.command("DELE 1", "+OK");
        let strace = Strace::attach(system);
        let reply = pop3.command("QUIT", "+OK");
        let trace = strace.detach();
        trace.sync_between(system.data().join("metadata"), 0, trace.sent(&reply));
    }

    /// An account that the operator was told of is there after a crash.
    fn an_account_is_synced_before_it_is_told(system) {
        let strace = Strace::attach(system);
        system.add_user("carol@example.test");
        let trace = strace.detach();
        trace.sync_between(system.data().join("metadata"), 0, trace.lines.len());
    }
}

/// A running strace of all processes of the system.
struct Strace {
    running: Running,
    file: PathBuf,
}

impl Strace {
    fn attach(system: &mut System) -> Self {
        let file = system.folder().join("strace.txt");
        let said = system.folder().join("strace.out");
        let pids: Vec<String> =
            system.names().into_iter().map(|name| system.process(name).pid().to_string()).collect();
        let calls = "trace=fsync,fdatasync,write,writev,sendto,sendmsg";
        let running = Tool::new("strace")
            .args(["-f", "-y", "-s", "200", "-e", calls, "-o"])
            .args([&file])
            .args(pids.iter().flat_map(|pid| ["-p", pid]))
            .start(&said);
        wait_until("strace is attached", || {
            let said = fs::read_to_string(&said).unwrap_or_default();
            assert!(!said.contains("ptrace("), "tracing needs root, or kernel.yama.ptrace_scope=0: {said}");
            pids.iter().all(|pid| said.contains(&format!("Process {pid} attached"))).then_some(())
        });
        Self { running, file }
    }

    fn detach(self) -> Trace {
        self.running.stop();
        let text = fs::read_to_string(&self.file).unwrap();
        Trace { lines: text.lines().map(str::to_owned).collect() }
    }
}

/// What the threads of all processes did, in the order in which it was seen.
struct Trace {
    lines: Vec<String>,
}

impl Trace {
    /// Returns the line at which a reply began to be written to a connection.
    fn sent(&self, reply: &str) -> usize {
        let octets = format!("\"{reply}\\r\\n");
        self.lines.iter().position(|line| line.contains(&octets)).unwrap_or_else(|| {
            panic!("{reply:?} is written by no traced process:\n{}", self.lines.join("\n"))
        })
    }

    /// Returns the line at which the first sync below a folder ended that both began and ended between two lines.
    fn sync_between(&self, folder: PathBuf, after: usize, before: usize) -> usize {
        let folder = fs::canonicalize(folder).unwrap();
        let below = format!("<{}/", folder.display());
        (after..before)
            .filter(|began| self.lines[*began].contains("sync(") && self.lines[*began].contains(&below))
            .filter_map(|began| self.success(began))
            .find(|ended| *ended < before)
            .unwrap_or_else(|| {
                let seen = self.lines.join("\n");
                panic!("no sync below {} between lines {after} and {before}:\n{seen}", folder.display())
            })
    }

    /// Returns the line at which a call that began at a line came back without an error.
    fn success(&self, began: usize) -> Option<usize> {
        let first = &self.lines[began];
        if !first.ends_with("<unfinished ...>") {
            return first.ends_with("= 0").then_some(began);
        }
        let thread = first.split(' ').next()?;
        let ended = (began + 1..self.lines.len()).find(|at| {
            self.lines[*at].split(' ').next() == Some(thread) && self.lines[*at].contains("sync resumed>")
        })?;
        self.lines[ended].ends_with("= 0").then_some(ended)
    }
}
