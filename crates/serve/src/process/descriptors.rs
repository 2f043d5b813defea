//! File descriptors: each connection takes one, and so do the stores, gRPC and the health endpoint, which must go on
//! when connections have taken all that they may.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Service, Settings};

/// Descriptors that connections with clients leave to everything else.
const RESERVE: u64 = 200;

/// Raises the soft limit to the hard one, and returns how many descriptors this process may have. The usual soft limit
/// of 1,024 is for programs that use select(2) (see `LimitNOFILE=` in systemd.exec(5)).
pub(super) fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where the system refuses, the limit that there was holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

/// Lowers what the settings allow of connections to what there are descriptors for. Each front end keeps its share, so
/// that a crowd at one of them shuts nobody out of the other.
pub(super) fn fit(service: Service, settings: &mut Settings, limit: u64) {
    let fronts: &mut [&mut u32] = match service {
        Service::Puro => &mut [&mut settings.smtp.max_connections, &mut settings.pop3.max_connections],
        Service::Smtp => &mut [&mut settings.smtp.max_connections],
        Service::Pop3 => &mut [&mut settings.pop3.max_connections],
        Service::Metadata | Service::Blob => return,
    };
    // Where there is hardly anything, half of it.
    let room = limit.saturating_sub(RESERVE).max(limit / 2);
    let wanted: u64 = fronts.iter().map(|connections| u64::from(**connections)).sum();
    if wanted <= room {
        return;
    }
    tracing::warn!(
        wanted,
        room,
        limit,
        "max_connections asks for more than the limit of open files leaves: raise it (ulimit -Hn, LimitNOFILE=)"
    );
    for connections in fronts {
        let share = u128::from(**connections) * u128::from(room) / u128::from(wanted);
        **connections = u32::try_from(share).unwrap_or(u32::MAX).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let lower = hard.map_or(100_000, |hard| hard - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum: hard }).unwrap();
        assert_eq!(raise(), hard.unwrap_or(u64::MAX));
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: hard, maximum: hard });
    }

    #[test]
    fn connections_fit_into_the_limit_and_each_front_end_keeps_its_share() {
        let fitted = |service, smtp, pop3, limit| {
            let mut settings = Settings::default();
            (settings.smtp.max_connections, settings.pop3.max_connections) = (smtp, pop3);
            fit(service, &mut settings, limit);
            (settings.smtp.max_connections, settings.pop3.max_connections)
        };
        assert_eq!(fitted(Service::Puro, 10_000, 10_000, 1_024), (412, 412));
        assert_eq!(fitted(Service::Puro, 3_000, 1_000, 1_000), (600, 200));
        assert_eq!(fitted(Service::Puro, 400, 400, 1_000), (400, 400), "what fits is left alone");
        assert_eq!(fitted(Service::Smtp, 10_000, 10_000, 1_024), (824, 10_000), "the other is elsewhere");
        assert_eq!(fitted(Service::Pop3, 10_000, 10_000, 1_024), (10_000, 824));
        assert_eq!(fitted(Service::Blob, 10_000, 10_000, 10), (10_000, 10_000));
        assert_eq!(fitted(Service::Smtp, 10_000, 1, 256), (128, 1), "half of a small limit");
        assert_eq!(fitted(Service::Puro, u32::MAX, 1, 1_024), (823, 1), "one at least");
        assert_eq!(fitted(Service::Puro, u32::MAX, u32::MAX, u64::MAX), (u32::MAX, u32::MAX));
    }
}
