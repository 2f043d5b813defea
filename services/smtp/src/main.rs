//! `puro-smtp`: the SMTP front end as a process of its own.

use std::process::ExitCode;

use puro_serve::{config::Service, process};

fn main() -> ExitCode {
    process::main(Service::Smtp, "The SMTP front end of PuRo Mail", puro_smtp::build)
}
