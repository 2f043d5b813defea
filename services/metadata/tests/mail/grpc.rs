//! The services through gRPC and the project's own clients.

use std::sync::Arc;

use puro_api::{
    AdminClient, Backend, DeliveryClient, DirectoryClient, Endpoint, Failure, MaildropClient, in_process,
    model::{Alias, ConfigEntry, Domain, Listing, Refusal, Resolution, UserStatus},
};
use puro_metadata::{
    routes,
    store::{
        embedded::{EmbeddedOptions, EmbeddedStore},
        faulty::{Calls, Fault, FaultPlan},
    },
};
use tokio::task::JoinHandle;
use tonic::transport::Server;

use crate::world::{World, alone, mailbox, new_user};

pub(crate) fn serve(world: &World) -> (Backend, JoinHandle<()>) {
    let (connector, incoming) = in_process();
    let routes = routes(Arc::clone(&world.metadata));
    let served = tokio::spawn(async move {
        Server::builder().add_routes(routes).serve_with_incoming(incoming).await.unwrap();
    });
    (Backend::new(Endpoint::InProcess(connector), puro_api::Settings::default()), served)
}

/// Makes two tests of each function: on the memory store and on the embedded one.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod on_memory {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(super::World::new()).await;
                }
            )*
        }

        mod on_embedded {
            $(
                #[tokio::test]
                async fn $name() {
                    let folder = tempfile::tempdir().unwrap();
                    let store = super::EmbeddedStore::open(folder.path(), super::EmbeddedOptions::default()).unwrap();
                    super::$name(super::World::on(std::sync::Arc::new(store))).await;
                }
            )*
        }
    };
}

on_both_stores! {
    an_account_from_its_making_to_its_end
    aliases_settings_and_the_store
    a_store_that_fails_is_unavailable_to_everybody
}

async fn an_account_from_its_making_to_its_end(world: World) {
    let (backend, _served) = serve(&world);
    let admin = AdminClient::new(backend.clone());
    let directory = DirectoryClient::new(backend.clone());
    let delivery = DeliveryClient::new(backend.clone());
    let maildrop = MaildropClient::new(backend);

    let refused = admin.add_user(new_user("ann@example.org")).await;
    assert!(matches!(refused, Err(Failure::FailedPrecondition(_))), "{refused:?}");
    admin.add_domain(Domain { name: "example.org".parse().unwrap(), catch_all: None }).await.unwrap();
    let ann = admin.add_user(new_user("Ann@Example.org")).await.unwrap();
    assert_eq!(ann.email.to_string(), "ann@example.org");
    let again = admin.add_user(new_user("ann@example.org")).await;
    assert!(matches!(again, Err(Failure::AlreadyExists(_))), "{again:?}");

    let account = directory.authenticate("ANN@example.org", &"secret".to_owned().into()).await.unwrap();
    assert_eq!(account.unwrap().mailbox, ann.mailbox);
    assert_eq!(directory.authenticate("ann@example.org", &"wrong".to_owned().into()).await.unwrap(), None);
    let Resolution::Targets(targets) = directory.resolve("ann+tag@example.org", 5).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(targets.targets[0].mailbox, ann.mailbox);
    let stranger = directory.resolve("ann@example.com", 0).await.unwrap();
    assert_eq!(stranger, Resolution::Refusal(Refusal::NotLocal));
    assert!(directory.check_sender("ann@example.org", &"ann+x@example.org".parse().unwrap()).await.unwrap());

    // More than a page.
    for number in 0..1_100 {
        delivery.deliver(alone(number, std::slice::from_ref(&ann.mailbox))).await.unwrap();
    }
    let Listing::Current { version, messages } = maildrop.list(&ann.mailbox, 0).await.unwrap() else {
        panic!("unchanged")
    };
    assert_eq!(messages.len(), 1_100);
    assert_eq!(maildrop.list(&ann.mailbox, version).await.unwrap(), Listing::Unchanged);
    let user = admin.user(&ann.email).await.unwrap();
    assert_eq!((user.messages, user.bytes), (1_100, 1_100_000));
    assert_eq!(maildrop.remove(&ann.mailbox, &messages[1..]).await.unwrap(), 1_099);
    let Listing::Current { messages: left, .. } = maildrop.list(&ann.mailbox, version).await.unwrap() else {
        panic!("unchanged")
    };
    assert_eq!(left, messages[..1]);

    admin.set_user_status(&ann.email, UserStatus::Disabled).await.unwrap();
    assert_eq!(directory.authenticate("ann@example.org", &"secret".to_owned().into()).await.unwrap(), None);
    admin.remove_user(&ann.email).await.unwrap();
    let gone = admin.user(&ann.email).await;
    assert!(matches!(gone, Err(Failure::NotFound(_))), "{gone:?}");
}

#[tokio::test]
async fn twenty_thousand_messages_go_in_one_quit() {
    let world = World::new();
    let (backend, _served) = serve(&world);
    let maildrop = MaildropClient::new(backend);
    let mailbox = mailbox(1);
    for number in 0..20_000 {
        world.deliver(&alone(number, std::slice::from_ref(&mailbox))).await.unwrap();
    }
    let Listing::Current { version, messages } = maildrop.list(&mailbox, 0).await.unwrap() else {
        panic!("unchanged")
    };
    assert_eq!(messages.len(), 20_000);
    assert_eq!(maildrop.remove(&mailbox, &messages).await.unwrap(), 20_000);
    // Each request leaves one job: none of them had to carry them all within one deadline.
    assert_eq!(world.queue().await.len(), 4);
    let Listing::Current { messages: left, .. } = maildrop.list(&mailbox, version).await.unwrap() else {
        panic!("unchanged")
    };
    assert!(left.is_empty());

    // A request that fails is a QUIT that failed, whatever went before it.
    for number in 0..5_001 {
        world.deliver(&alone(30_000 + number, std::slice::from_ref(&mailbox))).await.unwrap();
    }
    let Listing::Current { messages, .. } = maildrop.list(&mailbox, 0).await.unwrap() else {
        panic!("unchanged")
    };
    // The first request takes a job, 5,000 tombstones and a bump.
    world.faulty.set_plan(FaultPlan::during(5_002..u64::MAX, Calls::Writes, Fault::Before));
    let removed = maildrop.remove(&mailbox, &messages).await;
    assert!(matches!(removed, Err(Failure::Unavailable(_))), "{removed:?}");
    world.heal();
    assert_eq!(maildrop.remove(&mailbox, &messages).await.unwrap(), 1);
}

async fn aliases_settings_and_the_store(world: World) {
    let (backend, _served) = serve(&world);
    let admin = AdminClient::new(backend);
    let name = "example.org".parse().unwrap();
    admin.add_domain(Domain { name, catch_all: None }).await.unwrap();
    let ann = admin.add_user(new_user("ann@example.org")).await.unwrap();
    let alias = Alias { email: "all@example.org".parse().unwrap(), targets: vec![ann.email.clone()] };
    assert_eq!(admin.add_alias(alias.clone()).await.unwrap(), alias);
    assert_eq!(admin.list_aliases(None).await.unwrap().items, std::slice::from_ref(&alias));
    assert_eq!(admin.list_users(None).await.unwrap().items.len(), 1);
    let taken = admin.add_user(new_user("all@example.org")).await;
    assert!(matches!(taken, Err(Failure::AlreadyExists(_))), "{taken:?}");
    let occupied = admin.remove_domain(&"example.org".parse().unwrap()).await;
    assert!(matches!(occupied, Err(Failure::FailedPrecondition(_))), "{occupied:?}");

    let entry = |name: &str, value: &str| ConfigEntry { name: name.to_owned(), value: value.to_owned() };
    admin.set_config(entry("domain", "Example.ORG")).await.unwrap();
    assert_eq!(admin.config(Some("domain")).await.unwrap(), [entry("domain", "example.org")]);
    let unknown = admin.set_config(entry("colour", "red")).await;
    assert!(matches!(unknown, Err(Failure::Invalid(_))), "{unknown:?}");
    let unset = admin.config(Some("read_capacity_units")).await;
    assert!(matches!(unset, Err(Failure::NotFound(_))), "{unset:?}");

    let status = admin.check().await.unwrap();
    assert_eq!((status.store.as_str(), status.domains, status.users), (world.base.kind(), 1, 1));
    admin.remove_alias(Alias { targets: Vec::new(), ..alias }).await.unwrap();
    assert!(admin.list_aliases(None).await.unwrap().items.is_empty());
}

async fn a_store_that_fails_is_unavailable_to_everybody(world: World) {
    let (backend, _served) = serve(&world);
    world.add_domain("example.org", None).await;
    let ann = world.add_user("ann@example.org").await;
    world.faulty.set_plan(FaultPlan::during(0..u64::MAX, Calls::Any, Fault::Before));
    let directory = DirectoryClient::new(backend.clone());
    let login = directory.authenticate("ann@example.org", &"secret".to_owned().into()).await;
    assert!(matches!(login, Err(Failure::Unavailable(_))), "{login:?}");
    let resolution = directory.resolve("ann@example.org", 0).await;
    assert!(matches!(resolution, Err(Failure::Unavailable(_))), "{resolution:?}");
    let listing = MaildropClient::new(backend.clone()).list(&ann.mailbox, 0).await;
    assert!(matches!(listing, Err(Failure::Unavailable(_))), "{listing:?}");
    let sent = DeliveryClient::new(backend).deliver(alone(1, std::slice::from_ref(&ann.mailbox))).await;
    assert!(matches!(&sent, Err(failure) if failure.is_transient()), "{sent:?}");
}
