//! A month's usage with prices: the lines of the slide of 2013, and what it left out.

use serde::Serialize;

use super::{
    assumed::{Assumed, HostKind},
    prices::{Price, Prices},
    usage::{GB, HOURS, Usage},
};

/// How DynamoDB's units are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// Each as it is used.
    OnDemand,
    /// By the hour, scaled with the load.
    Provisioned,
}

/// A month's bill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bill {
    /// The profile's name, or where it was measured.
    pub(super) name: String,
    pub(super) about: String,
    pub(super) lines: Vec<Line>,
    /// Of the lines.
    pub(super) total_usd: f64,
    /// Of the slide's.
    pub(super) slide_total_usd: f64,
    /// What the slide did not speak of; not in the total.
    pub(super) left_out: Vec<Line>,
    /// The same month otherwise set up.
    pub(super) variants: Vec<Variant>,
}

/// A line of the bill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// What the slide said of it.
    pub(super) slide_usd: Option<f64>,
    pub(super) usd: f64,
    pub(super) parts: Vec<Part>,
    /// What the line rests on.
    pub(super) rests_on: Vec<String>,
}

/// A part of a line.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Part {
    pub(super) what: String,
    pub(super) quantity: f64,
    pub(super) unit: String,
    pub(super) usd: f64,
}

/// Another way to run the same month.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) total_usd: f64,
}

impl Part {
    fn new(what: impl Into<String>, quantity: f64, price: &Price) -> Self {
        Self { what: what.into(), quantity, unit: price.unit.clone(), usd: price.of(quantity) }
    }
}

impl Line {
    fn new(name: &'static str, slide_usd: Option<f64>, parts: Vec<Part>, rests_on: Vec<String>) -> Self {
        let usd = parts.iter().map(|part| part.usd).sum();
        Self { name, slide_usd, usd, parts, rests_on }
    }
}

/// Prices one month.
pub(super) struct Pricing<'a> {
    pub(super) prices: &'a Prices,
    pub(super) assumed: &'a Assumed,
    pub(super) capacity: Capacity,
}

impl<'a> Pricing<'a> {
    /// Returns the bill for a month's usage. `rests_on` says what the usage itself rests on.
    pub(super) fn bill(
        &self,
        (name, about): (&str, &str),
        usage: &Usage,
        kind: &HostKind,
        rests_on: &RestsOn,
    ) -> Bill {
        let hosts = self.hosts(usage, kind);
        let lines = vec![
            self.names(usage),
            self.balancer(usage),
            self.compute(usage, &hosts, &rests_on.compute),
            self.items(usage, &rests_on.items),
            self.segments(usage, &rests_on.segments),
            self.watching(),
            self.addresses(&hosts),
        ];
        Bill {
            name: name.to_owned(),
            about: about.to_owned(),
            total_usd: lines.iter().map(|line| line.usd).sum(),
            slide_total_usd: lines.iter().filter_map(|line| line.slide_usd).sum(),
            lines,
            left_out: self.left_out(usage, &rests_on.traffic),
            variants: Vec::new(),
        }
    }

    /// Returns the total alone.
    pub(super) fn total(&self, usage: &Usage, kind: &HostKind) -> f64 {
        self.bill(("", ""), usage, kind, &RestsOn::default()).total_usd
    }

    /// Returns the kind of hosts with which the total is least, for a month that may depend on it.
    pub(super) fn cheapest(&self, usage: impl Fn(&'a HostKind) -> Usage) -> &'a HostKind {
        let kinds = &self.assumed.hosts.kinds;
        let priced = kinds.iter().map(|kind| (self.total(&usage(kind), kind), kind));
        let least = priced.min_by(|one, other| one.0.total_cmp(&other.0));
        least.map_or(&kinds[0], |(_, kind)| kind)
    }

    fn names(&self, usage: &Usage) -> Line {
        let parts = vec![
            Part::new("zone", 1.0, &self.prices.zone),
            Part::new("MX queries", usage.mail_queries, &self.prices.dns_query),
        ];
        let rests_on = vec![
            "each message from outside asks for the MX record once, uncached; names of the balancer are aliases, \
             whose queries are free"
                .to_owned(),
        ];
        Line::new("Route 53", Some(30.5), parts, rests_on)
    }

    fn balancer(&self, usage: &Usage) -> Line {
        let parts = vec![
            Part::new("one Network Load Balancer", HOURS, &self.prices.balancer_hour),
            Part::new("capacity", usage.balancer_units, &self.prices.balancer_unit),
        ];
        let balancer = &self.assumed.balancer;
        let rests_on = vec![format!(
            "octets of messages alone; a connection lasts {} s; what leaves by the relay does not pass here",
            balancer.connection_seconds
        )];
        Line::new("Load balancer", Some(258.0), parts, rests_on)
    }

    fn compute(&self, usage: &Usage, hosts: &HostChoice<'_>, rests_on: &[String]) -> Line {
        let HostChoice { kind, count, burst_hours } = hosts;
        let wanted = &self.assumed.hosts;
        let parts = vec![
            Part::new(
                format!("{count} {}", kind.name),
                count * kind.memory_gb * HOURS,
                &self.prices.host_gb_hour,
            ),
            Part::new("above the hosts' baseline", *burst_hours, &self.prices.host_burst),
            Part::new("root volumes", count * wanted.volume_gb, &self.prices.volume),
        ];
        let mut all = vec![
            format!(
                "{:.2} vCPUs in use in the mean and {:.2} in the busiest hour, which may take {:.0} % of the hosts'",
                usage.vcpus,
                usage.vcpus * usage.peak,
                wanted.use_at_peak * 100.0
            ),
            format!(
                "all services on each host, at least {} of them, none talking across zones",
                wanted.least
            ),
        ];
        all.extend_from_slice(rests_on);
        Line::new("EC2", Some(144.0), parts, all)
    }

    fn items(&self, usage: &Usage, rests_on: &[String]) -> Line {
        let mut parts = Vec::new();
        let mut all = rests_on.to_vec();
        match self.capacity {
            Capacity::OnDemand => {
                for work in &usage.work {
                    parts.push(Part::new(work.name, work.requests.writes, &self.prices.dynamodb_write));
                    parts.push(Part::new(work.name, work.requests.reads, &self.prices.dynamodb_read));
                }
                all.push("on-demand capacity".to_owned());
            }
            Capacity::Provisioned => {
                let used = self.assumed.dynamodb.provisioned_use;
                // A unit of capacity is one write of up to 1 KB, or one read of up to 4 KB, each second.
                let hours = |units: f64| units / 3_600.0 / used;
                for work in &usage.work {
                    let (writes, reads) = (hours(work.requests.writes), hours(work.requests.reads));
                    parts.push(Part::new(work.name, writes, &self.prices.dynamodb_write_hour));
                    parts.push(Part::new(work.name, reads, &self.prices.dynamodb_read_hour));
                }
                all.push(format!(
                    "provisioned capacity that follows the load by the hour, {:.0} % of it used; fixed for the \
                     busiest hour its units cost {:.2} times as much",
                    used * 100.0,
                    usage.peak
                ));
            }
        }
        parts.push(Part::new("items", usage.items_gb, &self.prices.dynamodb_storage));
        parts.retain(|part| part.quantity > 0.0);
        Line::new("DynamoDB", Some(82.75), parts, all)
    }

    fn segments(&self, usage: &Usage, rests_on: &[String]) -> Line {
        let requests = usage.requests();
        let parts = vec![
            Part::new("writing", requests.puts, &self.prices.s3_put),
            Part::new("reading", requests.gets, &self.prices.s3_get),
            Part::new("segments", usage.segments_gb, &self.prices.s3_storage),
        ];
        let mut all = rests_on.to_vec();
        all.push("the gateway endpoint of S3 and DynamoDB, which is free, and no NAT".to_owned());
        Line::new("S3", Some(332.85), parts, all)
    }

    fn watching(&self) -> Line {
        let watch = &self.assumed.cloudwatch;
        let parts = vec![
            Part::new("metrics", watch.metrics, &self.prices.metric),
            Part::new("alarms", watch.alarms, &self.prices.alarm),
            Part::new("log", watch.log_gb, &self.prices.log),
        ];
        let rests_on = vec!["log.level is warn".to_owned()];
        Line::new("CloudWatch", Some(36.4), parts, rests_on)
    }

    fn addresses(&self, hosts: &HostChoice<'_>) -> Line {
        let zones = self.assumed.hosts.zones;
        let parts = vec![
            Part::new("of the balancer, one a zone", zones * HOURS, &self.prices.ipv4_hour),
            Part::new("of the hosts, instead of NAT", hosts.count * HOURS, &self.prices.ipv4_hour),
        ];
        Line::new("Public IPv4", Some(0.0), parts, vec!["they were free in 2013".to_owned()])
    }

    fn left_out(&self, usage: &Usage, of_traffic: &[String]) -> Vec<Line> {
        let watch = &self.assumed.cloudwatch;
        let info_gb = usage.info_lines * watch.info_line_bytes / GB;
        let traffic = vec![Part::new("to users and other servers", usage.out_gb, &self.prices.traffic_out)];
        let backup = vec![Part::new("point-in-time recovery", usage.items_gb, &self.prices.dynamodb_backup)];
        let log = vec![Part::new("sessions and messages", info_gb, &self.prices.log)];
        // As what it adds to the segments that are there anyway.
        let whole = self.prices.s3_storage.of(usage.segments_gb);
        let rest = self.prices.s3_storage.of(usage.segments_gb - usage.kept_gb);
        let kept = vec![Part {
            what: "beyond a day".to_owned(),
            quantity: usage.kept_gb,
            unit: self.prices.s3_storage.unit.clone(),
            usd: whole - rest,
        }];
        vec![
            Line::new("Traffic out", None, traffic, of_traffic.to_vec()),
            Line::new("Mail kept (part of S3)", None, kept, Vec::new()),
            Line::new("Backups", None, backup, vec!["of the items; segments have no second copy".to_owned()]),
            Line::new(
                "The log at level info",
                None,
                log,
                vec![format!("a line of {} octets a session and a message", watch.info_line_bytes)],
            ),
        ]
    }

    fn hosts<'k>(&self, usage: &Usage, kind: &'k HostKind) -> HostChoice<'k> {
        let wanted = &self.assumed.hosts;
        let count = (usage.vcpus * usage.peak / (kind.vcpus * wanted.use_at_peak)).ceil().max(wanted.least);
        let burst_hours = (usage.vcpus - count * kind.baseline).max(0.0) * HOURS;
        HostChoice { kind, count, burst_hours }
    }
}

/// The hosts that carry a load.
struct HostChoice<'a> {
    kind: &'a HostKind,
    count: f64,
    /// vCPU-hours above their baseline.
    burst_hours: f64,
}

/// What a month's usage rests on, line by line.
#[derive(Debug, Clone, Default)]
pub(super) struct RestsOn {
    pub(super) compute: Vec<String>,
    pub(super) items: Vec<String>,
    pub(super) segments: Vec<String>,
    pub(super) traffic: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::super::usage::{Requests, Work};
    use super::*;

    fn usage() -> Usage {
        let requests = Requests { writes: 100e6, reads: 10e6, puts: 30e6, gets: 20e6 };
        Usage {
            work: vec![Work { name: "deliveries", requests }],
            segments_gb: 1_000.0,
            kept_gb: 900.0,
            items_gb: 10.0,
            balancer_units: 30_000.0,
            peak: 2.0,
            vcpus: 0.5,
            mail_queries: 10e6,
            info_lines: 1e6,
            out_gb: 200.0,
        }
    }

    fn bill(usage: &Usage, capacity: Capacity) -> Bill {
        let (prices, assumed) = (Prices::read(None).unwrap(), Assumed::read().unwrap());
        let pricing = Pricing { prices: &prices, assumed: &assumed, capacity };
        let kind = pricing.cheapest(|_| usage.clone());
        pricing.bill(("x", "y"), usage, kind, &RestsOn::default())
    }

    fn near(is: f64, expected: f64) {
        assert!((is - expected).abs() < 0.005, "{is} is not {expected}");
    }

    #[test]
    fn each_line_is_computed_by_hand() {
        let bill = bill(&usage(), Capacity::OnDemand);
        let usd = |name: &str| bill.lines.iter().find(|line| line.name == name).unwrap().usd;
        near(usd("Route 53"), 0.5 + 4.0);
        near(usd("Load balancer"), 18.144 + 180.0);
        // Two t4g.small have 0.8 vCPUs as their baseline; the busiest hour takes 1.0 of 2.8.
        near(usd("EC2"), 2.0 * 0.0184 * 720.0 + 16.0 * 0.088);
        near(usd("DynamoDB"), 70.5 + 1.415 + 2.83);
        near(usd("S3"), 150.0 + 8.0 + 23.0);
        near(usd("CloudWatch"), 3.0 + 1.0 + 0.285);
        near(usd("Public IPv4"), 4.0 * 3.6);
        near(bill.total_usd, bill.lines.iter().map(|line| line.usd).sum());
        near(bill.slide_total_usd, 884.5);
        let left_out: Vec<f64> = bill.left_out.iter().map(|line| line.usd).collect();
        near(left_out[0], 9.0);
        near(left_out[1], 20.7);
        near(left_out[2], 2.2);
        near(left_out[3], 1e6 * 400.0 / GB * 0.57);
    }

    #[test]
    fn provisioned_units_are_paid_by_the_hour() {
        let bill = bill(&usage(), Capacity::Provisioned);
        let writes = 100e6 / 3_600.0 / 0.7 * 0.000_735;
        let reads = 10e6 / 3_600.0 / 0.7 * 0.000_147;
        near(bill.lines[3].usd, writes + reads + 2.83);
    }

    #[test]
    fn more_load_takes_more_hosts_or_larger_ones() {
        let compute = |vcpus| bill(&Usage { vcpus, ..usage() }, Capacity::OnDemand).lines[2].clone();
        // 0.2 vCPUs above the baseline of two.
        near(compute(1.0).usd, 2.0 * 0.0184 * 720.0 + 0.2 * 720.0 * 0.04 + 1.408);
        let large = compute(3.0);
        let hosts = &large.parts[0].what;
        assert!(hosts != "2 t4g.small", "6 vCPUs at the peak do not fit: {hosts}");
        assert!(large.usd > compute(1.0).usd);
    }
}
