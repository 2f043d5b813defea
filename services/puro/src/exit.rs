//! How a command ends: its line for people and its code for scripts, in one table.

use std::{fmt, io, path::PathBuf, process::ExitCode};

use puro_api::Failure;
use puro_serve::config::Faults;

/// The exit codes that scripts know (64 and 69 as in sysexits(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Refused or failed.
    Failed = 1,
    /// The command line makes no sense. clap ends with the same.
    Usage = 2,
    /// The settings are not right.
    Settings = 64,
    /// A service cannot be reached, or cannot answer now.
    Unreachable = 69,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A service and where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `metadata` or `blob`: also the name of the flag.
    pub(crate) name: &'static str,
    /// The variable that names another place.
    pub(crate) variable: &'static str,
    /// The URL.
    pub(crate) url: String,
}

/// Why a command was not done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// What was typed makes no sense.
    Usage(String),
    /// The settings are not right.
    Settings(Faults),
    /// A file that stands in the place of settings is not right.
    Setting(String),
    /// A call failed.
    Call(Place, Failure),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// Standard input or output failed.
    Stream(&'static str, io::Error),
    /// The operating system refused something that every program needs.
    System(io::Error),
    /// Refused on this side, or found wanting; the text says what and what to do.
    Refused(String),
    /// As the last, because of a service that cannot be reached. What is wrong was printed before.
    Unreachable(String),
}

impl Fault {
    /// The table of exit codes.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Settings(_) | Self::Setting(_) => Exit::Settings,
            Self::Call(_, Failure::Unavailable(_)) | Self::Unreachable(_) => Exit::Unreachable,
            // Whoever read our output has seen enough, as in `puro user list | head`.
            Self::Stream(_, error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Call(..) | Self::File(..) | Self::Stream(..) | Self::System(_) | Self::Refused(_) => {
                Exit::Failed
            }
        }
    }

    /// Says whether there is nothing to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit() == Exit::Done
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(faults) => fmt::Display::fmt(faults, f),
            Self::Usage(text) | Self::Setting(text) | Self::Refused(text) | Self::Unreachable(text) => {
                f.write_str(text)
            }
            Self::Call(place, failure) => call(place, failure, f),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Stream(name, error) => write!(f, "{name}: {error}"),
            Self::System(error) => write!(f, "the system refused: {error}"),
        }
    }
}

fn call(place: &Place, failure: &Failure, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Place { name, variable, url } = place;
    match failure {
        Failure::Unavailable(why) => write!(
            f,
            "the {name} service at {url} is not available: {why}\n      \
             Is it running (`puro serve`)? --{name} or {variable} names another place."
        ),
        Failure::OutcomeUnknown(why) => {
            write!(
                f,
                "no answer came, it may or may not be done: {why}\n      Look whether it is, and repeat."
            )
        }
        Failure::Exhausted(why) => write!(f, "the {name} service is too busy: {why}\n      Try again later."),
        Failure::DataLoss(why) => write!(f, "stored data is damaged or lost: {why}"),
        Failure::Internal(why) => {
            write!(f, "the {name} service at {url} has a fault: {why}\n      Its log tells more.")
        }
        // The service said what there is to say.
        failure => fmt::Display::fmt(failure, f),
    }
}

impl From<Faults> for Fault {
    fn from(faults: Faults) -> Self {
        Self::Settings(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { name: "metadata", variable: "PURO_METADATA_URL", url: "http://h:1".into() }
    }

    #[test]
    fn codes_by_table() {
        let call = |failure| Fault::Call(place(), failure);
        for (fault, code) in [
            (Fault::Usage("x".into()), 2),
            (Fault::Settings(Faults(vec!["x".into()])), 64),
            (Fault::Setting("x".into()), 64),
            (call(Failure::Unavailable("x".into())), 69),
            (call(Failure::NotFound("x".into())), 1),
            (call(Failure::AlreadyExists("x".into())), 1),
            (call(Failure::OutcomeUnknown("x".into())), 1),
            (call(Failure::Internal("x".into())), 1),
            (Fault::Unreachable("x".into()), 69),
            (Fault::Refused("x".into()), 1),
            (Fault::Stream("out", io::ErrorKind::StorageFull.into()), 1),
            (Fault::Stream("out", io::ErrorKind::BrokenPipe.into()), 0),
        ] {
            assert_eq!(fault.exit() as u8, code, "{fault:?}");
        }
    }

    #[test]
    fn an_unreachable_service_says_where_and_what_to_do() {
        let text = Fault::Call(place(), Failure::Unavailable("connection refused".into())).to_string();
        for word in ["http://h:1", "connection refused", "puro serve", "--metadata", "PURO_METADATA_URL"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }
}
