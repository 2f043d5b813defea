//! The harness of the black-box tests: starts PuRo Mail as one process or as four, drives it with real clients, kills
//! and restarts its processes.
//!
//! It knows nothing of the inside: only binaries, settings, ports and the command line of the operator. A missing binary
//! or client is a failure, never a skipped test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness stops the test by panicking"
)]

mod process;
mod raw;
mod system;
mod tools;

pub use process::{OPEN_FILES, Process, wait_until};
pub use raw::{Raw, message, random_octets, random_text};
pub use system::{Mode, PASSWORD, Ports, System};
pub use tools::{Ran, Running, Tool, base64, python};

/// Makes a test of each function for one process (`single::name`) and for four (`four::name`).
#[macro_export]
macro_rules! both_modes {
    ($($(#[$doc:meta])* fn $name:ident($system:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($system: &mut $crate::System) $body)*

        mod single {
            $(#[test] fn $name() { super::$name(&mut $crate::System::start($crate::Mode::Single)); })*
        }

        mod four {
            $(#[test] fn $name() { super::$name(&mut $crate::System::start($crate::Mode::Four)); })*
        }
    };
}
