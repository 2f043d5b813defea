//! How many messages and failed logins are taken from one client.

use std::{net::IpAddr, time::Duration};

use puro_serve::{
    config::Settings,
    limit::{AddressLimit, Buckets},
};

/// What all sessions of this front end count together.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) failed_logins: AddressLimit,
    by_address: AddressLimit,
    by_account: Option<Buckets<String>>,
}

impl Limits {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (by_address, by_account) = (
            settings.smtp.max_messages_per_minute_per_address,
            settings.smtp.max_messages_per_minute_per_account,
        );
        Self {
            failed_logins: AddressLimit::failed_logins(settings),
            by_address: AddressLimit::new(by_address, a_minute(by_address)),
            by_account: (by_account > 0).then(|| Buckets::new(by_account, a_minute(by_account))),
        }
    }

    /// Says whether one more message may come.
    pub(crate) fn allow_message(&self, client: IpAddr, account: Option<&String>) -> bool {
        match account {
            None => self.by_address.allows(client),
            Some(account) => self.account_limit(client).is_none_or(|buckets| buckets.allows(account)),
        }
    }

    /// Counts a message.
    pub(crate) fn take_message(&self, client: IpAddr, account: Option<&String>) {
        match account {
            None => self.by_address.take(client),
            Some(account) => {
                if let Some(buckets) = self.account_limit(client) {
                    buckets.take(account);
                }
            }
        }
    }

    fn account_limit(&self, client: IpAddr) -> Option<&Buckets<String>> {
        self.by_account.as_ref().filter(|_| !client.to_canonical().is_loopback())
    }
}

/// Returns how long one of so many a minute takes.
fn a_minute(number: u32) -> Duration {
    Duration::from_secs(60) / number.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accounts_and_strangers_have_limits_of_their_own() {
        let mut settings = Settings::default();
        settings.smtp.max_messages_per_minute_per_address = 2;
        settings.smtp.max_messages_per_minute_per_account = 1;
        let limits = Limits::new(&settings);
        let (near, far): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        let (me, you) = ("me@example.org".to_owned(), "you@example.org".to_owned());
        let sent = |client, account| {
            let one = || {
                let allowed = limits.allow_message(client, account);
                allowed.then(|| limits.take_message(client, account))
            };
            (0..100).map_while(|_| one()).count()
        };
        assert_eq!(sent(far, None), 2);
        assert_eq!((sent(far, Some(&me)), sent(far, Some(&you))), (1, 1), "from one address");
        assert_eq!((sent(near, None), sent(near, Some(&me))), (100, 100), "loopback");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!((sent(far, None), sent(far, Some(&me))), (1, 0));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((sent(far, None), sent(far, Some(&me))), (2, 1));
    }
}
