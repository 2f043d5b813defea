//! Accounts and messages that move from one store to another, and back to the one that they were removed from.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use puro_api::model::{
    AccountPut, AccountRecord, Alias, Domain, MailState, MessageOutcome, Refusal, Resolution, UserStatus,
    Written,
};
use puro_metadata::{
    Metadata, MetadataError,
    store::{
        Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update, Value,
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::{ByteSize, EmailAddress, Location, MailboxId, MessageId};

use crate::world::{DAY_MS, MINUTE_MS, World, alone, location, message, new_user};

const EXPORT: &str = "0123abcd";
const EMAIL: &str = "ann@example.org";

fn ann() -> EmailAddress {
    EMAIL.parse().unwrap()
}

/// A world with an account and three messages, of which the second is deleted.
async fn source() -> (World, AccountRecord) {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let mut user = new_user(EMAIL);
    (user.first_name, user.quota) = ("Ann".to_owned(), Some(ByteSize(1 << 20)));
    let user = world.metadata.add_user(&user).await.unwrap();
    let mailboxes = std::slice::from_ref(&user.mailbox);
    for number in 1..=3 {
        world.deliver(&alone(number, mailboxes)).await.unwrap();
    }
    let gone = message(&alone(2, mailboxes), &user.mailbox);
    world.metadata.remove(&user.mailbox, &[gone]).await.unwrap();
    let record = world.metadata.account_record(&ann()).await.unwrap();
    (world, record)
}

/// A world with the domain only.
async fn target() -> World {
    let world = World::new();
    world.add_domain("example.org", None).await;
    world
}

/// Returns the live messages of a mailbox, each at a place of its own in the other store.
async fn moved(world: &World, mailbox: &MailboxId) -> Vec<(MessageId, Location)> {
    let (stored, next) = world.metadata.list_stored(mailbox, "", None, 0).await.unwrap();
    assert_eq!(next, None);
    let live = stored.into_iter().filter(|stored| stored.location.is_some());
    live.map(|stored| (stored.id.clone(), location(&format!("moved-{}", stored.id), 0, 1))).collect()
}

async fn import(
    metadata: &Metadata,
    record: &AccountRecord,
    messages: &[(MessageId, Location)],
) -> Result<AccountPut, MetadataError> {
    let put = metadata.put_account_record(record, EXPORT, false).await?;
    if put.mail != MailState::Done {
        let undelete = put.mail == MailState::Filling;
        metadata.put_messages(&record.mailbox, messages.to_vec(), undelete).await?;
    }
    metadata.open_account(&record.email, &record.mailbox, EXPORT, record.status).await?;
    Ok(put)
}

async fn logs_in(world: &World) -> bool {
    world.metadata.authenticate(EMAIL, &"secret".to_owned().into()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn an_account_moves_with_all_that_is_kept_of_it() {
    let (from, record) = source().await;
    let messages = moved(&from, &record.mailbox).await;
    assert_eq!(messages.len(), 2);
    let to = target().await;
    let put = import(&to.metadata, &record, &messages).await.unwrap();
    assert_eq!(put, AccountPut { written: Written::Added, mail: MailState::Filling });
    assert!(logs_in(&to).await, "with the old password");
    assert_eq!(to.ids(&record.mailbox).await, from.ids(&record.mailbox).await);
    let there = to.metadata.account_record(&ann()).await.unwrap();
    assert!(there.folder.version > record.folder.version, "no cached listing passes for current");
    assert_eq!(
        (there.folder.uid_validity, there.folder.next_uid, there.folder.messages, there.folder.bytes),
        (record.folder.uid_validity, record.folder.next_uid, 2, 2_000)
    );
    assert_eq!(
        (there.mailbox, there.first_name, there.quota, there.status, there.updated_ms),
        (record.mailbox.clone(), record.first_name.clone(), record.quota, record.status, record.updated_ms)
    );
    // Again: nothing more.
    let again = import(&to.metadata, &record, &messages).await.unwrap();
    assert_eq!(again, AccountPut { written: Written::Same, mail: MailState::Done });
    assert_eq!(to.ids(&record.mailbox).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_account_is_closed_until_its_mail_is_in() {
    let (from, record) = source().await;
    let to = target().await;
    to.metadata.put_account_record(&record, EXPORT, false).await.unwrap();
    let put_off = Resolution::Refusal(Refusal::Disabled);
    assert!(!logs_in(&to).await);
    assert_eq!(to.metadata.resolve(EMAIL, 0).await.unwrap(), put_off, "mail is put off, not refused");
    // Another run, of this export or of a newer one, goes on.
    for export in [EXPORT, "other"] {
        let put = to.metadata.put_account_record(&record, export, false).await.unwrap();
        assert_eq!(put, AccountPut { written: Written::Same, mail: MailState::Filling });
    }
    let opened = to.metadata.open_account(&ann(), &record.mailbox, EXPORT, UserStatus::Active).await;
    assert!(matches!(opened, Err(MetadataError::Refused(_))), "the other one fills it now: {opened:?}");
    let messages = moved(&from, &record.mailbox).await;
    to.metadata.put_messages(&record.mailbox, messages, true).await.unwrap();
    assert!(!logs_in(&to).await);
    to.metadata.open_account(&ann(), &record.mailbox, "other", UserStatus::Active).await.unwrap();
    assert!(logs_in(&to).await);
    // A disabled account stays one.
    let to = target().await;
    let record = AccountRecord { status: UserStatus::Disabled, ..record };
    import(&to.metadata, &record, &[]).await.unwrap();
    assert!(!logs_in(&to).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_different_is_refused_unless_it_is_to_be_overwritten() {
    let (from, record) = source().await;
    type Change = fn(&mut AccountRecord);
    let changes: [(&str, Change); 4] = [
        ("password", |record| {
            record.password_hash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned().into()
        }),
        ("name", |record| record.last_name = "Other".to_owned()),
        ("quota", |record| record.quota = None),
        ("status", |record| record.status = UserStatus::Disabled),
    ];
    for (what, change) in changes {
        let mut other = record.clone();
        change(&mut other);
        let refused = from.metadata.put_account_record(&other, EXPORT, false).await;
        let told = matches!(&refused, Err(MetadataError::AlreadyExists(why)) if why.contains(what));
        assert!(told, "{what}: {refused:?}");
    }
    let other = AccountRecord { quota: None, last_name: "Other".to_owned(), ..record.clone() };
    let put = from.metadata.put_account_record(&other, EXPORT, true).await.unwrap();
    assert_eq!(put, AccountPut { written: Written::Replaced, mail: MailState::InUse });
    assert!(logs_in(&from).await, "an account that is in use is not closed");
    assert_eq!(from.metadata.account_record(&ann()).await.unwrap().quota, None);
    assert_eq!(from.ids(&record.mailbox).await.len(), 2);
    for damaged in ["", "secret", "$argon2id$"] {
        let other = AccountRecord { password_hash: damaged.to_owned().into(), ..record.clone() };
        let refused = from.metadata.put_account_record(&other, EXPORT, true).await;
        assert!(matches!(refused, Err(MetadataError::Invalid(_))), "{refused:?}");
    }
    let elsewhere = AccountRecord { email: "ann@example.com".parse().unwrap(), ..record.clone() };
    let refused = from.metadata.put_account_record(&elsewhere, EXPORT, true).await;
    assert!(matches!(refused, Err(MetadataError::Refused(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn another_mailbox_at_the_address_goes_the_way_of_a_removed_one() {
    let (from, record) = source().await;
    let messages = moved(&from, &record.mailbox).await;
    let to = target().await;
    // The other world draws its ids from the same seed.
    to.add_user("bob@example.org").await;
    let there = to.add_user(EMAIL).await;
    to.deliver(&alone(9, std::slice::from_ref(&there.mailbox))).await.unwrap();
    let refused = to.metadata.put_account_record(&record, EXPORT, false).await;
    assert!(
        matches!(&refused, Err(MetadataError::AlreadyExists(why)) if why.contains("mailbox")),
        "{refused:?}"
    );
    let put = to.metadata.put_account_record(&record, EXPORT, true).await.unwrap();
    assert_eq!(put, AccountPut { written: Written::Replaced, mail: MailState::Filling });
    to.metadata.put_messages(&record.mailbox, messages, true).await.unwrap();
    to.metadata.open_account(&ann(), &record.mailbox, EXPORT, UserStatus::Active).await.unwrap();
    to.pass(40 * MINUTE_MS, 5 * MINUTE_MS).await;
    assert_eq!(to.ids(&record.mailbox).await.len(), 2);
    assert!(to.list(&there.mailbox).await.is_err(), "it was given up");
    assert!(to.segments.is_deleted("alone-9"));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_was_removed_by_mistake_comes_back() {
    // Before the clean-up begins, after it emptied the mailbox, after it took the folder away.
    for wait_ms in [0, 40 * MINUTE_MS, 5 * DAY_MS, 40 * DAY_MS] {
        let (world, record) = source().await;
        let messages = moved(&world, &record.mailbox).await;
        let ids = world.ids(&record.mailbox).await;
        world.metadata.remove_user(&ann()).await.unwrap();
        world.pass(wait_ms, (wait_ms / 8).max(1)).await;
        import(&world.metadata, &record, &messages).await.unwrap();
        assert!(logs_in(&world).await);
        assert_eq!(world.ids(&record.mailbox).await, ids, "after {wait_ms} ms");
        // What the removal left to do does no harm.
        world.pass_all().await;
        world.pass(40 * DAY_MS, DAY_MS).await;
        assert_eq!(world.ids(&record.mailbox).await, ids, "after {wait_ms} ms and all clean-up");
        let fresh = world.replica().list(&record.mailbox, 0).await;
        assert!(fresh.is_ok(), "the folder is there: {fresh:?}");
        for (_, location) in &messages {
            let is_used =
                world.list(&record.mailbox).await.unwrap().messages.iter().any(|m| m.location == *location);
            assert!(!is_used || !world.segments.is_deleted(&location.object_name));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_user_deleted_stays_deleted() {
    let (world, record) = source().await;
    let mailbox = &record.mailbox;
    let deleted = alone(2, std::slice::from_ref(mailbox));
    let copy = |number: u64| {
        let delivery = alone(number, std::slice::from_ref(mailbox));
        (message(&delivery, mailbox), location(&format!("copy-{number}"), 0, 1))
    };
    let outcomes =
        world.metadata.put_messages(mailbox, vec![copy(1), copy(2), copy(4)], false).await.unwrap();
    assert_eq!(outcomes, [MessageOutcome::Present, MessageOutcome::Deleted, MessageOutcome::Added]);
    assert_eq!(world.ids(mailbox).await.len(), 3);
    let outcomes = world.metadata.put_messages(mailbox, vec![copy(2)], true).await.unwrap();
    assert_eq!(outcomes, [MessageOutcome::Added], "unless that is asked for");
    assert!(world.ids(mailbox).await.contains(&message(&deleted, mailbox)));
    world.pass_all().await;
    assert_eq!(world.ids(mailbox).await.len(), 4, "the job of the removal lets it be");
    assert!(!world.segments.is_deleted("copy-2"));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_put_once_and_never_over_another() {
    let (world, record) = source().await;
    let mailbox = &record.mailbox;
    let id = message(&alone(7, std::slice::from_ref(mailbox)), mailbox);
    let place = location("one", 0, 1);
    for _ in 0..3 {
        let put = world.metadata.put_messages(mailbox, vec![(id.clone(), place.clone())], false).await;
        assert_eq!(put.unwrap(), [MessageOutcome::Added], "by this upload");
    }
    let mut larger = location("two", 0, 1);
    larger.body.length += 1;
    larger.body.stored_length += 1;
    let put = world.metadata.put_messages(mailbox, vec![(id.clone(), larger)], true).await.unwrap();
    assert_eq!(put, [MessageOutcome::Different]);
    let listing = world.list(mailbox).await.unwrap();
    assert_eq!(listing.messages.iter().find(|message| message.id == id).unwrap().location, place);
    // Counters that repeats made doubtful are right again after a listing in quiet.
    world.clock.advance_ms(2 * MINUTE_MS);
    world.replica().list(mailbox, 0).await.unwrap();
    let user = world.metadata.user(&ann()).await.unwrap();
    assert_eq!((user.messages, user.bytes), (3, 3_000));
    for wrong in [vec![(id.clone(), place.clone()); 2], vec![(id, Location { slots: 0, ..place })]] {
        let refused = world.metadata.put_messages(mailbox, wrong, false).await;
        assert!(matches!(refused, Err(MetadataError::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_into_a_mailbox_that_is_given_up() {
    let (world, record) = source().await;
    world.metadata.remove_user(&ann()).await.unwrap();
    world.pass(40 * MINUTE_MS, 5 * MINUTE_MS).await;
    let id = message(&alone(7, std::slice::from_ref(&record.mailbox)), &record.mailbox);
    let put = world.metadata.put_messages(&record.mailbox, vec![(id, location("one", 0, 1))], false).await;
    assert!(matches!(put, Err(MetadataError::NotFound(_))), "{put:?}");
    let opened = world.metadata.open_account(&ann(), &record.mailbox, EXPORT, UserStatus::Active).await;
    assert!(matches!(opened, Err(MetadataError::NotFound(_))), "{opened:?}");
}

#[tokio::test(start_paused = true)]
async fn domains_and_aliases() {
    let world = target().await;
    let domain = |catch_all: Option<&str>| Domain {
        name: "example.net".parse().unwrap(),
        catch_all: catch_all.map(|address| address.parse().unwrap()),
    };
    let put = async |catch_all, overwrite| world.metadata.put_domain(&domain(catch_all), overwrite).await;
    // The domain of the catch-all may come later in the export.
    assert_eq!(put(Some("all@example.com"), false).await, Ok(Written::Added));
    assert_eq!(put(Some("all@example.com"), false).await, Ok(Written::Same));
    assert!(matches!(put(None, false).await, Err(MetadataError::AlreadyExists(_))));
    assert_eq!(put(None, true).await, Ok(Written::Replaced));
    assert!(world.metadata.list_domains().await.unwrap().contains(&domain(None)));

    world.add_user(EMAIL).await;
    let put = async |email: &str, targets: &[&str], overwrite| {
        let targets = targets.iter().map(|target| target.parse().unwrap()).collect();
        world.metadata.put_alias(&Alias { email: email.parse().unwrap(), targets }, overwrite).await
    };
    assert_eq!(put("a@example.org", &["b@x.test", "c@x.test"], false).await, Ok(Written::Added));
    assert_eq!(put("a@example.org", &["c@x.test", "b@x.test"], false).await, Ok(Written::Same));
    assert!(matches!(put("a@example.org", &["b@x.test"], false).await, Err(MetadataError::AlreadyExists(_))));
    assert_eq!(put("a@example.org", &["b@x.test"], true).await, Ok(Written::Replaced));
    let listed = world.metadata.list_aliases("", 0).await.unwrap().0;
    assert_eq!(listed[0].targets, ["b@x.test".parse().unwrap()], "exactly these, not added to the others");
    for overwrite in [false, true] {
        let taken = put(EMAIL, &["b@x.test"], overwrite).await;
        assert!(matches!(taken, Err(MetadataError::AlreadyExists(_))), "{taken:?}");
    }
    assert!(matches!(put("a@other.test", &["b@x.test"], false).await, Err(MetadataError::Refused(_))));
    assert!(matches!(put("a@example.org", &[], true).await, Err(MetadataError::Invalid(_))));
    let alias = world.metadata.account_record(&"a@example.org".parse().unwrap()).await;
    assert!(matches!(alias, Err(MetadataError::NotFound(_))), "{alias:?}");
}

#[tokio::test(start_paused = true)]
async fn an_import_that_was_cut_off_anywhere_is_finished_by_the_next() {
    let (from, record) = source().await;
    let messages = moved(&from, &record.mailbox).await;
    let mut injected = 0;
    for fault in Fault::ALL {
        // As many calls as one write is tried, and from there on.
        for count in [1, 4, 1_000_000] {
            for first in 0.. {
                let context = format!("{fault:?} at {first} for {count}");
                let to = target().await;
                to.faulty.set_plan(FaultPlan::during(first..first + count, Calls::Writes, fault));
                let run = import(&to.metadata, &record, &messages).await;
                let hit = to.faulty.injected() > 0;
                assert!(hit || run.is_ok(), "{context}: {run:?}");
                to.heal();
                if run.is_err() {
                    assert!(
                        !logs_in(&to).await || to.ids(&record.mailbox).await.len() == 2,
                        "{context}: half open"
                    );
                    import(&to.metadata, &record, &messages)
                        .await
                        .unwrap_or_else(|e| panic!("{context}: {e}"));
                }
                assert!(logs_in(&to).await, "{context}");
                assert_eq!(to.ids(&record.mailbox).await, from.ids(&record.mailbox).await, "{context}");
                assert_eq!(to.items(Table::MetaMail).await.len(), 2, "{context}");
                to.clock.advance_ms(2 * MINUTE_MS);
                to.replica().list(&record.mailbox, 0).await.unwrap();
                let user = to.metadata.user(&ann()).await.unwrap();
                assert_eq!((user.messages, user.bytes), (2, 2_000), "{context}");
                if !hit {
                    break;
                }
                injected += 1;
            }
        }
    }
    assert!(injected > 20, "the plans did not fire");
}

#[tokio::test(start_paused = true)]
async fn messages_are_listed_in_pages_and_ranges() {
    let (world, record) = source().await;
    let mailbox = &record.mailbox;
    let (first, next) = world.metadata.list_stored(mailbox, "", None, 2).await.unwrap();
    assert_eq!(first.iter().map(|stored| stored.location.is_some()).collect::<Vec<_>>(), [true, false]);
    let (rest, end) = world.metadata.list_stored(mailbox, &next.unwrap(), None, 2).await.unwrap();
    assert_eq!((rest.len(), end), (1, None));
    let (until, _) = world.metadata.list_stored(mailbox, "", Some(&first[1].id), 0).await.unwrap();
    assert_eq!(until, first);
    let state =
        |stored: &[puro_api::model::StoredMessage]| stored.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    let items = world.items(Table::MetaMail).await;
    let live = items.iter().filter(|(_, item)| item.get("state") == Some(&Value::Text("live".to_owned())));
    assert_eq!(live.count(), 2, "{:?}", state(&first));
}

/// A store that has something happen just before one of its calls.
struct Meanwhile {
    inner: Arc<dyn ItemStore>,
    /// Calls until then.
    left: AtomicU64,
    work: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

impl Meanwhile {
    async fn tick(&self) -> &dyn ItemStore {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            let work = self.work.lock().unwrap().take();
            work.unwrap().await;
        }
        self.inner.as_ref()
    }
}

#[async_trait]
impl ItemStore for Meanwhile {
    fn kind(&self) -> &'static str {
        "meanwhile"
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        self.tick().await.get(table, key, consistency).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.tick().await.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.tick().await.scan(table, after, limit).await
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.tick().await.put(table, key, item, condition).await
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        self.tick().await.update(table, key, update, condition).await
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.tick().await.delete(table, key, condition).await
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_may_come_at_any_moment_of_the_emptying() {
    // The three steps of the job: what the worker did before, and how long until the step is due.
    for (stage, before_ms, due_ms) in
        [(0, 0, 16 * MINUTE_MS), (1, 40 * MINUTE_MS, 25 * 60 * MINUTE_MS), (2, 3 * DAY_MS, 40 * DAY_MS)]
    {
        let mut came = 0;
        for call in 0.. {
            let context = format!("stage {stage}, before call {call}");
            let (world, record) = source().await;
            let messages = moved(&world, &record.mailbox).await;
            let ids = world.ids(&record.mailbox).await;
            world.metadata.remove_user(&ann()).await.unwrap();
            world.pass(before_ms, (before_ms / 16).max(1)).await;
            world.clock.advance_ms(due_ms);
            let (metadata, again) = (Arc::clone(&world.metadata), messages.clone());
            let account = record.clone();
            let meanwhile = Arc::new(Meanwhile {
                inner: world.metered.clone(),
                left: AtomicU64::new(call),
                work: Mutex::new(Some(Box::pin(async move {
                    // What it is refused, because the job was quicker, the next run gets.
                    let _ = import(&metadata, &account, &messages).await;
                }))),
            });
            world.replica_on(meanwhile.clone()).work_once().await;
            if meanwhile.work.lock().unwrap().is_some() {
                break;
            }
            came += 1;
            // While the mailbox was being emptied it was refused.
            world.clock.advance_ms(6 * MINUTE_MS);
            import(&world.metadata, &record, &again).await.unwrap_or_else(|e| panic!("{context}: {e}"));
            assert!(logs_in(&world).await, "{context}");
            world.pass_all().await;
            world.pass(80 * DAY_MS, DAY_MS).await;
            let listed = world.replica().list(&record.mailbox, 0).await;
            assert!(listed.is_ok(), "{context}: {listed:?}");
            assert_eq!(world.ids(&record.mailbox).await, ids, "{context}");
            for message in &world.list(&record.mailbox).await.unwrap().messages {
                assert!(
                    !world.segments.is_deleted(&message.location.object_name),
                    "{context}: bytes are gone"
                );
            }
        }
        assert!(came > 10, "stage {stage} made {came} calls only");
    }
}
