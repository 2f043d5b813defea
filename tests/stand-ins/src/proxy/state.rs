//! What the proxy's owner and its connections share.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use super::plan::{Fault, Plan, Running};

#[derive(Debug, Default)]
pub(super) struct State(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    running: Running,
    down: bool,
    requests: BTreeMap<String, u64>,
    faults: u64,
}

impl State {
    pub(super) fn set(&self, plan: Plan) {
        self.lock().running = Running::new(plan);
    }

    pub(super) fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Counts a request and returns what it meets.
    pub(super) fn meet(&self, operation: &str) -> Option<Fault> {
        let mut inner = self.lock();
        *inner.requests.entry(operation.to_owned()).or_default() += 1;
        // A connection that is about to be reset may bring one request more.
        let fault = if inner.down { Some(Fault::ResetBefore) } else { inner.running.next(operation) };
        inner.faults += u64::from(fault.is_some());
        fault
    }

    pub(super) fn requests(&self) -> BTreeMap<String, u64> {
        self.lock().requests.clone()
    }

    pub(super) fn faults(&self) -> u64 {
        self.lock().faults
    }

    pub(super) fn forget_counts(&self) {
        let mut inner = self.lock();
        inner.requests.clear();
        inner.faults = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("no panic while locked")
    }
}
