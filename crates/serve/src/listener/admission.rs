//! How many connections there are, in total and from each address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::front::counted;

/// Counts a front end's connections.
#[derive(Debug)]
pub(super) struct Admission {
    total_max: u32,
    /// 0: no limit.
    address_max: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    /// Only addresses with a connection are here, so the map is bounded by `total_max`.
    addresses: HashMap<IpAddr, u32>,
}

/// The right to be connected; gives it back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    pub(super) fn new(total_max: u32, address_max: u32) -> Arc<Self> {
        Arc::new(Self { total_max, address_max, counts: Mutex::default() })
    }

    /// Lets one more connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Permit> {
        let mut counts = self.counts();
        if counts.total >= self.total_max {
            return None;
        }
        counts.total += 1;
        Some(Permit { admission: self.clone(), address: None })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Counts the connection for its address; false if that has too many. Loopback is exempt: it is the operator's own
    /// machine, its load tests, and everyone behind a proxy that does not speak the PROXY protocol.
    pub(super) fn claim(&mut self, address: IpAddr) -> bool {
        let max = self.admission.address_max;
        if max == 0 || address.to_canonical().is_loopback() {
            return true;
        }
        let address = counted(address);
        let mut counts = self.admission.counts();
        let count = counts.addresses.entry(address).or_insert(0);
        if *count >= max {
            return false;
        }
        *count += 1;
        drop(counts);
        self.address = Some(address);
        true
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.total -= 1;
        let Some(address) = self.address else { return };
        if let Some(count) = counts.addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_total_is_limited_and_given_back() {
        let admission = Admission::new(2, 0);
        let first = admission.enter().unwrap();
        let _second = admission.enter().unwrap();
        assert!(admission.enter().is_none());
        drop(first);
        assert!(admission.enter().is_some());
    }

    #[test]
    fn an_address_is_limited_alone_and_given_back() {
        let admission = Admission::new(100, 2);
        let mut permits: Vec<Permit> = (0..5).map(|_| admission.enter().unwrap()).collect();
        assert!(permits[0].claim(ip("192.0.2.1")));
        assert!(permits[1].claim(ip("::ffff:192.0.2.1")), "the same host, mapped");
        assert!(!permits[2].claim(ip("192.0.2.1")));
        assert!(permits[3].claim(ip("192.0.2.2")), "another address has room");
        drop(permits.remove(0));
        assert!(permits[3].claim(ip("192.0.2.1")));
        drop(permits);
        assert!(admission.counts().addresses.is_empty(), "nothing stays behind");
        assert_eq!(admission.counts().total, 0);
    }

    #[test]
    fn a_64_counts_as_one_and_loopback_is_exempt() {
        let admission = Admission::new(100, 1);
        let mut permits: Vec<Permit> = (0..6).map(|_| admission.enter().unwrap()).collect();
        assert!(permits[0].claim(ip("2001:db8::1")));
        assert!(!permits[1].claim(ip("2001:db8::ffff:1")));
        assert!(permits[2].claim(ip("2001:db8:0:1::1")));
        for permit in &mut permits[3..] {
            assert!(permit.claim(ip("127.0.0.1")));
        }
    }
}
