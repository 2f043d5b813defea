//! `puro-load`: load on a mail server, every message accounted for, the result as JSON on stdout.

mod args;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use puro_load::deliver::Delivery;
use puro_load::fetch::{Fetch, Visit};
use puro_load::ledger::Ledger;
use puro_load::process::{ServerUse, snapshot};
use puro_load::report::Report;
use puro_load::{deliver, fetch, idle, verify};
use serde_json::json;

use crate::args::{Args, Command, DeliverArgs, IdleArgs, MixedArgs, Pop3Args, VerifyArgs};

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Smtp(args) => smtp(args).await,
        Command::Pop3(args) => pop3(args).await,
        Command::Mixed(args) => mixed(args).await,
        Command::Idle(args) => hold(args).await,
        Command::Verify(args) => check(args).await,
    };
    match outcome {
        Ok((json, good)) => {
            println!("{json:#}");
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("puro-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The result, and whether all was well.
type Outcome = Result<(serde_json::Value, bool)>;

async fn smtp(args: DeliverArgs) -> Outcome {
    let report = run_delivery(&args).await?;
    let good = report.errors.is_empty();
    Ok((serde_json::to_value(report)?, good))
}

async fn run_delivery(args: &DeliverArgs) -> Result<Report> {
    let ledger = args.ledger.as_deref().map(Ledger::append).transpose()?;
    let arrivals = args.arrivals()?;
    let already = match &arrivals {
        Some(arrivals) => arrivals.count().await?,
        None => 0,
    };
    let before = snapshot(&args.place.server.pid);
    let start = std::time::Instant::now();
    let (tally, mut time) = deliver::run(Delivery::try_from(args)?, ledger).await?;
    if let Some(arrivals) = arrivals {
        arrivals.wait_for(already + tally.done, Duration::from_secs(30)).await?;
        time = start.elapsed();
    }
    let mut report = tally.report("smtp", time);
    report.server = measured(&args.place.server.pid, before, tally.done);
    Ok(report)
}

async fn pop3(args: Pop3Args) -> Outcome {
    let before = snapshot(&args.place.server.pid);
    let fetch = Fetch::try_from(&args)?;
    let name = if fetch.visit == Visit::Poll { "poll" } else { "retrieve" };
    let (tally, time) = fetch::run(fetch).await?;
    let mut report = tally.report(name, time);
    report.server = measured(&args.place.server.pid, before, tally.done);
    let good = report.errors.is_empty() && report.integrity.corrupted + report.integrity.duplicated == 0;
    Ok((serde_json::to_value(report)?, good))
}

async fn mixed(args: MixedArgs) -> Outcome {
    let before = snapshot(&args.deliver.place.server.pid);
    let ledger = args.deliver.ledger.as_deref().map(Ledger::append).transpose()?;
    let (delivered, retrieved, polled) = tokio::try_join!(
        deliver::run(Delivery::try_from(&args.deliver)?, ledger),
        fetch::run(args.fetch(Visit::RetrieveAndDelete, args.retrieve_connections)?),
        fetch::run(args.fetch(Visit::Poll, args.poll_connections)?),
    )?;
    let reports = [
        delivered.0.report("smtp", delivered.1),
        retrieved.0.report("retrieve", retrieved.1),
        polled.0.report("poll", polled.1),
    ];
    let good = reports.iter().all(|report| report.errors.is_empty() && report.integrity.corrupted == 0);
    let server = measured(&args.deliver.place.server.pid, before, delivered.0.done);
    Ok((json!({ "scenario": "mixed", "runs": reports, "server": server }), good))
}

async fn hold(args: IdleArgs) -> Outcome {
    let users = args.place.users.list()?;
    let target = args.place.server.target();
    let settle = Duration::from_secs(args.seconds);
    let base = args.base.min(args.connections);
    let none = snapshot(&args.place.server.pid);
    let mut first = idle::open(&target, &users, base).await;
    if base > 0 {
        tokio::time::sleep(settle).await;
    }
    let before = snapshot(&args.place.server.pid);
    let mut rest = idle::open(&target, &users, args.connections - base).await;
    tokio::time::sleep(settle).await;
    let after = snapshot(&args.place.server.pid);
    let opened = first.len() + rest.len();
    let alive = first.alive().await + rest.alive().await;
    let per_connection = |before: u64, after: u64| after.saturating_sub(before) / rest.len().max(1) as u64;
    first.tally.add(&rest.tally);
    let json = json!({
        "scenario": "idle", "opened": opened, "alive": alive, "errors": first.tally.errors,
        "rss_bytes_per_connection": per_connection(before.rss_bytes, after.rss_bytes),
        "pss_bytes_per_connection": per_connection(before.pss_bytes, after.pss_bytes),
        "without": none, "before": before, "after": after,
    });
    first.quit().await;
    rest.quit().await;
    Ok((json, opened == args.connections && alive == opened))
}

async fn check(args: VerifyArgs) -> Outcome {
    let verdict = verify::run(&args.place.server.target(), &args.place.users.list()?, &args.ledger).await?;
    let good = verdict.is_clean();
    Ok((serde_json::to_value(verdict)?, good))
}

fn measured(pids: &[u32], before: puro_load::process::Snapshot, done: u64) -> Option<ServerUse> {
    (!pids.is_empty()).then(|| ServerUse::between(before, snapshot(pids), done))
}
