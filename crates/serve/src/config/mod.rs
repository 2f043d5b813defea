//! Settings: defaults, then the TOML file, then the environment, then flags; all faults are reported at once.
//!
//! `settings.rs` holds the one table of keys. To add a setting, add a line there and run the tests with
//! `PURO_TEST_WRITE=1` to write the example file anew.

mod example;
mod load;
mod section;
mod settings;
mod value;

#[cfg(test)]
mod tests;

pub use example::{example, print};
pub use load::{Faults, Sources};
pub use puro_session::PlaintextAuth;
pub use section::Key;
pub use settings::{
    Admin, Blob, Drain, Dynamodb, General, Log, Metadata, Pop3, S3, Settings, Smtp, TlsFiles,
};
pub use value::{BareLineEnds, BlobStore, Listen, LogFormat, MetadataStore, Raw, Setting};

/// Which program is running: some defaults depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `puro serve`: all in one process.
    Puro,
    /// `puro-smtp`
    Smtp,
    /// `puro-pop3`
    Pop3,
    /// `puro-metadata`
    Metadata,
    /// `puro-blob`
    Blob,
}

impl Service {
    /// The binary's name.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::Puro => "puro",
            Self::Smtp => "puro-smtp",
            Self::Pop3 => "puro-pop3",
            Self::Metadata => "puro-metadata",
            Self::Blob => "puro-blob",
        }
    }

    /// The default port for health and metrics.
    const fn admin_port(self) -> u16 {
        match self {
            Self::Puro | Self::Smtp => 12600,
            Self::Pop3 => 12601,
            Self::Metadata => 12602,
            Self::Blob => 12603,
        }
    }
}
