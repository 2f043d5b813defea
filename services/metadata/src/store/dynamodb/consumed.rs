//! What DynamoDB says that calls cost, by table and verb: its own figures, not ours.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::super::{
    Table,
    metered::{Units, Usage, Verb},
};

const VERBS: [Verb; 6] = [Verb::Get, Verb::Query, Verb::Scan, Verb::Put, Verb::Update, Verb::Delete];

#[derive(Debug, Default)]
struct Cell {
    calls: AtomicU64,
    /// Halves of units: an eventual read of up to 4 KB is one.
    halves: AtomicU64,
}

/// The units that a [`super::DynamoStore`] was billed; clones read the same.
///
/// A write that a condition refused is billed, but its answer carries no figure: it is counted by the rule of the
/// Developer Guide, the larger of the item that is there and the one that was to be. A call without an answer is not
/// counted.
#[derive(Debug, Clone)]
pub struct Consumed(Arc<BTreeMap<(Table, Verb), Cell>>);

impl Consumed {
    pub(super) fn new() -> Self {
        let places = Table::ALL.into_iter().flat_map(|table| VERBS.map(|verb| (table, verb)));
        Self(Arc::new(places.map(|place| (place, Cell::default())).collect()))
    }

    /// Returns what was used until now.
    #[must_use]
    pub fn units(&self) -> Usage {
        self.0.iter().map(|((table, verb), cell)| (*table, *verb, cell.units(*verb))).collect()
    }

    /// Counts an answer.
    pub(super) fn add(&self, table: Table, verb: Verb, calls: u64, capacity: Option<&ConsumedCapacity>) {
        let units = capacity.and_then(ConsumedCapacity::capacity_units).unwrap_or(0.0);
        // Units are halves and small, never negative.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let halves = (units.clamp(0.0, 1e9) * 2.0).round() as u64;
        self.add_halves(table, verb, calls, halves);
    }

    /// Counts a write that its condition refused.
    pub(super) fn add_refused(&self, table: Table, verb: Verb, writes: u64) {
        self.add_halves(table, verb, 1, writes.saturating_mul(2));
    }

    fn add_halves(&self, table: Table, verb: Verb, calls: u64, halves: u64) {
        if let Some(cell) = self.0.get(&(table, verb)) {
            cell.calls.fetch_add(calls, Relaxed);
            cell.halves.fetch_add(halves, Relaxed);
        }
    }
}

impl Cell {
    fn units(&self, verb: Verb) -> Units {
        let (calls, halves) = (self.calls.load(Relaxed), self.halves.load(Relaxed));
        if verb.is_write() {
            Units { calls, writes: halves.div_ceil(2), read_halves: 0 }
        } else {
            Units { calls, writes: 0, read_halves: halves }
        }
    }
}
