//! The harness of the black-box tests: starts PuRo Mail as one process or as four, on embedded stores or on the servers
//! that stand in for AWS, drives it with real clients, kills and restarts its processes, and makes its stores fail.
//!
//! It knows nothing of the inside: only binaries, settings, ports and the command line of the operator. A missing binary,
//! client or server is a failure, never a skipped test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness stops the test by panicking"
)]

mod drill;
mod maildrop;
mod process;
mod raw;
mod stores;
mod system;
mod tools;

pub use drill::{Drill, Watch};
pub use process::{OPEN_FILES, Process, wait_until};
pub use raw::{Raw, message, random_octets, random_text};
pub use stores::Stores;
pub use system::{Mode, PASSWORD, Ports, System};
pub use tools::{Ran, Running, Tool, base64, python};

/// Makes four tests of each function: for one process and for four, on embedded stores and on those of AWS. They are
/// called `single::name`, `four::name`, `single_on_aws::name` and `four_on_aws::name`.
#[macro_export]
macro_rules! everywhere {
    ($($(#[$doc:meta])* fn $name:ident($system:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($system: &mut $crate::System) $body)*

        $crate::tests_of!(single, Single, Embedded, $($name)*);
        $crate::tests_of!(four, Four, Embedded, $($name)*);
        $crate::tests_of!(single_on_aws, Single, Aws, $($name)*);
        $crate::tests_of!(four_on_aws, Four, Aws, $($name)*);
    };
}

/// Makes two tests of each function, for one process and for four, on embedded stores alone: for what says nothing about
/// other stores.
#[macro_export]
macro_rules! on_embedded_stores {
    ($($(#[$doc:meta])* fn $name:ident($system:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($system: &mut $crate::System) $body)*

        $crate::tests_of!(single, Single, Embedded, $($name)*);
        $crate::tests_of!(four, Four, Embedded, $($name)*);
    };
}

/// Makes a module of tests, each of which starts a system of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of {
    ($module:ident, $mode:ident, $stores:ident, $($name:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    let (mode, stores) = ($crate::Mode::$mode, $crate::Stores::$stores);
                    super::$name(&mut $crate::System::start_on(mode, stores, &[]));
                }
            )*
        }
    };
}
