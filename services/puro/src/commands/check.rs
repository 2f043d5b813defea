//! Is everything reachable and set up?

use puro_api::{Backend, Failure};
use serde::Serialize;

use super::Session;
use crate::{
    exit::{Fault, Place},
    output::{Row, say},
};

/// What is known of one service.
#[derive(Serialize)]
struct Checked {
    service: &'static str,
    url: String,
    state: &'static str,
    detail: String,
}

impl Row for Checked {
    const HEADINGS: &'static [&'static str] = &["SERVICE", "URL", "STATE", "DETAIL"];

    fn cells(&self) -> Vec<String> {
        vec![self.service.to_owned(), self.url.clone(), self.state.to_owned(), self.detail.clone()]
    }
}

impl Checked {
    fn new(place: &Place, outcome: &Result<String, Failure>) -> Self {
        let (state, detail) = match outcome {
            Ok(detail) => ("ok", detail.clone()),
            Err(Failure::Unavailable(why)) => ("unavailable", why.clone()),
            Err(failure) => ("failing", failure.to_string()),
        };
        Self { service: place.name, url: place.url.clone(), state, detail }
    }
}

/// Asks both services, shows what they say, and then what is missing.
pub(super) async fn run(session: &Session) -> Result<(), Fault> {
    let mut hints = Vec::new();
    let metadata = match serving(session.admin.backend(), session.admin.check()).await {
        Ok(status) => {
            if status.domains == 0 {
                hints.push("No domain is served: puro domain add NAME");
            }
            if status.users == 0 {
                hints.push("There is no account: puro user add EMAIL");
            }
            Ok(format!("{} store, {} domains, {} users", status.store, status.domains, status.users))
        }
        Err(failure) => Err(failure),
    };
    let listed = serving(session.blob.backend(), session.blob.list_segments(None, 1)).await;
    let blob = listed.map(|_| "store answers".to_owned());
    session.output.rows(&[
        Checked::new(&session.metadata_place, &metadata),
        Checked::new(&session.blob_place, &blob),
    ])?;
    for hint in &hints {
        say(format_args!("{hint}"));
    }
    verdict(
        &[(&session.metadata_place, metadata.err()), (&session.blob_place, blob.err())],
        !hints.is_empty(),
    )
}

/// Asks whether the service serves, and then its store.
async fn serving<T>(
    backend: &Backend,
    store: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    backend.check().await?;
    store.await
}

fn verdict(services: &[(&Place, Option<Failure>)], is_bare: bool) -> Result<(), Fault> {
    let faulty: Vec<&str> =
        services.iter().filter(|(_, failure)| failure.is_some()).map(|(place, _)| place.name).collect();
    let is_away = services.iter().any(|(_, failure)| matches!(failure, Some(Failure::Unavailable(_))));
    let text = match faulty.as_slice() {
        [] if is_bare => return Err(Fault::Refused("not set up yet".to_owned())),
        [] => return Ok(()),
        names => format!("not well: {}", names.join(", ")),
    };
    Err(if is_away { Fault::Unreachable(text) } else { Fault::Refused(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides() {
        let place = Place { name: "blob", variable: "PURO_BLOB_URL", url: String::new() };
        let code = |failures: [Option<Failure>; 2], is_bare| {
            let services = failures.map(|failure| (&place, failure));
            verdict(&services, is_bare).map_or_else(|fault| fault.exit() as u8, |()| 0)
        };
        let away = || Some(Failure::Unavailable("x".into()));
        let broken = || Some(Failure::Internal("x".into()));
        assert_eq!(code([None, None], false), 0);
        assert_eq!(code([None, None], true), 1);
        assert_eq!(code([broken(), None], false), 1);
        assert_eq!(code([broken(), away()], false), 69);
    }
}
