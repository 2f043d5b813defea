//! Domains.

use clap::Subcommand;
use puro_api::model::Domain;
use puro_types::{DomainName, EmailAddress};
use serde::Serialize;

use super::Session;
use crate::{
    exit::Fault,
    output::{Row, say},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Serve a domain
    Add {
        name: DomainName,
        /// Where mail for unknown users goes, instead of being refused
        #[arg(long, value_name = "EMAIL")]
        catch_all: Option<EmailAddress>,
    },
    /// List the domains served
    List,
    /// Serve a domain no more; it must have no users and aliases
    Remove { name: DomainName },
}

#[derive(Serialize)]
struct Shown {
    name: String,
    catch_all: Option<String>,
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["DOMAIN", "CATCH-ALL"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.catch_all.clone().unwrap_or_default()]
    }
}

impl From<Domain> for Shown {
    fn from(domain: Domain) -> Self {
        Self { name: domain.name.to_string(), catch_all: domain.catch_all.map(|email| email.to_string()) }
    }
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Add { name, catch_all } => {
            let domain = Domain { name: name.clone(), catch_all };
            session.metadata(session.admin.add_domain(domain.clone()).await)?;
            say(format_args!("{name} is served now."));
            session.output.changed(&Shown::from(domain))
        }
        Request::List => {
            let domains = session.metadata(session.admin.list_domains().await)?;
            session.output.rows(&domains.into_iter().map(Shown::from).collect::<Vec<_>>())
        }
        Request::Remove { name } => {
            session.metadata(session.admin.remove_domain(&name).await)?;
            say(format_args!("{name} is served no more."));
            Ok(())
        }
    }
}
