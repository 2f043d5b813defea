//! What a month uses, in the things that Amazon bills. It comes from a profile and the recorded units ([`super::month`])
//! or from a running system ([`super::measured`]).

/// Hours and days of a month, as the slide of 2013 has them.
pub(super) const HOURS: f64 = 720.0;
/// As [`HOURS`].
pub(super) const DAYS: f64 = 30.0;
/// Octets of what Amazon calls a GB.
pub(super) const GB: f64 = 1_073_741_824.0;

/// What one kind of work uses of DynamoDB and S3 in a month.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Requests {
    /// Write request units.
    pub(super) writes: f64,
    /// Read request units.
    pub(super) reads: f64,
    pub(super) puts: f64,
    pub(super) gets: f64,
}

/// A kind of work and what it uses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Work {
    pub(super) name: &'static str,
    pub(super) requests: Requests,
}

/// A month.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) work: Vec<Work>,
    /// GB-months of segments.
    pub(super) segments_gb: f64,
    /// Of these, what is kept for longer than a day.
    pub(super) kept_gb: f64,
    /// GB-months of items.
    pub(super) items_gb: f64,
    /// NLCU-hours.
    pub(super) balancer_units: f64,
    /// The busiest hour's load by the mean hour's.
    pub(super) peak: f64,
    /// vCPUs in use, in the mean.
    pub(super) vcpus: f64,
    /// Messages from other servers, each of which asks once where this domain's mail goes.
    pub(super) mail_queries: f64,
    /// Lines that the log has at level info.
    pub(super) info_lines: f64,
    /// GB to users and other servers.
    pub(super) out_gb: f64,
}

impl Usage {
    /// Returns the sum over all work.
    pub(super) fn requests(&self) -> Requests {
        self.work.iter().fold(Requests::default(), |sum, Work { requests, .. }| Requests {
            writes: sum.writes + requests.writes,
            reads: sum.reads + requests.reads,
            puts: sum.puts + requests.puts,
            gets: sum.gets + requests.gets,
        })
    }
}
