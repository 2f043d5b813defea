//! Mixtures of operations by seed, with faults by seed. A failure prints its seed; `PURO_TEST_SEED` runs that one.

use puro_metadata::store::faulty::FaultPlan;

use crate::{
    draw::{Draw, seeds},
    ledger::Ledger,
    world::{MINUTE_MS, World, delivery, location, mailbox},
};

#[tokio::test(start_paused = true)]
async fn mixtures() {
    for seed in seeds(0..60) {
        eprintln!("seed {seed}");
        mixture(seed).await;
    }
}

async fn mixture(seed: u64) {
    let mut draw = Draw(seed);
    let mut world = World::new();
    let mut ledger = Ledger::default();
    let per_mille = [0, 20, 150, 400][usize::try_from(seed % 4).unwrap()];
    let mut all_sent = true;
    let mut transaction = 0;
    for step in 0..60 {
        let context = format!("seed {seed}, step {step}");
        world.faulty.set_plan(FaultPlan::seeded(seed.wrapping_mul(1_000) + step, per_mille));
        match draw.below(12) {
            0..=4 => all_sent &= deliver_segment(&world, &mut ledger, &mut draw, &mut transaction).await,
            5..=7 => remove_some(&world, &mut ledger, &mut draw).await,
            8 => world.clock.advance_ms(draw.below(30 * MINUTE_MS)),
            9 => {
                world.segments.set_down(draw.below(2) == 0);
                world.metadata.work_once().await;
            }
            10 => world.restart(),
            _ => {
                world.heal();
                ledger.check_safety(&world, &context).await;
            }
        }
    }
    let context = format!("seed {seed}, at the end");
    world.heal();
    world.restart();
    world.pass(60 * MINUTE_MS, 5 * MINUTE_MS).await;
    ledger.check(&world, &context).await;
    world.pass_all().await;
    ledger.check(&world, &context).await;
    let mailboxes: Vec<_> = ledger.mailboxes().cloned().collect();
    for mailbox in mailboxes {
        let ids = world.ids(&mailbox).await;
        ledger.remove(&world, &mailbox, &ids).await.unwrap();
    }
    world.pass_all().await;
    ledger.check(&world, &context).await;
    if all_sent && per_mille == 0 {
        ledger.check_space(&world, &context).await;
    }
}

/// Delivers the messages of one segment; returns whether all were acknowledged.
async fn deliver_segment(world: &World, ledger: &mut Ledger, draw: &mut Draw, transaction: &mut u64) -> bool {
    let slots = u32::try_from(1 + draw.below(3)).unwrap();
    let object = format!("segment-{transaction}");
    let mut all_sent = true;
    for slot in 0..slots {
        // Some are accepted long before others of the same segment.
        *transaction += 1 + draw.below(5 * MINUTE_MS);
        let mailboxes: Vec<_> = (0..4).filter(|_| draw.below(2) == 0).map(mailbox).collect();
        let mailboxes = if mailboxes.is_empty() { vec![mailbox(0)] } else { mailboxes };
        let delivery = delivery(*transaction, &mailboxes, location(&object, slot, slots));
        let mut sent = ledger.deliver(world, &delivery).await;
        if sent.is_err() && draw.below(2) == 0 {
            // The client of the service repeats the call.
            sent = ledger.deliver(world, &delivery).await;
        }
        all_sent &= sent.is_ok();
    }
    all_sent
}

async fn remove_some(world: &World, ledger: &mut Ledger, draw: &mut Draw) {
    let Ok(mailbox) = u8::try_from(draw.below(4)).map(mailbox) else { return };
    let Ok(listing) = world.list(&mailbox).await else { return };
    let marked: Vec<_> =
        listing.messages.iter().filter(|_| draw.below(3) == 0).map(|message| message.id.clone()).collect();
    if ledger.remove(world, &mailbox, &marked).await.is_err() && draw.below(2) == 0 {
        // The next session deletes them again.
        let _ = ledger.remove(world, &mailbox, &marked).await;
    }
}
