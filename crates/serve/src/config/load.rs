//! Reading the sources and collecting every fault.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::{Table, Value};

use super::{
    Service, Settings,
    section::Section,
    value::{Listen, Raw},
};

/// Variables that begin with `PURO_` and are not settings.
const OTHER_VARIABLES: [&str; 2] = ["PURO_CONFIG", crate::process::PORTS_FILE];

/// Variables of tests and benchmarks.
const TEST_PREFIX: &str = "PURO_TEST_";

/// Where settings come from, besides the defaults.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; where none is given, `PURO_CONFIG` may name one.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// `section.key=value`, from flags.
    pub overrides: Vec<String>,
}

impl Sources {
    /// The process's environment, and nothing else. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn environment() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { environment: std::env::vars_os().filter_map(text).collect(), ..Self::default() }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings are not right:")?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Settings {
    /// The defaults of a service.
    #[must_use]
    pub fn defaults(service: Service) -> Self {
        let mut settings = Self::default();
        settings.admin.listen = Listen::loopback(service.admin_port());
        settings.general.hostname = system_hostname();
        settings
    }

    /// Reads the settings of a service: defaults, file, environment, overrides.
    ///
    /// # Errors
    /// Every fault of every source.
    pub fn load(service: Service, sources: &Sources) -> Result<Self, Faults> {
        let mut settings = Self::defaults(service);
        let mut faults = Vec::new();
        settings.read_file(sources, &mut faults);
        settings.read_environment(&sources.environment, &mut faults);
        settings.read_overrides(&sources.overrides, &mut faults);
        if settings.general.hostname.is_empty() {
            settings.general.hostname = system_hostname();
        }
        faults.extend(settings.faults().into_iter().map(|(path, why)| format!("{path}: {why}")));
        if faults.is_empty() { Ok(settings) } else { Err(Faults(faults)) }
    }

    fn read_file(&mut self, sources: &Sources, faults: &mut Vec<String>) {
        let named = sources.environment.get("PURO_CONFIG").filter(|path| !path.is_empty());
        let Some(path) = sources.file.clone().or_else(|| named.map(PathBuf::from)) else { return };
        let origin = path.display();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return faults.push(format!("{origin}: {error}")),
        };
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return faults.push(format!("{origin}: {}", error.to_string().trim_end())),
        };
        let mut fault = |path: &str, why: &str| faults.push(format!("{origin}: {path}: {why}"));
        for (name, value) in &table {
            match value {
                Value::Table(section) => match self.section(name) {
                    Some(target) => read_section(target, section, &mut fault),
                    None => fault(&format!("[{name}]"), "there is no such section"),
                },
                value => match self.section("") {
                    Some(top) if top.keys().iter().any(|key| key.name == name) => {
                        top.set(name, Raw::Toml(value)).unwrap_or_else(|why| fault(name, &why));
                    }
                    _ => fault(name, "there is no such key"),
                },
            }
        }
    }

    fn read_environment(&mut self, environment: &BTreeMap<String, String>, faults: &mut Vec<String>) {
        let paths: BTreeMap<String, String> =
            self.paths().into_iter().map(|path| (variable(&path), path)).collect();
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("PURO_")) {
            match paths.get(name) {
                Some(path) => self
                    .set(path, value)
                    .unwrap_or_else(|why| faults.push(format!("{name} in the environment: {why}"))),
                None if OTHER_VARIABLES.contains(&name.as_str()) => {}
                None if name.starts_with(TEST_PREFIX) || is_service_link(name) => {}
                None => faults.push(format!("{name} in the environment: there is no such setting")),
            }
        }
    }

    fn read_overrides(&mut self, overrides: &[String], faults: &mut Vec<String>) {
        for text in overrides {
            let outcome = match text.split_once('=') {
                Some((path, value)) => self.set(path.trim(), value),
                None => Err("KEY=VALUE is wanted, such as smtp.listen=127.0.0.1:25".to_owned()),
            };
            outcome.unwrap_or_else(|why| faults.push(format!("--set {text}: {why}")));
        }
    }

    fn set(&mut self, path: &str, value: &str) -> Result<(), String> {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        match self.section(section) {
            Some(target) if target.keys().iter().any(|key| key.name == name) => {
                target.set(name, Raw::Text(value))
            }
            _ => Err("there is no such setting".to_owned()),
        }
    }

    fn section(&mut self, name: &str) -> Option<&mut dyn Section> {
        self.sections_mut().into_iter().find(|section| section.name() == name)
    }

    /// The paths of all keys: `data_dir`, `smtp.listen`, …
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let full = |section: &dyn Section| {
            let prefix =
                if section.name().is_empty() { String::new() } else { format!("{}.", section.name()) };
            section.keys().iter().map(|key| format!("{prefix}{}", key.name)).collect::<Vec<_>>()
        };
        self.sections().into_iter().flat_map(full).collect()
    }
}

fn read_section(target: &mut dyn Section, table: &Table, fault: &mut impl FnMut(&str, &str)) {
    for (name, value) in table {
        let path = format!("{}.{name}", target.name());
        if target.keys().iter().any(|key| key.name == name) {
            target.set(name, Raw::Toml(value)).unwrap_or_else(|why| fault(&path, &why));
        } else {
            fault(&path, "there is no such key");
        }
    }
}

/// The environment variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("PURO_{}", path.replace('.', "_").to_ascii_uppercase())
}

/// Kubernetes describes each Service of the namespace in the environment: a Service `puro-smtp` becomes
/// `PURO_SMTP_SERVICE_HOST`, `PURO_SMTP_PORT_25_TCP_ADDR` and so on. These are nobody's mistake.
fn is_service_link(name: &str) -> bool {
    let port = |name: &str| {
        name.split_once("_PORT_").is_some_and(|(_, rest)| {
            rest.starts_with(|c: char| c.is_ascii_digit()) && (rest.contains("_TCP") || rest.contains("_UDP"))
        })
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.ends_with("_PORT")
        || port(name)
}

fn system_hostname() -> String {
    hostname::get().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".to_owned())
}
