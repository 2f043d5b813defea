//! The operator's own files of prices and profiles.

use std::{fs, path::Path};

use serde::de::DeserializeOwned;

use crate::exit::Fault;

/// Reads a file whole.
///
/// # Errors
/// [`Fault::Setting`], which names the file.
pub(super) fn read(path: &Path) -> Result<String, Fault> {
    fs::read_to_string(path).map_err(|error| Fault::Setting(format!("{}: {error}", path.display())))
}

/// Parses TOML that came from `place`.
///
/// # Errors
/// [`Fault::Setting`], which names the place and what is wrong there.
pub(super) fn parse<T: DeserializeOwned>(text: &str, place: &str) -> Result<T, Fault> {
    toml::from_str(text).map_err(|error| Fault::Setting(format!("{place}: {}", error.to_string().trim_end())))
}
