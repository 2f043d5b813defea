//! The metadata service: one account that can log in, recipients by their names, one maildrop.

use std::pin::Pin;

use puro_api::{
    Failure,
    model::Message,
    pb::metadata::v1::{
        AuthenticateRequest, AuthenticateResponse, CheckSenderRequest, CheckSenderResponse, DeliverRequest,
        DeliverResponse, LeftOut, ListRequest, ListResponse, Refusal, RemoveRequest, RemoveResponse,
        ResolveRequest, ResolveResponse, Target, Targets, delivery_service_server::DeliveryService,
        directory_service_server::DirectoryService, maildrop_service_server::MaildropService,
        resolve_response::Outcome,
    },
};
use puro_types::{MailboxId, MessageId, TransactionId};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::{Services, blob};

/// The account's login and password.
const CREDENTIALS: (&str, &str) = ("me", "secret");
const ACCOUNT: &str = "me@local.example";

/// The mailbox with this letter; `m` is the account's.
pub fn mailbox(letter: char) -> MailboxId {
    MailboxId::new([u8::try_from(letter).unwrap(); 12])
}

fn id(number: u64) -> MessageId {
    MessageId::new(number, &TransactionId::new(number, [0; 11]), &mailbox('m'))
}

#[tonic::async_trait]
impl DirectoryService for Services {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        self.called("authenticate", &request)?;
        let request = request.into_inner();
        if (request.login.as_str(), request.password.as_str()) != CREDENTIALS {
            return Err(Failure::Unauthenticated("no".to_owned()).into());
        }
        let mailbox = mailbox('m').to_string();
        Ok(Response::new(AuthenticateResponse { email: ACCOUNT.to_owned(), mailbox }))
    }

    /// Addresses of local.example: `user-abc` are the mailboxes a, b and c; behind a further `-` are those that are over
    /// quota and left out, where 0 is none at all.
    async fn resolve(&self, request: Request<ResolveRequest>) -> Result<Response<ResolveResponse>, Status> {
        self.called("resolve", &request)?;
        let ResolveRequest { address, size_bytes } = request.into_inner();
        self.state().resolved.push((address.clone(), size_bytes));
        let outcome = outcome(&address)?;
        Ok(Response::new(ResolveResponse { outcome: Some(outcome) }))
    }

    async fn check_sender(
        &self,
        request: Request<CheckSenderRequest>,
    ) -> Result<Response<CheckSenderResponse>, Status> {
        self.called("check_sender", &request)?;
        let CheckSenderRequest { email, sender } = request.into_inner();
        Ok(Response::new(CheckSenderResponse { allowed: email == sender }))
    }
}

fn outcome(address: &str) -> Result<Outcome, Failure> {
    let (local, domain) = address.split_once('@').unwrap_or((address, "local.example"));
    Ok(match (local, domain) {
        (_, "broken.example") => return Err(Failure::Invalid("no address".to_owned())),
        ("full", _) => Outcome::Refusal(Refusal::OverQuota.into()),
        ("away", _) => Outcome::Refusal(Refusal::Disabled.into()),
        ("circle", _) => Outcome::Refusal(Refusal::AliasLoop.into()),
        (local, "local.example") => match local.strip_prefix("user-") {
            Some(letters) => {
                let (taking, full) = letters.split_once('-').unwrap_or((letters, ""));
                Outcome::Targets(Targets {
                    targets: taking.chars().map(target).collect(),
                    left_out: full.chars().map(left_out).collect(),
                })
            }
            None => Outcome::Refusal(Refusal::UnknownUser.into()),
        },
        _ => Outcome::Refusal(Refusal::NotLocal.into()),
    })
}

fn left_out(letter: char) -> LeftOut {
    match letter {
        '0' => LeftOut { mailbox: String::new(), reason: Refusal::UnknownUser.into() },
        letter => LeftOut { mailbox: mailbox(letter).to_string(), reason: Refusal::OverQuota.into() },
    }
}

fn target(letter: char) -> Target {
    Target { mailbox: mailbox(letter).to_string(), email: format!("{letter}@local.example") }
}

#[tonic::async_trait]
impl DeliveryService for Services {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        self.called("deliver", &request)?;
        let request = request.into_inner();
        let delivered = u32::try_from(request.mailboxes.len()).unwrap();
        self.state().delivered.push(request);
        Ok(Response::new(DeliverResponse { delivered, queued: 0 }))
    }
}

#[tonic::async_trait]
impl MaildropService for Services {
    type ListStream = Pin<Box<dyn Stream<Item = Result<ListResponse, Status>> + Send>>;

    /// Two messages a page.
    async fn list(&self, request: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        self.called("list", &request)?;
        let known = request.into_inner().known_version;
        let mut state = self.state();
        state.listed.push(known);
        let page = |unchanged, messages| ListResponse { version: state.version, unchanged, messages };
        let messages: Vec<_> =
            state.messages.iter().map(|(number, octets)| listed(*number, octets)).collect();
        let pages = if known == state.version {
            vec![page(true, Vec::new())]
        } else if messages.is_empty() {
            vec![page(false, Vec::new())]
        } else {
            messages.chunks(2).map(|two| page(false, two.to_vec())).collect()
        };
        Ok(Response::new(Box::pin(tokio_stream::iter(pages.into_iter().map(Ok)))))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        self.called("remove", &request)?;
        let request = request.into_inner();
        assert_eq!(request.mailbox, mailbox('m').to_string());
        let ids: Vec<String> = request.messages.into_iter().map(|message| message.id).collect();
        let mut state = self.state();
        state.version += 1;
        state.messages.retain(|(number, _)| !ids.contains(&id(*number).to_string()));
        let removed = u32::try_from(ids.len()).unwrap();
        state.removed.push(ids);
        Ok(Response::new(RemoveResponse { removed }))
    }
}

fn listed(number: u64, octets: &[u8]) -> puro_api::pb::metadata::v1::Message {
    let location = blob::location(number.to_string(), octets);
    Message { id: id(number), size_bytes: octets.len() as u64, location }.into()
}
