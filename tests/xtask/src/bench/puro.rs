//! `puro serve`, release build, on a fresh data folder.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
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
    child: Child,
    ports: Value,
    _folder: TempDir,
}

impl Puro {
    pub(crate) fn start(workspace: &Workspace, users: usize) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("puro-bench").tempdir()?;
        let binary = workspace.target.join("release/puro");
        let ports_file = folder.path().join("ports.json");
        let log = folder.path().join("log");
        let mut serve = Command::new(&binary);
        // Defaults are measured, whatever the environment of this run says.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PURO_") {
                serve.env_remove(variable);
            }
        }
        serve
            .arg("serve")
            .env("PURO_DATA_DIR", folder.path().join("data"))
            .env("PURO_PORTS_FILE", &ports_file);
        for listener in LISTENERS {
            serve.env(listener, "127.0.0.1:0");
        }
        let errors = fs::File::create(&log)?;
        let child = serve
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(errors.try_clone()?)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let mut puro = Self { child, ports: Value::Null, _folder: folder };
        let end = Instant::now() + Duration::from_secs(30);
        puro.ports = loop {
            let file = fs::read_to_string(&ports_file).unwrap_or_default();
            if let Ok(ports) = serde_json::from_str(&file) {
                break ports;
            }
            if Instant::now() > end || puro.child.try_wait()?.is_some() {
                bail!("puro serve did not start:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        puro.accounts(&binary, users)?;
        Ok(puro)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let pop3 = self.port("pop3");
        Endpoint {
            smtp: self.port("smtp"),
            pids: vec![self.child.id()],
            arrival: ["--arrival-pop3".to_owned(), pop3.clone()],
            pop3,
        }
    }

    fn accounts(&self, binary: &std::path::Path, users: usize) -> Result<()> {
        let url = format!("http://{}", self.port("metadata"));
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

    fn port(&self, name: &str) -> String {
        self.ports[name].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Puro {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
