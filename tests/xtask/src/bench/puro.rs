//! `puro serve`, and its front ends alone, release builds, on a fresh data folder.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DOMAIN, Endpoint, PASSWORD};
use crate::shell::{Workspace, output};

const LISTENERS: &[&str] = &[
    "PURO_SMTP_LISTEN",
    "PURO_SMTP_TLS_LISTEN",
    "PURO_SMTP_SUBMISSION_LISTEN",
    "PURO_POP3_LISTEN",
    "PURO_POP3_TLS_LISTEN",
    "PURO_METADATA_LISTEN",
    "PURO_BLOB_LISTEN",
    "PURO_ADMIN_LISTEN",
];

/// The server, running; stopped when dropped.
pub(crate) struct Puro {
    // Dropped, and so ended, before its folder goes.
    server: Server,
    folder: TempDir,
}

/// A process of the system, told of its bound ports; ended when dropped.
struct Server {
    child: Child,
    ports: Value,
}

impl Puro {
    pub(crate) fn start(workspace: &Workspace, users: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("puro-bench").tempdir()?;
        let binary = workspace.target.join("release/puro");
        let mut serve = Command::new(&binary);
        serve.arg("serve");
        let server = Server::start(serve, "puro", &folder)?;
        let puro = Self { server, folder };
        puro.accounts(&binary, users)?;
        Ok(puro)
    }

    /// Returns the memory that each front end alone takes with no connection, as a process of its own in front of
    /// this server's back ends: `{"puro-smtp": {"pss_bytes": …}, …}`.
    pub(crate) fn front_ends(&self, workspace: &Workspace) -> Result<Value> {
        let mut memory = json!({});
        for name in ["puro-smtp", "puro-pop3"] {
            let mut command = Command::new(workspace.target.join("release").join(name));
            for (variable, port) in [("PURO_METADATA_URL", "metadata"), ("PURO_BLOB_URL", "blob")] {
                command.env(variable, format!("http://{}", self.server.port(port)));
            }
            // It tells its ports when it is ready, in touch with the back ends.
            let server = Server::start(command, name, &self.folder)?;
            memory[name] = json!({ "pss_bytes": pss_bytes(server.child.id())? });
        }
        Ok(memory)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let pop3 = self.server.port("pop3");
        Endpoint {
            smtp: self.server.port("smtp"),
            pids: vec![self.server.child.id()],
            arrival: ["--arrival-pop3".to_owned(), pop3.clone()],
            pop3,
        }
    }

    fn accounts(&self, binary: &std::path::Path, users: usize) -> Result<()> {
        let url = format!("http://{}", self.server.port("metadata"));
        output(Command::new(binary).args(["domain", "add", DOMAIN]).env("PURO_METADATA_URL", &url))?;
        for n in 1..=users {
            let mut add = Command::new(binary)
                .args(["user", "add", &format!("user{n}@{DOMAIN}"), "--password-stdin"])
                .env("PURO_METADATA_URL", &url)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            add.stdin.take().context("no stdin")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
            let added = add.wait_with_output()?;
            if !added.status.success() {
                bail!("puro user add failed: {}", String::from_utf8_lossy(&added.stderr));
            }
        }
        Ok(())
    }
}

impl Server {
    /// Starts a process on free ports and waits until it tells them.
    fn start(mut command: Command, name: &str, folder: &TempDir) -> Result<Self> {
        let ports_file = folder.path().join(format!("{name}.json"));
        let log = folder.path().join(format!("{name}.log"));
        // Defaults are measured, whatever the environment of this run says.
        let given: Vec<_> = command.get_envs().map(|(variable, _)| variable.to_owned()).collect();
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PURO_") && !given.contains(&variable) {
                command.env_remove(variable);
            }
        }
        command.env("PURO_DATA_DIR", folder.path().join("data")).env("PURO_PORTS_FILE", &ports_file);
        for listener in LISTENERS {
            command.env(listener, "127.0.0.1:0");
        }
        let errors = fs::File::create(&log)?;
        let child = command
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, ports: Value::Null };
        let end = Instant::now() + Duration::from_secs(30);
        server.ports = loop {
            let file = fs::read_to_string(&ports_file).unwrap_or_default();
            if let Ok(ports) = serde_json::from_str(&file) {
                break ports;
            }
            if Instant::now() > end || server.child.try_wait()?.is_some() {
                bail!("{name} did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(server)
    }

    fn port(&self, name: &str) -> String {
        self.ports[name].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Returns a process's proportional share of memory in octets, from `/proc`.
fn pss_bytes(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}
