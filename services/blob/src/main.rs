//! `puro-blob`: the blob service as a process of its own.

use std::process::ExitCode;

use puro_serve::{config::Service, process};

fn main() -> ExitCode {
    process::main(Service::Blob, "The blob service of PuRo Mail", puro_blob::build)
}
