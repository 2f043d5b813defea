//! The audit finds what was planted and nothing else; its repair mends that and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use puro_api::{
    AuditClient, Failure,
    model::{AuditEvent, AuditFinding, AuditKind, AuditSummary, Delivery},
};
use puro_metadata::{
    Metadata, MetadataError,
    store::{
        Condition, Item, Key, Table, Update, Value,
        embedded::{EmbeddedOptions, EmbeddedStore},
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::MailboxId;
use tokio::sync::mpsc;

use crate::{
    grpc::serve,
    lagging::Lagging,
    world::{DAY_MS, MINUTE_MS, World, mailbox, message},
};

/// Runs an audit to its end.
pub(crate) async fn audit(metadata: &Arc<Metadata>, repair: bool) -> (Vec<AuditFinding>, AuditSummary) {
    try_audit(metadata, repair).await.unwrap()
}

async fn try_audit(
    metadata: &Arc<Metadata>,
    repair: bool,
) -> Result<(Vec<AuditFinding>, AuditSummary), MetadataError> {
    let (sender, mut events) = mpsc::channel(4);
    let (metadata, mut found, mut end) = (Arc::clone(metadata), Vec::new(), None);
    let work = tokio::spawn(async move { metadata.audit(repair, sender).await });
    while let Some(event) = events.recv().await {
        assert_eq!(end, None, "something comes behind the summary");
        match event {
            AuditEvent::Progress { done, total, .. } => {
                assert!(total.is_none_or(|total| done <= total), "{done} of {total:?}");
            }
            AuditEvent::Finding(finding) => found.push(finding),
            AuditEvent::Summary(summary) => end = Some(summary),
        }
    }
    work.await.unwrap()?;
    Ok((found, end.unwrap()))
}

async fn everything(world: &World) -> BTreeMap<(Table, Key), Item> {
    let mut all = BTreeMap::new();
    for table in Table::ALL {
        all.extend(world.items(table).await.into_iter().map(|(key, item)| ((table, key), item)));
    }
    all
}

async fn deliver(world: &World, deliveries: &[Delivery]) {
    for delivery in deliveries {
        world.deliver(delivery).await.unwrap();
    }
}

/// A system in the middle of its life: mail new and old, shared and alone, deleted long and just now, a delivery that
/// waits, a compaction between two steps, bytes whose delivery is under way.
async fn busy(world: &World) {
    let [one, two] = [1, 2].map(mailbox);
    let both = [one.clone(), two.clone()];
    let ones = std::slice::from_ref(&one);
    let old = world.store(&[(1, ones), (2, ones), (3, &both), (4, ones)]);
    deliver(world, &old).await;
    for number in [0, 1, 3] {
        world.metadata.remove(&one, &[message(&old[number], &one)]).await.unwrap();
    }
    world.pass(60 * MINUTE_MS, 5 * MINUTE_MS).await;
    // Copied and moved; the old segment waits for its end.
    world.pass(DAY_MS + 60 * MINUTE_MS, 60 * MINUTE_MS).await;
    let number = world.clock_ms();
    let new = world.store(&[(number, &both), (number + 1, ones)]);
    deliver(world, &new).await;
    deliver(world, &world.store(&[(number + 2, &both)])).await;
    world.metadata.remove(&two, &[message(&new[0], &two)]).await.unwrap();
    let waiting = world.store(&[(number + 3, ones)]);
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::BeforeUnknown));
    deliver(world, &waiting).await;
    world.faulty.set_plan(FaultPlan::none());
    // Stored, not delivered yet.
    world.store(&[(number + 4, ones)]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_system_has_nothing_amiss() {
    let world = World::new();
    busy(&world).await;
    let (items, segments) = (everything(&world).await, world.segments.names());
    for repair in [false, true] {
        let (found, summary) = audit(&world.metadata, repair).await;
        assert_eq!(found, []);
        assert_eq!((summary.messages, summary.mailboxes, summary.repaired), (6, 2, 0));
        assert_eq!(summary.segments, segments.len() as u64);
    }
    assert_eq!(everything(&world).await, items);
    assert_eq!(world.segments.names(), segments);
}

/// What [`plant`] put where.
struct Planted {
    orphans: Vec<String>,
    unlabelled: String,
    dangling: Delivery,
    damaged: Delivery,
    counted: MailboxId,
    left: Key,
}

async fn plant(world: &World) -> Planted {
    let [one, two, three] = [1, 2, 3].map(mailbox);
    let ones = std::slice::from_ref(&one);
    // Never delivered, alone and with others; and a segment whose deletion was lost.
    let mut orphans = vec![
        world.store(&[(101, ones)])[0].location.object_name.clone(),
        world.store(&[(102, ones), (103, &[one.clone(), two.clone()])])[0].location.object_name.clone(),
    ];
    let unlabelled = world.segments.put(vec![bytes::Bytes::new()])[0].object_name.clone();
    let dangling = world.store(&[(104, &[one.clone(), two.clone()])]).remove(0);
    let damaged = world.store(&[(105, ones)]).remove(0);
    deliver(world, &[dangling.clone(), damaged.clone()]).await;
    deliver(world, &world.store(&[(106, std::slice::from_ref(&three))])).await;
    orphans.sort();
    let key = Key { partition: three.as_str().to_owned(), sort: "INBOX".to_owned() };
    let add = vec![("messages".to_owned(), 2), ("bytes".to_owned(), -70)];
    let update = Update { add, ..Update::default() };
    world.base.update(Table::Folder, key, update, Condition::default()).await.unwrap();
    let left = Key { partition: "stored-gone#3".to_owned(), sort: String::new() };
    let item = Item::from([("dead".to_owned(), Value::Set(["0".to_owned()].into()))]);
    world.base.put(Table::Segment, left.clone(), item, Condition::default()).await.unwrap();
    world.clock.advance_ms(5 * DAY_MS);
    world.segments.lose(&dangling.location.object_name);
    // Another message in its place, in a segment that is shorter than it was.
    let place = &damaged.location;
    world.segments.damage(place);
    Planted { orphans, unlabelled, dangling, damaged, counted: three, left }
}

async fn find_and_repair(world: &World) {
    let Planted { orphans, unlabelled, dangling, damaged, counted, left } = plant(world).await;
    busy(world).await;
    let (items, segments) = (everything(world).await, world.segments.names());

    let (found, summary) = audit(&world.metadata, false).await;
    let of = |kind| found.iter().filter(move |finding| finding.kind == kind).collect::<Vec<_>>();
    let mut names: Vec<_> = of(AuditKind::Orphan).iter().map(|finding| &finding.object_name).collect();
    names.sort();
    let mut expected: Vec<_> = orphans.iter().chain([&unlabelled]).collect();
    expected.sort();
    assert_eq!(names, expected);
    let mut lost: Vec<_> = of(AuditKind::Dangling)
        .iter()
        .map(|finding| (finding.mailbox.clone().unwrap(), finding.message.clone().unwrap()))
        .collect();
    lost.sort();
    let owners = dangling.mailboxes.iter().map(|at| (at.clone(), message(&dangling, at)));
    assert_eq!(lost, owners.collect::<Vec<_>>());
    assert_eq!(of(AuditKind::Dangling)[0].location.as_ref(), Some(&dangling.location));
    // A segment that is there is not read: what a message that seems whole is worth, its reader finds out.
    assert_eq!(of(AuditKind::Damaged), Vec::<&AuditFinding>::new());
    let counters = of(AuditKind::Counters);
    assert_eq!(counters.len(), 1, "{counters:?}");
    assert_eq!(counters[0].mailbox, Some(counted.clone()));
    assert_eq!(counters[0].detail, "counted 3 messages, 930 octets; there are 1, 1000");
    assert_eq!(of(AuditKind::LeftBehind).len(), 1, "{found:?}");
    assert_eq!(found.len(), 3 + 2 + 1 + 1, "{found:?}");
    let told = (summary.orphans, summary.dangling, summary.counters, summary.left_behind, summary.repaired);
    assert_eq!(told, (3, 2, 1, 1, 0));
    assert!(summary.is_loss());
    assert_eq!(everything(world).await, items, "looking changes nothing");
    assert_eq!(world.segments.names(), segments);

    let (found, summary) = audit(&world.metadata, true).await;
    assert_eq!((found.len(), summary.repaired), (7, 2 + 1 + 1), "{found:?}");
    let lost = found.iter().filter(|finding| finding.kind == AuditKind::Dangling);
    assert!(lost.clone().all(|finding| !finding.repaired) && lost.count() == 2);
    let kept = found.iter().find(|finding| finding.object_name == unlabelled).unwrap();
    assert!(!kept.repaired && kept.detail.contains("label"), "{kept:?}");
    let mut mended = items;
    mended.remove(&(Table::Segment, left)).unwrap();
    let folder = Key { partition: counted.as_str().to_owned(), sort: "INBOX".to_owned() };
    let folder = mended.get_mut(&(Table::Folder, folder)).unwrap();
    folder.insert("messages".to_owned(), Value::Number(1));
    folder.insert("bytes".to_owned(), Value::Number(1_000));
    assert_eq!(everything(world).await, mended, "nothing else changed");
    let mut rest = segments;
    rest.retain(|name| !orphans.contains(name));
    assert_eq!(world.segments.names(), rest);
    assert!(rest.contains(&damaged.location.object_name));

    let (found, summary) = audit(&world.metadata, true).await;
    assert_eq!((found.len(), summary.repaired, summary.dangling), (3, 0, 2), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_planted_is_found_and_mended() {
    find_and_repair(&World::new()).await;
}

#[tokio::test]
async fn what_was_planted_is_found_and_mended_on_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    find_and_repair(&World::on(Arc::new(store))).await;
}

#[tokio::test]
async fn what_was_planted_is_found_and_mended_on_dynamodb() {
    find_and_repair(&World::on(Arc::new(crate::rig::fresh().await.store))).await;
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_too_short_is_looked_into() {
    let world = World::new();
    let to = [mailbox(1)];
    let mut delivery = world.store(&[(1, &to)]).remove(0);
    delivery.location.offset += 500;
    deliver(&world, &[delivery.clone()]).await;
    let (found, summary) = audit(&world.metadata, true).await;
    assert_eq!((found.len(), summary.damaged), (1, 1), "{found:?}");
    assert_eq!(found[0].kind, AuditKind::Damaged);
    assert_eq!(world.items(Table::MetaMail).await.len(), 1, "it is never hidden");
}

#[tokio::test(start_paused = true)]
async fn mail_that_is_lost_at_once_is_told_at_once() {
    let world = World::new();
    let to = [mailbox(1)];
    let lost = world.store(&[(1, &to)]).remove(0);
    deliver(&world, std::slice::from_ref(&lost)).await;
    deliver(&world, &world.store(&[(2, &to)])).await;
    world.segments.lose(&lost.location.object_name);
    let (found, summary) = audit(&world.metadata, true).await;
    assert_eq!((found.len(), summary.dangling, summary.repaired), (1, 1, 0), "{found:?}");
    assert_eq!(found[0].message, Some(message(&lost, &to[0])));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_keeps_all_orphans() {
    let world = World::new();
    let to = [mailbox(1)];
    let orphan = world.store(&[(1, &to)]).remove(0);
    deliver(&world, &world.store(&[(2, &to)])).await;
    let (key, mut item) = world.items(Table::MetaMail).await.remove(0);
    item.remove("codec");
    world.base.put(Table::MetaMail, key.clone(), item, Condition::default()).await.unwrap();
    world.clock.advance_ms(2 * DAY_MS);
    let (found, summary) = audit(&world.metadata, true).await;
    assert_eq!((summary.unreadable, summary.repaired), (1, 0), "{found:?}");
    assert!(found.iter().any(|finding| finding.detail.contains(&key.sort)), "{found:?}");
    assert!(!world.segments.is_deleted(&orphan.location.object_name));
    assert!(summary.is_loss());
}

#[tokio::test(start_paused = true)]
async fn a_stale_scan_fools_nobody() {
    let world = World::new();
    let to = [mailbox(1)];
    deliver(&world, &world.store(&[(1, &to)])).await;
    let store = Lagging::new(world.memory.clone()).await;
    // The eventually consistent replica stands still for days.
    let old = world.store(&[(2, &to), (3, &to), (4, &to)]);
    deliver(&world, &old).await;
    for gone in &old[..2] {
        world.metadata.remove(&to[0], &[message(gone, &to[0])]).await.unwrap();
    }
    world.pass(3 * DAY_MS, 60 * MINUTE_MS).await;
    let orphan = world.store(&[(5, &to)]).remove(0);
    world.clock.advance_ms(2 * DAY_MS);
    let segments = world.segments.names();
    let (found, _) = audit(&world.replica_on(store), true).await;
    let names: Vec<_> = found.iter().map(|finding| (finding.kind, finding.object_name.as_str())).collect();
    assert_eq!(names, [(AuditKind::Orphan, orphan.location.object_name.as_str())], "{found:?}");
    let mut rest = segments;
    rest.remove(&orphan.location.object_name);
    assert_eq!(world.segments.names(), rest);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_wrong_fools_nobody() {
    let world = World::new();
    let to = [mailbox(1)];
    // Stored a minute ago; the blob service's disk says days ago, as after a restored backup or with a wrong clock.
    let fresh = world.store(&[(10, &to)]).remove(0);
    world.segments.set_created(&fresh.location.object_name, 0);
    // Accepted long ago, as the front end's clock says, and just stored.
    let other = world.store(&[(11, &to)]).remove(0);
    world.clock.advance_ms(MINUTE_MS);
    let now_ms = world.clock_ms() + crate::world::START_MS;
    world.segments.set_created(&other.location.object_name, now_ms);
    let (found, _) = audit(&world.metadata, true).await;
    assert_eq!(found, []);
    // The blob service's clock is ahead: the segment is of tomorrow.
    world.segments.set_created(&other.location.object_name, now_ms + 400 * DAY_MS);
    world.clock.advance_ms(5 * DAY_MS);
    let (found, _) = audit(&world.metadata, true).await;
    assert_eq!(found.len(), 1, "only what all clocks call old: {found:?}");
    assert_eq!(found[0].object_name, fresh.location.object_name);
}

#[tokio::test(start_paused = true)]
async fn mail_may_flow_meanwhile() {
    let world = World::new();
    let boxes = [mailbox(1), mailbox(2), mailbox(3)];
    plant(&world).await;
    let (metadata, segments) = (Arc::clone(&world.metadata), Arc::clone(&world.segments));
    let auditing = tokio::spawn({
        let metadata = Arc::clone(&metadata);
        async move {
            let mut all = Vec::new();
            for _ in 0..30 {
                all.extend(audit(&metadata, true).await.0);
            }
            all
        }
    });
    let mut number = 10_000;
    let mut sent = 0;
    while !auditing.is_finished() {
        let messages: Vec<_> = (0..4).map(|more| (number + more, &boxes[..])).collect();
        number += 4;
        for delivery in world.store(&messages) {
            world.deliver(&delivery).await.unwrap();
            sent += 1;
            if sent % 3 == 0 {
                metadata.remove(&boxes[0], &[message(&delivery, &boxes[0])]).await.unwrap();
            }
        }
        tokio::task::yield_now().await;
        world.metadata.work_once().await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(sent > 100, "{sent}");
    for finding in auditing.await.unwrap() {
        let is_planted =
            matches!(finding.kind, AuditKind::Orphan | AuditKind::Dangling | AuditKind::LeftBehind)
                || finding.mailbox == Some(boxes[2].clone());
        assert!(is_planted, "{finding:?}");
    }
    for at in &boxes {
        for listed in &world.list(at).await.unwrap().messages {
            let is_there = segments.holds(&listed.location);
            assert!(is_there || listed.id.accepted_ms() < crate::world::START_MS + 200, "{listed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_answer_breaks_an_audit_off() {
    let world = World::new();
    plant(&world).await;
    let mut reads = 0;
    loop {
        world.faulty.set_plan(FaultPlan::nth(reads, Calls::Reads, Fault::Before));
        let outcome = try_audit(&world.replica(), true).await;
        if world.faulty.injected() == 0 {
            outcome.unwrap();
            break;
        }
        assert!(matches!(outcome, Err(MetadataError::Unavailable(_))), "read {reads}: {outcome:?}");
        reads += 1;
    }
    assert!(reads > 20, "{reads}");
    world.heal();
    world.segments.set_down(true);
    assert!(matches!(try_audit(&world.metadata, true).await, Err(MetadataError::Unavailable(_))));
}

#[tokio::test]
async fn an_audit_through_grpc() {
    let world = World::new();
    let planted = plant(&world).await;
    let (backend, _served) = serve(&world);
    let client = AuditClient::new(backend);
    let mut stream = client.audit(true).await.unwrap();
    let (mut kinds, mut progress, mut summary) = (Vec::new(), 0, None);
    while let Some(event) = stream.next().await.unwrap() {
        match event {
            AuditEvent::Progress { .. } => progress += 1,
            AuditEvent::Finding(finding) => kinds.push(finding.kind),
            AuditEvent::Summary(end) => summary = Some(end),
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, [AuditKind::Orphan, AuditKind::Dangling, AuditKind::Counters, AuditKind::LeftBehind]);
    assert!(progress > 5);
    assert_eq!(summary.unwrap().repaired, 4);
    assert!(planted.orphans.iter().all(|name| world.segments.is_deleted(name)));

    // One at a time; one that nobody listens to any more makes room for the next.
    let (sender, mut events) = mpsc::channel(1);
    let metadata = Arc::clone(&world.metadata);
    let first = tokio::spawn(async move { metadata.audit(false, sender).await });
    events.recv().await.unwrap();
    let refused = client.audit(false).await.unwrap().next().await;
    assert!(matches!(refused, Err(Failure::FailedPrecondition(_))), "{refused:?}");
    drop(events);
    assert!(first.await.unwrap().is_err());
    let mut stream = client.audit(false).await.unwrap();
    while stream.next().await.unwrap().is_some() {}
}
