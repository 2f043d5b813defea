//! The drill: mail comes and goes on AWS's stores while faults are made before them, and all of it is accounted for.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use puro_stand_ins::FaultProxy;

use crate::{
    Mode, Stores, System,
    maildrop::{Maildrop, text},
    process::wait_longer,
    wait_until,
};

/// Accounts that get mail; each is read by one reader.
const USERS: usize = 6;
const SENDERS: usize = 4;
const READERS: usize = 2;

/// How long the load may take to get on: a store that is silent is waited for, by one sender after the other.
const PATIENCE: Duration = Duration::from_secs(100);

/// A system whose stores are behind proxies.
#[derive(Debug)]
pub struct Drill {
    /// The system.
    pub system: System,
    /// Before DynamoDB.
    pub dynamodb: FaultProxy,
    /// Before S3.
    pub s3: FaultProxy,
    runs: AtomicUsize,
}

/// What the load has come to so far.
#[derive(Debug, Default)]
pub struct Watch {
    over: AtomicBool,
    next: AtomicUsize,
    accepted: AtomicUsize,
    put_off: AtomicUsize,
    visits: AtomicUsize,
    turned_away: AtomicUsize,
    accounts: Vec<String>,
    /// By account, the numbers that got a 250.
    kept: [Mutex<BTreeSet<usize>>; USERS],
}

impl Drill {
    /// Starts a system; the proxies pass everything on.
    pub fn start(mode: Mode) -> Self {
        let (dynamodb, s3) = (FaultProxy::before_dynamodb(), FaultProxy::before_s3());
        let settings =
            [("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.endpoint()), ("AWS_ENDPOINT_URL_S3", s3.endpoint())];
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let system = System::start_on(mode, Stores::Aws, &settings);
        Self { system, dynamodb, s3, runs: AtomicUsize::new(0) }
    }

    /// Sends and fetches mail while `faults` is made, then ends the faults and asserts that
    /// - service goes on by itself, in the same processes,
    /// - what got a 250 is there, once and whole, unless its reader deleted it,
    /// - what was refused was refused with 451 or -ERR \[SYS/TEMP\],
    /// - at no moment a maildrop seemed to hold less than it did.
    ///
    /// Each run has accounts of its own.
    pub fn under_load(&self, faults: impl FnOnce(&Watch)) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let accounts: Vec<String> = (0..USERS).map(|n| format!("drill{run}.{n}@example.test")).collect();
        accounts.iter().for_each(|account| self.system.add_user(account));
        let mut maildrops: Vec<Maildrop> = accounts.iter().map(|account| Maildrop::new(account)).collect();
        let watch = Watch { accounts, ..Watch::default() };
        thread::scope(|scope| {
            let _end = EndAtPanic(&watch);
            for _ in 0..SENDERS {
                scope.spawn(|| watch.send(&self.system));
            }
            for some in maildrops.chunks_mut(USERS / READERS) {
                scope.spawn(|| watch.read(self.system.ports.pop3, some));
            }
            watch.more_accepted(20);
            watch.more_visits(6);
            faults(&watch);
            self.dynamodb.clear();
            self.s3.clear();
            self.dynamodb.bring_up();
            self.s3.bring_up();
            watch.more_accepted(20);
            watch.more_visits(6);
        });
        for (maildrop, kept) in maildrops.iter_mut().zip(&watch.kept) {
            let kept = kept.lock().expect("no panic while locked");
            // What was queued instead of being put into the maildrop at once comes a little later.
            wait_until("all that was acknowledged is there", || {
                maildrop
                    .visit(self.system.ports.pop3, false)
                    .expect("a good session when all faults are over");
                maildrop.missing(&kept).is_empty().then_some(())
            });
        }
    }
}

/// Ends the load when the test fails, so that the threads come to their end.
struct EndAtPanic<'a>(&'a Watch);

impl Drop for EndAtPanic<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl Watch {
    /// Waits until so many more messages got a 250.
    pub fn more_accepted(&self, count: usize) {
        self.more(count, &self.accepted, "messages are accepted");
    }

    /// Waits until so many more messages were put off.
    pub fn more_put_off(&self, count: usize) {
        self.more(count, &self.put_off, "messages are put off");
    }

    /// Waits until so many more maildrops were looked at.
    pub fn more_visits(&self, count: usize) {
        self.more(count, &self.visits, "maildrops are visited");
    }

    /// Waits until so many more visitors were turned away.
    pub fn more_turned_away(&self, count: usize) {
        self.more(count, &self.turned_away, "visitors are turned away");
    }

    /// Waits until so many more requests met a fault.
    pub fn more_faults(&self, proxy: &FaultProxy, count: u64) {
        let goal = proxy.faults() + count;
        self.until("requests meet faults", || proxy.faults() >= goal);
    }

    fn more(&self, count: usize, counter: &AtomicUsize, what: &str) {
        let goal = counter.load(Ordering::Acquire) + count;
        self.until(what, || counter.load(Ordering::Acquire) >= goal);
    }

    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        wait_longer(what, PATIENCE, || {
            assert!(!self.over.load(Ordering::Acquire), "a sender or a reader has failed");
            reached().then_some(())
        });
    }

    fn send(&self, system: &System) {
        let _end = EndAtPanic(self);
        while !self.over.load(Ordering::Acquire) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            // Some go to two accounts, which have to get it both, and each once.
            let copies = if number % 5 == 4 { 2 } else { 1 };
            let users: Vec<usize> = (number..number + copies).map(|user| user % USERS).collect();
            let recipients: Vec<&str> = users.iter().map(|user| self.accounts[*user].as_str()).collect();
            match system.try_deliver_to(&recipients, &text(number)) {
                Ok(()) => {
                    for user in users {
                        self.kept[user].lock().expect("no panic while locked").insert(number);
                    }
                    self.accepted.fetch_add(1, Ordering::Release);
                }
                Err(reply) => {
                    assert!(reply.starts_with("451 "), "message {number}: {reply}");
                    self.put_off.fetch_add(1, Ordering::Release);
                }
            }
        }
    }

    fn read(&self, pop3: SocketAddr, maildrops: &mut [Maildrop]) {
        let _end = EndAtPanic(self);
        while !self.over.load(Ordering::Acquire) {
            for maildrop in &mut *maildrops {
                match maildrop.visit(pop3, true) {
                    Ok(()) => drop(self.visits.fetch_add(1, Ordering::Release)),
                    Err(answer) => {
                        // A message of which a part is sent can only be broken off.
                        let right = answer.starts_with("-ERR [SYS/TEMP]") || answer == "cut";
                        assert!(right, "{answer}");
                        self.turned_away.fetch_add(1, Ordering::Release);
                    }
                }
            }
        }
    }
}
