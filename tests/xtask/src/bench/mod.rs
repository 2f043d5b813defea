//! `cargo xtask bench`: PuRo and, in the same run, Postfix with Dovecot, with equal durability.
//!
//! A message counts when it can be fetched. Both sides have the same accounts, get the same messages over
//! the same number of connections, and are read by the same client; every message is checked.

mod load;
mod peer;
mod puro;
mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::shell::{Workspace, run};
use crate::steps::Steps;
use crate::tools;

use self::load::Load;

/// The accounts' domain, on both sides.
const DOMAIN: &str = "bench.localhost";
/// The accounts' password, on both sides: nothing but loopback ever sees it.
const PASSWORD: &str = "benchmark";
/// Octets of a message in each delivery run.
const SIZES: [usize; 3] = [4 * 1024, 64 * 1024, 500_000];
/// Messages in each maildrop when retrievals are measured.
const PREFILLED: usize = 20;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct BenchArgs {
    /// Shorter runs: rougher numbers.
    #[arg(long)]
    quick: bool,
    /// Only this side.
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Accounts.
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Sessions held for the memory of an idle connection.
    #[arg(long, default_value_t = 800)]
    idle: usize,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    Puro,
    Peer,
}

/// A server under test, and where to reach it.
pub(crate) struct Endpoint {
    pub(crate) smtp: String,
    pub(crate) pop3: String,
    /// Roots of the trees of processes whose CPU and memory count.
    pub(crate) pids: Vec<u32>,
    /// How `puro-load` sees that a message has arrived.
    pub(crate) arrival: [String; 2],
}

pub(crate) fn bench(workspace: &Workspace, steps: &mut Steps, args: &BenchArgs) -> Result<()> {
    let (puro_wanted, peer_wanted) = (args.only != Some(Side::Peer), args.only != Some(Side::Puro));
    if peer_wanted {
        tools::install_bench_tools(steps)?;
    }
    steps.run("release build", || {
        let mut packages = vec!["build", "--release", "-p", "puro-load"];
        if puro_wanted {
            packages.extend(["-p", "puro", "-p", "puro-smtp", "-p", "puro-pop3"]);
        }
        run(&mut workspace.cargo(packages))
    })?;
    let load = Load::new(workspace, args);
    let mut results = json!({ "machine": machine(), "settings": settings(args) });
    if peer_wanted {
        results["peer"] = measure_peer(&load, steps)?;
    }
    if puro_wanted {
        results["puro"] = steps.run("PuRo", || {
            let server = puro::Puro::start(workspace, args.users)?;
            let mut results = measure(&load, &server.endpoint())?;
            results["front_ends"] = server.front_ends(workspace)?;
            Ok(results)
        })?;
    }
    table::print(&results);
    if let Some(file) = &args.json {
        fs::write(file, format!("{results:#}\n")).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn measure_peer(load: &Load<'_>, steps: &mut Steps) -> Result<Value> {
    let mut results = json!({});
    for (name, logins) in
        [("as_installed", peer::Logins::AsInstalled), ("high_performance", peer::Logins::HighPerformance)]
    {
        results[name] = steps.run(&format!("Postfix and Dovecot ({name})"), || {
            let server = peer::Peer::start(load.args.users, logins)?;
            let endpoint = server.endpoint();
            // How Dovecot logs users in does not touch delivery: measured once.
            if logins == peer::Logins::AsInstalled {
                measure(load, &endpoint)
            } else {
                fetching(load, &endpoint)
            }
        })?;
    }
    Ok(results)
}

/// Everything: memory first, while the server is fresh.
fn measure(load: &Load<'_>, server: &Endpoint) -> Result<Value> {
    let mut results = json!({ "idle": load.idle(server)? });
    for size in SIZES {
        results[format!("deliver_{size}")] = load.deliver(server, size)?;
    }
    merge(&mut results, read_side(load, server)?);
    Ok(results)
}

/// What depends on how logins are served.
fn fetching(load: &Load<'_>, server: &Endpoint) -> Result<Value> {
    let mut results = json!({ "idle": load.idle(server)? });
    merge(&mut results, read_side(load, server)?);
    Ok(results)
}

fn read_side(load: &Load<'_>, server: &Endpoint) -> Result<Value> {
    load.fill(server, load.args.users * PREFILLED)?;
    // Once for nothing: Maildir moves new messages and writes its index when they are first listed.
    load.warm_up(server)?;
    Ok(json!({ "retrieve": load.pop3(server, "retrieve")?, "poll": load.pop3(server, "poll")? }))
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

fn settings(args: &BenchArgs) -> Value {
    json!({
        "users": args.users, "connections": args.connections, "quick": args.quick,
        "messages_in_a_maildrop": PREFILLED,
        "peer_passwords": "{PLAIN} in a passwd-file: the cheapest there is",
        "peer_fsync": "Postfix as it is; Dovecot mail_fsync=optimized (its default), Maildir",
    })
}

fn machine() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": model.map_or("unknown", |(_, name)| name),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load_average_before": load.split(' ').next().unwrap_or_default(),
    })
}
