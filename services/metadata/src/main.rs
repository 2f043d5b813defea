//! `puro-metadata`: the metadata service as a process of its own.

use std::process::ExitCode;

use puro_serve::{config::Service, process};

fn main() -> ExitCode {
    process::main(Service::Metadata, "The metadata service of PuRo Mail", puro_metadata::build)
}
