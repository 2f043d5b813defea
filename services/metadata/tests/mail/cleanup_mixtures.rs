//! Deliveries, removals, time, faults and restarts by seed, with compactions among them. A failure prints its seed;
//! `PURO_TEST_SEED` runs that one.

use std::{collections::BTreeSet, sync::Arc};

use puro_metadata::store::{
    ItemStore, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    faulty::FaultPlan,
};
use puro_types::{MailboxId, MessageId};

use crate::{
    audit::audit,
    cleanup_compact::pass_compaction,
    draw::{Draw, seeds},
    ledger::Ledger,
    world::{DAY_MS, World, mailbox},
};

#[tokio::test(start_paused = true)]
async fn mixtures_of_all_this() {
    for seed in seeds(0..30) {
        eprintln!("seed {seed}");
        mixture(&mut World::new(), seed).await;
    }
}

/// The same on the store that one machine runs on, where reads and writes take their time.
#[tokio::test]
async fn a_mixture_on_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
    let store: Arc<dyn ItemStore> = Arc::new(store);
    mixture(&mut World::on(store), 4).await;
}

/// And on DynamoDB's own stand-in.
#[tokio::test]
async fn a_mixture_on_dynamodb() {
    let store = crate::rig::fresh().await.store;
    mixture(&mut World::on(Arc::new(store)), 1).await;
}

async fn mixture(world: &mut World, seed: u64) {
    let mut draw = Draw(seed);
    let mut ledger = Ledger::default();
    let per_mille = [0, 20, 150][usize::try_from(seed % 3).unwrap()];
    let mut number = 0;
    for step in 0..60 {
        let context = format!("seed {seed}, step {step}");
        world.faulty.set_plan(FaultPlan::seeded(seed.wrapping_mul(1_000) + step, per_mille));
        match draw.below(12) {
            0..=2 => {
                let segment: Vec<(u64, Vec<MailboxId>)> = (0..=draw.below(8))
                    .map(|_| {
                        number += 1;
                        let to = (0..4).filter(|_| draw.below(3) == 0).map(mailbox).collect::<Vec<_>>();
                        (number, if to.is_empty() { vec![mailbox(0)] } else { to })
                    })
                    .collect();
                let messages: Vec<_> = segment.iter().map(|(number, to)| (*number, to.as_slice())).collect();
                for delivery in world.store(&messages) {
                    // A refused one is an orphan in its segment.
                    let _ = ledger.deliver(world, &delivery).await;
                }
            }
            3..=6 => {
                let at = mailbox(u8::try_from(draw.below(4)).unwrap());
                let Ok(listing) = world.list(&at).await else { continue };
                let marked: Vec<MessageId> = listing
                    .messages
                    .iter()
                    .filter(|_| draw.below(2) == 0)
                    .map(|message| message.id.clone())
                    .collect();
                let _ = ledger.remove(world, &at, &marked).await;
            }
            7..=8 => {
                world.clock.advance_ms(draw.below(DAY_MS));
                world.metadata.work_once().await;
            }
            9 => {
                world.segments.fail(draw.below(3), draw.below(2) == 0);
                world.clock.advance_ms(draw.below(2 * DAY_MS));
                world.metadata.work_once().await;
            }
            10 => world.restart(),
            _ => {
                world.heal();
                ledger.check_safety(world, &context).await;
            }
        }
    }
    let context = format!("seed {seed}, at the end");
    world.heal();
    world.restart();
    pass_compaction(world).await;
    ledger.check(world, &context).await;
    // A second time for what became thin by the first.
    pass_compaction(world).await;
    assert!(world.queue().await.is_empty(), "{context}: {:?}", world.queue().await);
    let (found, summary) = audit(&world.metadata, true).await;
    assert!(!summary.is_loss(), "{context}: {found:?}");
    ledger.check(world, &context).await;
    let mailboxes: Vec<_> = ledger.mailboxes().cloned().collect();
    for mailbox in mailboxes {
        let ids = world.ids(&mailbox).await;
        ledger.remove(world, &mailbox, &ids).await.unwrap();
    }
    pass_compaction(world).await;
    pass_compaction(world).await;
    // The second takes the items about segments that the first has deleted.
    for _ in 0..2 {
        audit(&world.metadata, true).await;
    }
    assert_eq!(world.segments.names(), BTreeSet::new(), "{context}: space is left");
    for table in [Table::MetaMail, Table::Segment] {
        assert_eq!(world.items(table).await, [], "{context}");
    }
}
