//! Every call of every operation fails in turn, in every way, once and for good; then the fault goes, the process
//! starts anew, the worker does what was put off, and the invariants are asserted.

use puro_api::model::{Alias, ConfigEntry, Delivery, Domain, UserStatus};
use puro_metadata::{
    Metadata, MetadataError,
    store::{
        Table,
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::{EmailAddress, MailboxId, MessageId};

use crate::{
    ledger::Ledger,
    world::{MINUTE_MS, World, alone, delivery, location, mailbox, message, new_user},
};

/// How long a fault lasts.
#[derive(Debug, Clone, Copy)]
enum Lasting {
    /// One call.
    Once,
    /// As many calls as one write is tried, so that the operation has to do without it.
    OneWrite,
    /// From this call on, as when the process or the store dies.
    ForGood,
}

/// A fault: its kind, the call that it begins with, and how long it lasts.
#[derive(Debug, Clone, Copy)]
struct Trial {
    fault: Fault,
    calls: Calls,
    first: u64,
    lasting: Lasting,
}

impl Trial {
    fn plan(self) -> FaultPlan {
        let count = match self.lasting {
            Lasting::Once => 1,
            Lasting::OneWrite => 4,
            Lasting::ForGood => 1_000_000,
        };
        FaultPlan::during(self.first..self.first + count, self.calls, self.fault)
    }
}

/// Runs `trial` with each kind of fault at each call, until the operation makes no such call.
async fn each(mut trial: impl AsyncFnMut(Trial) -> bool) -> u32 {
    let mut trials = 0;
    for lasting in [Lasting::Once, Lasting::OneWrite, Lasting::ForGood] {
        for (calls, faults) in [(Calls::Writes, &Fault::ALL[..]), (Calls::Reads, &Fault::ALL[..1])] {
            for fault in faults {
                for first in 0.. {
                    trials += 1;
                    if !trial(Trial { fault: *fault, calls, first, lasting }).await {
                        break;
                    }
                }
            }
        }
    }
    trials
}

/// Ends the fault and the process, and has the worker do what is left.
async fn recover(world: &mut World, ledger: &Ledger, context: &str) {
    world.heal();
    ledger.check_safety(world, context).await;
    world.restart();
    ledger.check_safety(world, context).await;
    world.pass(10 * MINUTE_MS, MINUTE_MS).await;
    ledger.check(world, context).await;
    world.pass_all().await;
    ledger.check(world, context).await;
}

#[tokio::test(start_paused = true)]
async fn delivery_to_one() {
    delivery_to(&[mailbox(1)]).await;
}

#[tokio::test(start_paused = true)]
async fn delivery_to_three() {
    delivery_to(&[mailbox(1), mailbox(2), mailbox(3)]).await;
}

async fn delivery_to(mailboxes: &[MailboxId]) {
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        let mut ledger = Ledger::default();
        ledger.deliver(&world, &alone(1, mailboxes)).await.unwrap();
        for mailbox in mailboxes {
            world.list(mailbox).await.unwrap();
        }
        world.faulty.set_plan(trial.plan());
        let sent = ledger.deliver(&world, &alone(2, mailboxes)).await;
        let injected = world.faulty.injected() > 0;
        assert!(injected || sent.is_ok(), "{context}: failed without a fault");
        if matches!(trial.lasting, Lasting::Once) {
            assert!(sent.is_ok(), "{context}: one lost call is no reason for a 451");
        }
        recover(&mut world, &ledger, &context).await;
        // The same request again, as a client that lost the answer sends it: no second copy.
        ledger.deliver(&world, &alone(2, mailboxes)).await.unwrap();
        ledger.check(&world, &context).await;
        for mailbox in mailboxes {
            assert_eq!(world.ids(mailbox).await.len(), 2, "{context}");
        }
        injected
    })
    .await;
    assert!(trials > 20, "the plans did not fire");
}

/// Three mailboxes with messages in segments of all kinds.
async fn furnished(world: &World, ledger: &mut Ledger) -> Vec<Delivery> {
    let boxes = [mailbox(1), mailbox(2), mailbox(3)];
    let deliveries = vec![
        alone(1, &boxes[..1]),
        alone(2, &boxes),
        delivery(3, &boxes[..1], location("shared", 0, 2)),
        delivery(4, &boxes[..2], location("shared", 1, 2)),
        alone(5, &boxes[..1]),
    ];
    for delivery in &deliveries {
        ledger.deliver(world, delivery).await.unwrap();
    }
    for mailbox in ledger.mailboxes() {
        world.list(mailbox).await.unwrap();
    }
    deliveries
}

fn ids_of(deliveries: &[Delivery], mailbox: &MailboxId) -> Vec<MessageId> {
    let mine = deliveries.iter().filter(|delivery| delivery.mailboxes.contains(mailbox));
    mine.map(|delivery| message(delivery, mailbox)).collect()
}

#[tokio::test(start_paused = true)]
async fn removal() {
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        let mut ledger = Ledger::default();
        let deliveries = furnished(&world, &mut ledger).await;
        let gone = ids_of(&deliveries[..4], &mailbox(1));
        world.faulty.set_plan(trial.plan());
        let removed = ledger.remove(&world, &mailbox(1), &gone).await;
        let injected = world.faulty.injected() > 0;
        assert!(injected || removed.is_ok(), "{context}: failed without a fault");
        recover(&mut world, &ledger, &context).await;
        // The client deletes again what it still finds; after that nothing of it is left.
        let left: Vec<_> = world.ids(&mailbox(1)).await.into_iter().filter(|id| gone.contains(id)).collect();
        ledger.remove(&world, &mailbox(1), &left).await.unwrap();
        world.pass_all().await;
        ledger.check(&world, &context).await;
        for number in [2, 3] {
            ledger.remove(&world, &mailbox(number), &ids_of(&deliveries, &mailbox(number))).await.unwrap();
        }
        world.pass_all().await;
        ledger.check(&world, &context).await;
        ledger.check_space(&world, &context).await;
        injected
    })
    .await;
    assert!(trials > 20, "the plans did not fire");
}

#[tokio::test(start_paused = true)]
async fn clean_up() {
    // Which pass the fault falls into: the one that frees the bytes, or the one that takes the tombstones away.
    for (pass, wait_ms) in [(0, 0), (1, 25 * 60 * MINUTE_MS)] {
        let trials = each(async |trial| {
            let context = format!("pass {pass}: {trial:?}");
            let mut world = World::new();
            let mut ledger = Ledger::default();
            let deliveries = furnished(&world, &mut ledger).await;
            for number in 1..=3 {
                let gone = ids_of(&deliveries[..4], &mailbox(number));
                ledger.remove(&world, &mailbox(number), &gone).await.unwrap();
            }
            world.clock.advance_ms(15 * MINUTE_MS);
            if wait_ms > 0 {
                world.metadata.work_once().await;
                world.clock.advance_ms(wait_ms);
            }
            world.faulty.set_plan(trial.plan());
            world.metadata.work_once().await;
            let injected = world.faulty.injected() > 0;
            recover(&mut world, &ledger, &context).await;
            ledger.check_space(&world, &context).await;
            injected
        })
        .await;
        assert!(trials > 20, "the plans did not fire");
    }
}

#[tokio::test(start_paused = true)]
async fn queued_delivery() {
    let boxes = [mailbox(1), mailbox(2)];
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        let mut ledger = Ledger::default();
        // Neither copy can be put, both are queued.
        world.faulty.set_plan(FaultPlan::during(0..8, Calls::Writes, Fault::BeforeUnknown));
        ledger.deliver(&world, &alone(1, &boxes)).await.unwrap();
        world.clock.advance_ms(MINUTE_MS);
        world.faulty.set_plan(trial.plan());
        world.metadata.work_once().await;
        let injected = world.faulty.injected() > 0;
        recover(&mut world, &ledger, &context).await;
        assert!(world.queue().await.is_empty(), "{context}");
        injected
    })
    .await;
    assert!(trials > 10, "the plans did not fire");
}

#[tokio::test(start_paused = true)]
async fn adding_a_user() {
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        world.add_domain("example.org", None).await;
        world.faulty.set_plan(trial.plan());
        let added = world.metadata.add_user(&new_user("ann@example.org")).await;
        let injected = world.faulty.injected() > 0;
        assert!(injected || added.is_ok(), "{context}: failed without a fault");
        world.heal();
        world.restart();
        let users = world.metadata.list_users("", 0).await.unwrap().0;
        if let Ok(user) = added {
            assert_eq!(users[0].mailbox, user.mailbox, "{context}");
            world.deliver(&alone(1, std::slice::from_ref(&user.mailbox))).await.unwrap();
        } else if users.is_empty() {
            world.add_user("ann@example.org").await;
        }
        // Whatever was answered: there is one account, it can log in, and its mailbox can be listed.
        let account = world.metadata.authenticate("ann@example.org", &"secret".to_owned().into()).await;
        let account = account.unwrap_or_else(|error| panic!("{context}: {error}"));
        assert!(world.list(&account.mailbox).await.unwrap().version > 0, "{context}");
        injected
    })
    .await;
    assert!(trials > 10, "the plans did not fire");
}

#[tokio::test(start_paused = true)]
async fn removing_a_user() {
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        let mut ledger = Ledger::default();
        world.add_domain("example.org", None).await;
        let ann = world.add_user("ann@example.org").await;
        ledger.deliver(&world, &alone(1, &[mailbox(2)])).await.unwrap();
        world.deliver(&alone(2, &[ann.mailbox.clone(), mailbox(2)])).await.unwrap();
        world.deliver(&alone(3, std::slice::from_ref(&ann.mailbox))).await.unwrap();
        world.faulty.set_plan(trial.plan());
        let removed = world.metadata.remove_user(&ann.email).await;
        let injected = world.faulty.injected() > 0;
        assert!(injected || removed.is_ok(), "{context}: failed without a fault");
        world.heal();
        world.restart();
        world.pass_all().await;
        let is_gone = world.metadata.user(&ann.email).await.is_err();
        assert!(is_gone || removed.is_err(), "{context}: it was said to be gone");
        if is_gone {
            assert!(world.segments.is_deleted("alone-3"), "{context}: its mail stays for ever");
        } else {
            assert_eq!(world.ids(&ann.mailbox).await.len(), 2, "{context}: mail of a living account went");
        }
        assert!(!world.segments.is_deleted("alone-1") && !world.segments.is_deleted("alone-2"), "{context}");
        assert_eq!(world.ids(&mailbox(2)).await.len(), 2, "{context}");
        assert!(world.items(Table::Folder).await.len() <= 2);
        injected
    })
    .await;
    assert!(trials > 10, "the plans did not fire");
}

/// What a change by an operator does with `change`, seen by way of `seen`: when it says that it is done, it is done; when
/// it fails, everything is as before or done, the failure says that it may be tried again, and that works. The replica
/// that made the change sees what a new one sees.
async fn operators_change(
    prepare: impl AsyncFn(&World),
    change: impl AsyncFn(&Metadata) -> Result<(), MetadataError>,
    seen: impl AsyncFn(&Metadata) -> String,
) {
    let world = World::new();
    prepare(&world).await;
    let before = seen(&world.metadata).await;
    change(&world.metadata).await.unwrap();
    let after = seen(&world.metadata).await;
    assert_ne!(before, after, "the change does nothing that is looked at");
    let trials = each(async |trial| {
        let context = format!("{trial:?}");
        let mut world = World::new();
        prepare(&world).await;
        // What this replica remembers of the state before must not outlive the change.
        assert_eq!(seen(&world.metadata).await, before, "{context}");
        world.faulty.set_plan(trial.plan());
        let changed = change(&world.metadata).await;
        let injected = world.faulty.injected() > 0;
        let honest = match &changed {
            Ok(()) => true,
            Err(MetadataError::Unavailable(_) | MetadataError::OutcomeUnknown(_)) => injected,
            Err(_) => false,
        };
        assert!(honest, "{context}: {changed:?}");
        if matches!((trial.calls, trial.lasting), (Calls::Writes, Lasting::Once)) {
            assert!(changed.is_ok(), "{context}: one lost write is no reason to fail: {changed:?}");
        }
        world.heal();
        let here = seen(&world.metadata).await;
        world.restart();
        let there = seen(&world.metadata).await;
        assert_eq!(here, there, "{context}: the replica that made the change sees it otherwise");
        assert!(
            there == after || (changed.is_err() && there == before),
            "{context}: {changed:?}, then {there}"
        );
        if there == before {
            change(&world.metadata).await.unwrap_or_else(|error| panic!("{context}: again: {error}"));
        }
        assert_eq!(seen(&world.metadata).await, after, "{context}");
        injected
    })
    .await;
    assert!(trials > 20, "the plans did not fire");
}

async fn town(world: &World) {
    world.add_domain("example.org", None).await;
    world.add_user("ann@example.org").await;
}

async fn resolved(metadata: &Metadata, to: &str) -> String {
    format!("{:?}", metadata.resolve(to, 0).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn setting_a_password() {
    let ann = "ann@example.org".parse().unwrap();
    let (old, new) = ("secret".to_owned().into(), "new".to_owned().into());
    operators_change(
        town,
        async |metadata| metadata.set_password(&ann, &new).await,
        async |metadata| {
            let old_works = metadata.authenticate("ann@example.org", &old).await.is_ok();
            let new_works = metadata.authenticate("ann@example.org", &new).await.is_ok();
            format!("old: {old_works}, new: {new_works}")
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn disabling_and_enabling_a_user() {
    let ann: EmailAddress = "ann@example.org".parse().unwrap();
    let seen = async |metadata: &Metadata| resolved(metadata, "ann@example.org").await;
    let disable = async |metadata: &Metadata| metadata.set_user_status(&ann, UserStatus::Disabled).await;
    operators_change(town, disable, seen).await;
    let disabled = async |world: &World| {
        town(world).await;
        disable(&world.metadata).await.unwrap();
    };
    let enable = async |metadata: &Metadata| metadata.set_user_status(&ann, UserStatus::Active).await;
    operators_change(disabled, enable, seen).await;
}

#[tokio::test(start_paused = true)]
async fn making_and_removing_an_alias() {
    let alias = |targets: &[&str]| Alias {
        email: "all@example.org".parse().unwrap(),
        targets: targets.iter().map(|target| target.parse().unwrap()).collect(),
    };
    let (one, other) = ("ann@example.org", "bob@example.org");
    let seen = async |metadata: &Metadata| format!("{:?}", metadata.list_aliases("", 0).await.unwrap().0);
    let add = async |metadata: &Metadata, target| metadata.add_alias(&alias(&[target])).await.map(drop);
    let with_one = async |world: &World| {
        town(world).await;
        add(&world.metadata, one).await.unwrap();
    };
    let with_both = async |world: &World| {
        with_one(world).await;
        add(&world.metadata, other).await.unwrap();
    };
    operators_change(town, async |metadata| add(metadata, one).await, seen).await;
    operators_change(with_one, async |metadata| add(metadata, other).await, seen).await;
    operators_change(with_both, async |metadata| metadata.remove_alias(&alias(&[one])).await, seen).await;
    operators_change(with_one, async |metadata| metadata.remove_alias(&alias(&[one])).await, seen).await;
    operators_change(with_both, async |metadata| metadata.remove_alias(&alias(&[])).await, seen).await;
}

#[tokio::test(start_paused = true)]
async fn adding_and_removing_a_domain() {
    let name = "example.net".parse().unwrap();
    let catch_all = Some("ann@example.org".parse().unwrap());
    let domain = Domain { name, catch_all };
    let seen = async |metadata: &Metadata| resolved(metadata, "whoever@example.net").await;
    let add = async |metadata: &Metadata| metadata.add_domain(&domain).await;
    operators_change(town, add, seen).await;
    let added = async |world: &World| {
        town(world).await;
        add(&world.metadata).await.unwrap();
    };
    operators_change(added, async |metadata| metadata.remove_domain(&domain.name).await, seen).await;
}

#[tokio::test(start_paused = true)]
async fn setting_a_setting() {
    let bob = ConfigEntry { name: "postmaster".to_owned(), value: "bob@example.org".to_owned() };
    let two = async |world: &World| {
        town(world).await;
        world.add_user("bob@example.org").await;
    };
    let seen = async |metadata: &Metadata| {
        let rows = metadata.config("").await.unwrap();
        format!("{rows:?} {}", resolved(metadata, "postmaster").await)
    };
    operators_change(two, async |metadata| metadata.set_config(&bob).await, seen).await;
}
