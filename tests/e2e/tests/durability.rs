//! Power loss: what is acknowledged has been synced, bytes first. The system calls tell, as nothing else does. It is
//! about embedded stores alone: those of AWS sync before they answer, out of sight.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use puro_e2e::{Running, System, Tool, message, on_embedded_stores, wait_until};

on_embedded_stores! {
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
            let bytes = trace.synced_between(system.data().join("blob"), 0, replied);
            trace.synced_between(system.data().join("metadata"), bytes, replied);
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
        trace.synced_between(system.data().join("metadata"), 0, trace.sent(&reply));
    }

    /// An account that the operator was told of is there after a crash.
    fn an_account_is_synced_before_it_is_told(system) {
        let strace = Strace::attach(system);
        system.add_user("carol@example.test");
        let trace = strace.detach();
        trace.synced_between(system.data().join("metadata"), 0, trace.lines.len());
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
        let calls = "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg";
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

    /// Asserts that files below a folder were written between two lines, and each of them synced after its last write
    /// there. Returns the line at which the last of these syncs had ended.
    fn synced_between(&self, folder: PathBuf, after: usize, before: usize) -> usize {
        let below = format!("{}/", fs::canonicalize(folder).unwrap().display());
        let calls = (after..before).filter_map(|at| self.call(at));
        let calls: Vec<Call<'_>> = calls.filter(|call| call.file.starts_with(&below)).collect();
        let mut written = BTreeMap::new();
        for call in calls.iter().filter(|call| call.name.contains("write")) {
            written.insert(call.file, call.ended);
        }
        let synced = |(file, last): (&&str, &usize)| {
            let sync =
                |call: &&Call<'_>| call.name.ends_with("sync") && call.file == *file && call.began > *last;
            let ended = calls.iter().filter(sync).map(|call| call.ended).find(|ended| *ended < before);
            ended.unwrap_or_else(|| {
                let seen = self.lines[after..before].join("\n");
                panic!("{file} is written and not synced before the reply:\n{seen}")
            })
        };
        written.iter().map(synced).max().unwrap_or_else(|| {
            panic!("nothing is written below {below}:\n{}", self.lines[after..before].join("\n"))
        })
    }

    /// Returns the call that begins at a line, if it is one on a file and came back without an error.
    fn call(&self, began: usize) -> Option<Call<'_>> {
        // "1234 fdatasync(5</path>) = 0", or "1234 fdatasync(5</path> <unfinished ...>" and "... resumed>" further on.
        let (thread, call) = self.lines[began].split_once(' ')?;
        let (name, arguments) = call.trim_start().split_once('(')?;
        let file = arguments.split_once('<')?.1.split_once('>')?.0;
        let ended = if call.ends_with("<unfinished ...>") {
            let resumed = format!("<... {name} resumed>");
            (began + 1..self.lines.len()).find(|at| {
                let line = self.lines[*at].split_once(' ');
                line.is_some_and(|(other, line)| other == thread && line.trim_start().starts_with(&resumed))
            })?
        } else {
            began
        };
        let failed = self.lines[ended].contains(" = -1 ");
        (!failed).then_some(Call { name, file, began, ended })
    }
}

/// A system call on a file, and the lines at which it begins and ends.
struct Call<'a> {
    name: &'a str,
    file: &'a str,
    began: usize,
    ended: usize,
}
