//! A group of writes, decided in order against the store and against one another, before anything is written.

use std::collections::{HashMap, hash_map::Entry};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    super::{
        Condition, Item, Key, StoreError, Table,
        decide::{self, Change},
    },
    engine::{Engine, StoredWrite},
    key, value,
};

/// What a caller is told: the item as the write left it.
pub(super) type Answer = Result<Option<Item>, StoreError>;

/// A write to one item.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) table: Table,
    pub(super) key: Key,
    pub(super) condition: Condition,
    pub(super) change: Change,
    /// Dropped unanswered where the write was not made because the one before it was refused.
    pub(super) answer: oneshot::Sender<Answer>,
}

/// One caller's write, and perhaps another to be made in the same group where the first is not refused. It keeps its
/// place in the queue until it is answered.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) then: Option<Box<Write>>,
    pub(super) place: OwnedSemaphorePermit,
}

impl Job {
    /// Returns how many writes it is.
    pub(super) fn length(&self) -> usize {
        1 + usize::from(self.then.is_some())
    }
}

/// A write that has been decided: its answer holds once the group is durable.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) answer: Answer,
    pub(super) to: oneshot::Sender<Answer>,
    /// Of the job's last write.
    _place: Option<OwnedSemaphorePermit>,
}

impl Decided {
    /// Tells the caller, unless he has gone.
    pub(super) fn tell(self) {
        let _ = self.to.send(self.answer);
    }

    /// Tells the caller something else.
    pub(super) fn tell_instead(self, error: &StoreError) {
        let _ = self.to.send(Err(error.clone()));
    }
}

/// A key touched by the group: as it is stored, and as the group leaves it.
struct Touched {
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    item: Option<Item>,
}

/// Decides all jobs in order. Returns the answers, and the writes that make them true: one for each key that ends up
/// other than it was.
pub(super) fn decide_all(engine: &Engine, jobs: Vec<Job>) -> (Vec<Decided>, Vec<StoredWrite>) {
    let mut touched = HashMap::new();
    let mut decided = Vec::with_capacity(jobs.len());
    let mut decide = |write: Write| {
        let Write { table, key, condition, change, answer: to } = write;
        let answer = decide_one(engine, &mut touched, table, &key, &condition, change);
        Decided { answer, to, _place: None }
    };
    for Job { write, then, place } in jobs {
        let mut last = decide(write);
        if let Some(then) = then
            && last.answer.is_ok()
        {
            let first = std::mem::replace(&mut last, decide(*then));
            decided.push(first);
        }
        decided.push(Decided { _place: Some(place), ..last });
    }
    (decided, writes(touched))
}

fn decide_one(
    engine: &Engine,
    touched: &mut HashMap<(Table, Vec<u8>), Touched>,
    table: Table,
    key: &Key,
    condition: &Condition,
    change: Change,
) -> Answer {
    let place = match touched.entry((table, key::encode(key)?)) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => {
            let before = engine.stored(table, &entry.key().1)?.map(|stored| stored.to_vec());
            let item = before.as_deref().map(value::decode).transpose()?;
            entry.insert(Touched { after: before.clone(), before, item })
        }
    };
    // Only an update's answer carries the item.
    let wants_item = matches!(change, Change::Update(_));
    let item = decide::decide(table, key, place.item.as_ref(), condition, change)?;
    place.after = item.as_ref().map(value::encode).transpose()?;
    place.item = item;
    Ok(if wants_item { place.item.clone() } else { None })
}

fn writes(touched: HashMap<(Table, Vec<u8>), Touched>) -> Vec<StoredWrite> {
    touched
        .into_iter()
        .filter(|(_, Touched { before, after, .. })| before != after)
        .map(|((table, key), Touched { before, after, .. })| StoredWrite { table, key, before, after })
        .collect()
}
