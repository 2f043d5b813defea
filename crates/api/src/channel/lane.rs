//! One connection to one address, how busy it is, and whether it has been refusing.

use std::{
    error::Error,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tonic::{ConnectError, Status, transport::Channel};

use super::balance::Dice;

/// How long an address is left out after its first refusal; doubled by each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// How long it is left out at most.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);

/// A lazy connection that makes itself anew when it is lost.
pub(crate) struct Lane {
    address: Option<SocketAddr>,
    channel: Channel,
    in_flight: AtomicUsize,
    disgrace: Mutex<Disgrace>,
}

#[derive(Clone, Copy, Default)]
struct Disgrace {
    refusals: u32,
    until: Option<Instant>,
}

impl Lane {
    pub(super) fn new(address: Option<SocketAddr>, channel: Channel) -> Self {
        Self { address, channel, in_flight: AtomicUsize::new(0), disgrace: Mutex::default() }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Counts a call as in flight until the result is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns until when the connection is left out, if it still is.
    pub(super) fn out_until(&self, now: Instant) -> Option<Instant> {
        self.lock().until.filter(|until| *until > now)
    }

    pub(super) fn refused(&self, now: Instant, dice: &Dice) {
        let mut disgrace = self.lock();
        let longest = (FIRST_BACK_OFF * 2u32.pow(disgrace.refusals.min(10))).min(LONGEST_BACK_OFF);
        disgrace.refusals = disgrace.refusals.saturating_add(1);
        disgrace.until = Some(now + longest / 2 + dice.up_to(longest / 2));
    }

    /// Notes that the other side answered, whatever it said.
    pub(crate) fn answered(&self) {
        let mut disgrace = self.lock();
        if disgrace.until.is_some() {
            *disgrace = Disgrace::default();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Disgrace> {
        self.disgrace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call in flight.
pub(crate) struct Busy(Arc<Lane>);

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Busy").field(&self.0.address).finish()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says whether a call failed before any of it was sent: no connection, or one that closed with the call still queued
/// on this side (hyper's `canceled`). Such a call may be made again, whatever it does.
pub(crate) fn was_not_sent(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>()
            || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        source = error.source();
    }
    false
}
