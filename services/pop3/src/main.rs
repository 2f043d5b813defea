//! `puro-pop3`: the POP3 front end as a process of its own.

use std::process::ExitCode;

use puro_serve::{config::Service, process};

fn main() -> ExitCode {
    process::main(Service::Pop3, "The POP3 front end of PuRo Mail", puro_pop3::build)
}
