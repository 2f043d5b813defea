//! Addresses that stand for others.

use clap::Subcommand;
use puro_api::model::Alias;
use puro_types::EmailAddress;
use serde::Serialize;

use super::Session;
use crate::{
    exit::Fault,
    output::{Row, say},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Make an alias, or add targets to one
    Add {
        email: EmailAddress,
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<EmailAddress>,
    },
    /// List the aliases
    List,
    /// Remove an alias, or only these targets of it
    Remove {
        email: EmailAddress,
        #[arg(value_name = "TARGET")]
        targets: Vec<EmailAddress>,
    },
}

#[derive(Serialize)]
struct Shown {
    email: String,
    targets: Vec<String>,
}

impl Row for Shown {
    const HEADINGS: &'static [&'static str] = &["ALIAS", "TARGETS"];

    fn cells(&self) -> Vec<String> {
        vec![self.email.clone(), self.targets.join(" ")]
    }
}

impl From<Alias> for Shown {
    fn from(alias: Alias) -> Self {
        let targets = alias.targets.iter().map(ToString::to_string).collect();
        Self { email: alias.email.to_string(), targets }
    }
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Add { email, targets } => {
            let alias = session.metadata(session.admin.add_alias(Alias { email, targets }).await)?;
            let alias = Shown::from(alias);
            say(format_args!("{} stands for {} now.", alias.email, alias.targets.join(", ")));
            session.output.changed(&alias)
        }
        Request::List => list(session).await,
        Request::Remove { email, targets } => {
            let alias = Alias { email: email.clone(), targets };
            let whole = alias.targets.is_empty();
            session.metadata(session.admin.remove_alias(alias).await)?;
            match whole {
                true => say(format_args!("{email} is removed.")),
                false => say(format_args!("{email} does not stand for these any more.")),
            }
            Ok(())
        }
    }
}

async fn list(session: &Session) -> Result<(), Fault> {
    let mut aliases = Vec::new();
    let mut after = None;
    loop {
        let page = session.metadata(session.admin.list_aliases(after.as_deref()).await)?;
        aliases.extend(page.items.into_iter().map(Shown::from));
        after = page.next;
        if after.is_none() {
            return session.output.rows(&aliases);
        }
    }
}
