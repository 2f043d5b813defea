//! Runs `puro-load` against one side and reads what it reports.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{BenchArgs, DOMAIN, Endpoint, PASSWORD};
use crate::shell::Workspace;

/// The load tool and how long to run it.
pub(crate) struct Load<'a> {
    workspace: &'a Workspace,
    pub(crate) args: &'a BenchArgs,
    seconds: &'static str,
}

impl<'a> Load<'a> {
    pub(crate) fn new(workspace: &'a Workspace, args: &'a BenchArgs) -> Self {
        Self { workspace, args, seconds: if args.quick { "4" } else { "15" } }
    }

    /// Delivers for a while, then checks every message and empties the maildrops.
    pub(crate) fn deliver(&self, server: &Endpoint, octets: usize) -> Result<Value> {
        let folder = tempfile::tempdir()?;
        let ledger = folder.path().join("ledger");
        let mut command = self.smtp(server, octets);
        command.args(["--seconds", self.seconds, "--ledger"]).arg(&ledger);
        let mut result = json(&mut command)?;
        let mut verify = self.command("verify", &server.pop3, &[]);
        result["verified"] = json(verify.arg("--ledger").arg(&ledger))?;
        self.empty(server)?;
        eprintln!("   {octets} octets: {:.0} delivered/s", result["per_second"].as_f64().unwrap_or(0.0));
        Ok(result)
    }

    /// Delivers small messages, in turn to each account.
    pub(crate) fn fill(&self, server: &Endpoint, messages: usize) -> Result<()> {
        json(self.smtp(server, 4096).args(["--messages", &messages.to_string()])).map(|_| ())
    }

    /// Fetches each maildrop once.
    pub(crate) fn warm_up(&self, server: &Endpoint) -> Result<()> {
        json(&mut self.command("pop3", &server.pop3, &[])).map(|_| ())
    }

    /// Retrieves or polls for a while.
    pub(crate) fn pop3(&self, server: &Endpoint, visit: &str) -> Result<Value> {
        let mut command = self.command("pop3", &server.pop3, &server.pids);
        let connections = self.args.connections.to_string();
        command.args(["--visit", visit, "--connections", &connections, "--seconds", self.seconds]);
        let result = json(&mut command)?;
        eprintln!("   {visit}: {:.0}/s", result["per_second"].as_f64().unwrap_or(0.0));
        Ok(result)
    }

    /// Holds sessions which are logged in, and measures memory.
    pub(crate) fn idle(&self, server: &Endpoint) -> Result<Value> {
        // The first login of an account checks its password, which takes memory that no later session needs: polls
        // go on until allocators have given it back.
        json(self.command("pop3", &server.pop3, &[]).args(["--visit", "poll", "--seconds", "5"]))?;
        let mut command = self.command("idle", &server.pop3, &server.pids);
        let (base, all) = (self.args.idle / 8, self.args.idle);
        command.args(["--base", &base.to_string(), "--connections", &all.to_string(), "--seconds", "5"]);
        let result = json(&mut command)?;
        let octets = result["pss_bytes_per_connection"].as_u64().unwrap_or(0);
        eprintln!("   idle: {} KiB a connection", octets / 1024);
        Ok(result)
    }

    fn empty(&self, server: &Endpoint) -> Result<()> {
        json(self.command("pop3", &server.pop3, &[]).arg("--delete")).map(|_| ())
    }

    fn smtp(&self, server: &Endpoint, octets: usize) -> Command {
        let mut command = self.command("smtp", &server.smtp, &server.pids);
        command.args(["--size", &octets.to_string(), "--connections", &self.args.connections.to_string()]);
        command.args(&server.arrival);
        command
    }

    fn command(&self, what: &str, address: &str, pids: &[u32]) -> Command {
        let mut command = self.workspace.command(self.workspace.target.join("release/puro-load"));
        command.args([what, "--address", address, "--users", &self.args.users.to_string()]);
        command.args(["--domain", DOMAIN]).env("PURO_LOAD_PASSWORD", PASSWORD);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        command
    }
}

/// Runs and reads the report. One that is not all well is shown, and is an error: numbers of a run with
/// failures compare with nothing.
fn json(command: &mut Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output().context("cannot run puro-load")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("the load tool reports failures:\n{text}");
    }
    serde_json::from_str(&text).context("the load tool's report cannot be read")
}
