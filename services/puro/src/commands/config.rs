//! PuRoConfig: settings of the whole system, kept in the store.

use clap::Subcommand;
use puro_api::model::ConfigEntry;
use serde::Serialize;

use super::Session;
use crate::{
    exit::Fault,
    output::{Row, say},
};

/// What can be set, in the help.
const NAMES: &str = "\
Settings:
  domain                The domain of logins and of `postmaster` without one
  postmaster            The address that takes mail for the postmaster of domains that have none
  read_capacity_units   What each busy table on DynamoDB is bought for an hour; with write_capacity_units set too the
                        live tables change, and 0 for either has them paid by the request again. The embedded store
                        has no such units
  write_capacity_units  As read_capacity_units, for writes

Limits of sessions are set in the configuration file: see puro.example.toml.";

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Show a setting, or all of them
    Get { name: Option<String> },
    /// Change a setting
    #[command(after_help = NAMES)]
    Set { name: String, value: String },
}

#[derive(Serialize)]
struct Shown {
    name: String,
    value: String,
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["NAME", "VALUE"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.value.clone()]
    }
}

impl From<ConfigEntry> for Shown {
    fn from(entry: ConfigEntry) -> Self {
        Self { name: entry.name, value: entry.value }
    }
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Get { name: None } => {
            let entries = session.metadata(session.admin.config(None).await)?;
            session.output.rows(&entries.into_iter().map(Shown::from).collect::<Vec<_>>())
        }
        Request::Get { name: Some(name) } => {
            let entries = session.metadata(session.admin.config(Some(&name)).await)?;
            let entry = entries.into_iter().find(|entry| entry.name == name);
            let entry = entry.ok_or_else(|| Fault::Refused(format!("{name} has no value")))?;
            session.output.value(&entry.value.clone(), &Shown::from(entry))
        }
        Request::Set { name, value } => {
            let entry = ConfigEntry { name: name.clone(), value };
            session.metadata(session.admin.set_config(entry).await)?;
            if name.ends_with("_capacity_units") {
                say(format_args!(
                    "{name} is set; on DynamoDB the tables take some minutes to follow (`puro store status` shows them)."
                ));
            } else {
                say(format_args!("{name} is set; all replicas know within 30 seconds."));
            }
            Ok(())
        }
    }
}
