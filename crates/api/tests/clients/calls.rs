//! Deadlines, repeats, and what answers mean.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use puro_api::{
    DeliveryClient, DirectoryClient, Failure, MaildropClient, Settings,
    model::{Delivered, Delivery, Listing},
    pb::metadata::v1 as pb,
};
use puro_types::{MailboxId, TransactionId};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::scripted::{Chunks, Notes, Script, Scripted, account, location, step, within_ms};

fn delivery() -> Delivery {
    Delivery {
        transaction: TransactionId::new(1, [1; 11]),
        accepted_ms: 1,
        mailboxes: vec![MailboxId::new([1; 12])],
        location: location().try_into().unwrap(),
    }
}

fn mailbox() -> MailboxId {
    MailboxId::new([1; 12])
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_fails_the_call_at_its_deadline() {
    let server = Scripted::new(Script {
        authenticate: step(|_, _| std::future::pending()),
        deliver: step(|_, _| std::future::pending()),
        list: step(|_, _| async { Ok(stream::pending().boxed()) }),
        ..Script::default()
    });
    let backend = server.in_process(within_ms(700));
    let began = Instant::now();
    let outcome = DirectoryClient::new(backend.clone()).authenticate("me", &"pw".to_owned().into()).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    let outcome = DeliveryClient::new(backend.clone()).deliver(delivery()).await;
    assert!(matches!(outcome, Err(Failure::OutcomeUnknown(_))), "{outcome:?}");
    let outcome = MaildropClient::new(backend).list(&mailbox(), 0).await;
    assert!(matches!(outcome, Err(Failure::Unavailable(_))), "{outcome:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(3 * 690) && took < Duration::from_millis(3 * 800), "{took:?}");
}

#[tokio::test]
async fn the_server_is_told_the_deadline() {
    let timeouts = Notes::default();
    let notes = timeouts.clone();
    let server = Scripted::new(Script {
        authenticate: step(move |_, request| {
            notes.add(request.metadata().get("grpc-timeout").cloned());
            async { Ok(account()) }
        }),
        ..Script::default()
    });
    let client = DirectoryClient::new(server.in_process(within_ms(60_000)));
    client.authenticate("me", &"pw".to_owned().into()).await.unwrap();
    assert!(timeouts.take()[0].is_some());
}

#[tokio::test]
async fn bad_credentials_are_an_answer_and_everything_else_is_not() {
    let server = Scripted::new(Script {
        authenticate: step(|count, _| async move {
            Err(match count {
                0 => Failure::Unauthenticated("no".into()).into(),
                // Something on the way, not our service, says so.
                1 => Status::unauthenticated("who are you?"),
                _ => Failure::NotFound("no such user".into()).into(),
            })
        }),
        ..Script::default()
    });
    let client = DirectoryClient::new(server.in_process(Settings::default()));
    let password = "pw".to_owned().into();
    assert_eq!(client.authenticate("me", &password).await, Ok(None));
    assert!(matches!(client.authenticate("me", &password).await, Err(Failure::Internal(_))));
    assert!(matches!(client.authenticate("me", &password).await, Err(Failure::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again() {
    let server = Scripted::new(Script {
        deliver: step(|count, _| async move {
            match count {
                0 => Err(Status::new(Code::Unavailable, "a dying server")),
                1 => Err(Status::new(Code::Unknown, "no status")),
                _ => Ok(pb::DeliverResponse { delivered: 1, queued: 0 }),
            }
        }),
        ..Script::default()
    });
    let client = DeliveryClient::new(server.in_process(Settings::default()));
    assert_eq!(client.deliver(delivery()).await, Ok(Delivered { delivered: 1, queued: 0 }));
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn repeats_end() {
    let server = Scripted::new(Script {
        deliver: step(|_, _| async { Err(Status::new(Code::Unavailable, "for ever")) }),
        ..Script::default()
    });
    let client = DeliveryClient::new(server.in_process(Settings::default()));
    assert!(matches!(client.deliver(delivery()).await, Err(Failure::OutcomeUnknown(_))));
    assert_eq!(server.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_declares_stands() {
    let server = Scripted::new(Script {
        deliver: step(|_, _| async { Err(Failure::Unavailable("throttled".into()).into()) }),
        ..Script::default()
    });
    let client = DeliveryClient::new(server.in_process(Settings::default()));
    assert_eq!(client.deliver(delivery()).await, Err(Failure::Unavailable("throttled".into())));
    assert_eq!(server.calls(), 1, "a service short of breath is not asked again");
}

fn page(version: u64, ids: &[u8]) -> Result<pb::ListResponse, Status> {
    let message = |digit: &u8| pb::Message {
        id: char::from(*digit).to_string().repeat(16),
        size_bytes: 7,
        location: Some(location()),
    };
    Ok(pb::ListResponse { version, unchanged: false, messages: ids.iter().map(message).collect() })
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_whole_or_a_failure() {
    let server = Scripted::new(Script {
        list: step(|count, request: tonic::Request<pb::ListRequest>| async move {
            let pages: Chunks<_> = match count {
                0 => stream::iter([page(4, b"ab"), page(4, b"c")]).boxed(),
                1 => {
                    assert_eq!(request.get_ref().known_version, 4);
                    let unchanged = pb::ListResponse { version: 4, unchanged: true, messages: Vec::new() };
                    stream::iter([Ok(unchanged)]).boxed()
                }
                2 => stream::iter([page(5, b"ab"), Err(Failure::Unavailable("later".into()).into())]).boxed(),
                3 => stream::iter([page(5, b"")]).boxed(),
                4 => stream::iter([page(5, b"ab"), Err(Status::unavailable("lost"))]).boxed(),
                5 => stream::iter([page(6, b"a")]).boxed(),
                6 => stream::iter([page(6, b"*")]).boxed(),
                _ => stream::empty().boxed(),
            };
            Ok(pages)
        }),
        ..Script::default()
    });
    let client = MaildropClient::new(server.in_process(Settings::default()));
    let shape = |listing| match listing {
        Ok(Listing::Current { version, messages }) => format!("{version}: {}", messages.len()),
        Ok(Listing::Unchanged) => "unchanged".to_owned(),
        Err(failure) => format!("{failure}"),
    };
    assert_eq!(shape(client.list(&mailbox(), 0).await), "4: 3");
    assert_eq!(shape(client.list(&mailbox(), 4).await), "unchanged");
    assert_eq!(shape(client.list(&mailbox(), 4).await), "not available: later", "never a part of it");
    assert_eq!(
        shape(client.list(&mailbox(), 4).await),
        "5: 0",
        "an empty mailbox is a page without messages"
    );
    assert_eq!(shape(client.list(&mailbox(), 4).await), "6: 1", "asked again from the start");
    assert!(shape(client.list(&mailbox(), 4).await).contains("malformed"), "a wrong id is not passed on");
    assert!(shape(client.list(&mailbox(), 4).await).contains("malformed"), "no page is not an empty mailbox");
}
