//! `puro`: PuRo Mail in one process, and the operator's command line for a running system of one process or many.
//!
//! What it is: a thin main. `puro serve` joins the services, which are libraries; every other command is a gRPC client
//! and talks to whatever `PURO_METADATA_URL` and `PURO_BLOB_URL` name. What it is not: no mail logic lives here, and no
//! command touches a store. Nothing may depend on it.

mod ask;
mod cli;
mod commands;
mod exit;
mod first_start;
mod mbox;
mod output;
mod password;
mod serve;

use std::process::ExitCode;

use clap::Parser;
use puro_serve::{config::Service, process::Flags};

use crate::{
    cli::{Cli, Command, ServeFlags},
    commands::{Request, Session},
    exit::Fault,
};

/// Many small buffers live and die on many threads: glibc's allocator keeps what they leave behind.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let request = match cli.command {
        None => return serve::run(&flags(&cli.global, cli.serve)),
        Some(Command::Serve(flags_behind)) => {
            return serve::run(&flags(&cli.global, cli.serve.and(flags_behind)));
        }
        Some(Command::Operate(request)) => request,
    };
    match operate(&cli.global, &cli.serve, request) {
        Ok(()) => exit::Exit::Done.into(),
        Err(fault) => {
            if !fault.is_silent() {
                output::say(format_args!("puro: {fault}"));
            }
            fault.exit().into()
        }
    }
}

/// Runs one command of the operator.
fn operate(global: &cli::Global, serve: &ServeFlags, request: Request) -> Result<(), Fault> {
    if serve.is_given() {
        let flags = "--check-config, --print-config and --set belong to `puro serve`";
        return Err(Fault::Usage(flags.to_owned()));
    }
    let settings = flags(global, ServeFlags::default()).settings(Service::Puro)?;
    // One call after the other: one thread is enough, and starts faster.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Fault::System)?;
    runtime.block_on(async {
        let session = Session::new(global, &settings);
        Box::pin(commands::run(&session, request)).await
    })
}

fn flags(global: &cli::Global, serve: ServeFlags) -> Flags {
    Flags {
        config: global.config.clone(),
        check_config: serve.check_config,
        print_config: serve.print_config,
        overrides: serve.overrides,
    }
}
