//! The servers that stand in for AWS in tests: DynamoDB Local and Ceph's RGW, started once for all tests.
//!
//! Their data is in a temporary folder, gone with them. RGW listens on the loopback address alone; DynamoDB Local knows
//! no such setting and listens on all addresses, so a machine in an open network needs a firewall before it.

mod dynamodb;
mod install;
mod rgw;
mod server;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use puro_stand_ins::{ACCESS_KEY_ID, DYNAMODB_VARIABLE, REGION, S3_VARIABLE, SECRET_ACCESS_KEY};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

use self::dynamodb::DynamoDbLocal;
use self::rgw::Rgw;
use crate::shell::Workspace;
use crate::steps::Steps;

pub(crate) use self::install::{install, missing_packages};

/// The servers while tests run. They end when this is dropped, when this process gets a signal that ends it, and when it is
/// killed.
pub(crate) struct StandIns {
    servers: Arc<Mutex<Option<Servers>>>,
    environment: Vec<(&'static str, String)>,
}

/// Dropped in this order: the servers, then what they have written.
struct Servers {
    dynamodb: DynamoDbLocal,
    rgw: Rgw,
    _folder: TempDir,
}

impl StandIns {
    /// Installs what is missing and starts both servers; returns when both answer. Where a developer has them running
    /// already (`cargo xtask stand-ins`, and its variables set) those are used.
    pub(crate) fn start(workspace: &Workspace, steps: &mut Steps) -> Result<Self> {
        if let (Ok(dynamodb), Ok(s3)) = (std::env::var(DYNAMODB_VARIABLE), std::env::var(S3_VARIABLE)) {
            eprintln!("   the servers which {DYNAMODB_VARIABLE} and {S3_VARIABLE} tell are used");
            return Ok(Self { servers: Arc::default(), environment: environment(dynamodb, s3) });
        }
        let jar = install(workspace, steps)?;
        steps.run("DynamoDB Local and Ceph RGW", || Self::start_both(&jar))
    }

    fn start_both(jar: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("puro-stand-ins-").tempdir()?;
        let mut dynamodb = DynamoDbLocal::start(jar, folder.path())?;
        let rgw = Rgw::start(folder.path())?;
        dynamodb.wait_until_ready()?;
        let environment = environment(dynamodb.endpoint(), rgw.endpoint());
        let servers = Servers { dynamodb, rgw, _folder: folder };
        Ok(Self { servers: Arc::new(Mutex::new(Some(servers))), environment })
    }

    /// Tells a command where the servers are.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
    }

    /// Fails when a server has ended while it was needed: what failed without it says nothing.
    pub(crate) fn check(&self) -> Result<()> {
        match &mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(servers) => servers.dynamodb.check().and_then(|()| servers.rgw.check()),
            None => Ok(()),
        }
    }

    /// Ends servers and process when a signal comes that would end the process and leave the servers.
    pub(crate) fn end_by_signal(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
        let servers = self.servers.clone();
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                drop(servers.lock().unwrap_or_else(PoisonError::into_inner).take());
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }
}

impl Drop for StandIns {
    fn drop(&mut self) {
        // The thread that waits for a signal has its share of them for ever.
        drop(self.servers.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// `cargo xtask stand-ins`: the servers in the foreground, until a signal comes.
pub(crate) fn serve(workspace: &Workspace, steps: &mut Steps) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot wait for signals")?;
    let stand_ins = StandIns::start(workspace, steps)?;
    if stand_ins.servers.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        bail!("there are servers already, as the environment tells");
    }
    let lines: String =
        stand_ins.environment.iter().map(|(name, value)| format!("export {name}={value}\n")).collect();
    let file = workspace.target.join("stand-ins.env");
    fs::create_dir_all(&workspace.target)?;
    fs::write(&file, &lines).with_context(|| file.display().to_string())?;
    println!("{lines}");
    eprintln!(
        "In another terminal: source {} && cargo nextest run …\nCtrl-C ends the servers.",
        file.display()
    );
    let mut alive = Ok(());
    while alive.is_ok() && signals.pending().next().is_none() {
        std::thread::sleep(Duration::from_millis(200));
        alive = stand_ins.check();
    }
    drop(stand_ins);
    let _ = fs::remove_file(file);
    alive
}

/// Where the servers are, and the account, for tests and for whoever wants a look with an AWS client.
fn environment(dynamodb: String, s3: String) -> Vec<(&'static str, String)> {
    vec![
        (DYNAMODB_VARIABLE, dynamodb),
        (S3_VARIABLE, s3),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// Returns a port that nobody has. Neither server tells which one it got when asked for any, so it is one from below those
/// that the system hands out (ip(7), ip_local_port_range): nobody else is given it before the server has it.
fn free_port() -> Result<u16> {
    const RANGE: std::ops::Range<u32> = 20_000..32_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Another checkout may look for ports at the same moment.
    let first = std::process::id().wrapping_mul(101);
    for _ in RANGE {
        let step = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(RANGE.start + step % (RANGE.end - RANGE.start))?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free from {} to {}", RANGE.start, RANGE.end)
}
