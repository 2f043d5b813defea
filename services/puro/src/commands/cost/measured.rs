//! What a running system does, from the counters that its processes publish: watched for a while, and taken for a month.

mod scrape;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use tokio::time::Instant;

use self::scrape::{Place, Sample};
use super::{
    bill::{Bill, Pricing, RestsOn},
    usage::{GB, HOURS, Requests, Usage, Work},
};
use crate::{commands::Session, exit::Fault, output::say};

/// Where `puro serve` publishes its metrics.
const DEFAULT_PLACE: &str = "http://127.0.0.1:12600/metrics";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Segments on a page of the listing.
const PAGE: u32 = 1_000;

/// The counters that a bill is made of.
const COUNTERS: [&str; 12] = [
    "puro_metadata_read_units",
    "puro_metadata_write_units",
    "puro_metadata_dynamodb_read_units",
    "puro_metadata_dynamodb_write_units",
    "puro_metadata_password_hashes",
    "puro_blob_store_requests",
    "puro_blob_s3_requests",
    "puro_smtp_messages",
    "puro_smtp_message_bytes",
    "puro_pop3_messages_retrieved",
    "puro_pop3_message_bytes",
    "puro_pop3_session_seconds_count",
];

/// What to watch, and for how long.
#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Where a process publishes its metrics; once for each process [default: http://127.0.0.1:12600/metrics]
    #[arg(long, value_name = "URL", requires = "measured")]
    metrics: Vec<Place>,
    /// How long to watch the system
    #[arg(long, value_name = "SECONDS", default_value = "60", requires = "measured",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    watch: u32,
}

/// Watches a system and returns the bill of a month like that.
///
/// # Errors
/// [`Fault::Unreachable`] where a process does not answer; [`Fault::Refused`] where what it publishes is of no use.
pub(super) async fn bill(session: &Session, watch: &Watch, pricing: &Pricing<'_>) -> Result<Bill, Fault> {
    let places = match watch.metrics.as_slice() {
        [] => vec![DEFAULT_PLACE.parse().map_err(Fault::Usage)?],
        places => places.to_vec(),
    };
    let before = sample(&places).await?;
    let began = Instant::now();
    say(format_args!("Watching for {} seconds.", watch.watch));
    tokio::time::sleep(Duration::from_secs(watch.watch.into())).await;
    let after = sample(&places).await?;
    let seconds = began.elapsed().as_secs_f64();
    let counted = Counted { by_month: HOURS * 3_600.0 / seconds, sums: grown(&before, &after)? };
    let mut usage = counted.usage(pricing);
    (usage.segments_gb, usage.kept_gb) = segments_gb(session).await?;
    let about = format!("{seconds:.0} seconds of a running system, taken for a month");
    let kind = pricing.cheapest(|_| usage.clone());
    Ok(pricing.bill(("measured", &about), &usage, kind, &rests_on(pricing)))
}

fn rests_on(pricing: &Pricing<'_>) -> RestsOn {
    let cpu = &pricing.assumed.cpu;
    let cpu = format!("the same load at all hours; CPU by the counts, as measured on {}", cpu.date);
    let items =
        "units as the services counted them; what the items take of storage is not counted".to_owned();
    let segments =
        "requests as the service counted them, and the segments there are; on the embedded store a write of its own \
         disk counts as a PUT"
            .to_owned();
    let traffic = "octets of messages retrieved; what the relay sends is not counted".to_owned();
    RestsOn { compute: vec![cpu], items: vec![items], segments: vec![segments], traffic: vec![traffic] }
}

/// Returns the sum of what all processes publish.
async fn sample(places: &[Place]) -> Result<Sample, Fault> {
    let mut sum = Sample::default();
    for place in places {
        sum.add(&scrape::read(place).await?);
    }
    if sum.is_of_puro() {
        return Ok(sum);
    }
    let places: Vec<String> = places.iter().map(ToString::to_string).collect();
    Err(Fault::Refused(format!("no metrics of PuRo Mail at {}", places.join(", "))))
}

/// Returns by how much each counter has grown.
fn grown(before: &Sample, after: &Sample) -> Result<BTreeMap<(String, String), f64>, Fault> {
    let mut grown = BTreeMap::new();
    for (key, now) in after.0.iter().filter(|((name, _), _)| COUNTERS.contains(&name.as_str())) {
        let then = before.0.get(key).copied().unwrap_or(0.0);
        if *now < then {
            let text = format!("{} went back: a process was started anew meanwhile. Watch again.", key.0);
            return Err(Fault::Refused(text));
        }
        grown.insert(key.clone(), now - then);
    }
    Ok(grown)
}

/// What was counted.
struct Counted {
    /// How much longer a month is.
    by_month: f64,
    sums: BTreeMap<(String, String), f64>,
}

impl Counted {
    /// Returns a month's count under a label's value.
    fn of(&self, name: &str, label: &str) -> f64 {
        let sum = self.sums.get(&(name.to_owned(), label.to_owned()));
        sum.copied().unwrap_or(0.0) * self.by_month
    }

    /// Returns a month's count, whatever the label.
    fn all(&self, name: &str) -> f64 {
        let of_name = self.sums.iter().filter(|((counter, _), _)| counter == name);
        of_name.map(|(_, sum)| sum).sum::<f64>() * self.by_month
    }

    /// Says whether a process publishes this counter.
    fn has(&self, name: &str) -> bool {
        self.sums.keys().any(|(counter, _)| counter == name)
    }

    /// PUT and GET requests: as they went to S3, or what other stores were asked for.
    fn requests(&self) -> (f64, f64) {
        let sum = |name: &str, kinds: &[&str]| kinds.iter().map(|kind| self.of(name, kind)).sum();
        let name = "puro_blob_s3_requests";
        if self.has(name) {
            return (sum(name, &["put", "multipart", "list", "bucket"]), sum(name, &["get", "head"]));
        }
        let name = "puro_blob_store_requests";
        (sum(name, &["put", "list"]), sum(name, &["get"]))
    }

    fn usage(&self, pricing: &Pricing<'_>) -> Usage {
        // What DynamoDB said that it bills goes before what the service has counted.
        let [writes, reads] = if self.has("puro_metadata_dynamodb_write_units") {
            ["puro_metadata_dynamodb_write_units", "puro_metadata_dynamodb_read_units"]
        } else {
            ["puro_metadata_write_units", "puro_metadata_read_units"]
        };
        let mut work: Vec<Work> = ["user", "folder", "meta_mail", "config", "domain", "queue", "segment"]
            .map(|table| Work {
                name: table,
                requests: Requests {
                    writes: self.of(writes, table),
                    reads: self.of(reads, table),
                    ..Requests::default()
                },
            })
            .to_vec();
        let (puts, gets) = self.requests();
        work.push(Work { name: "segments", requests: Requests { puts, gets, ..Requests::default() } });
        let (messages, sessions) =
            (self.all("puro_smtp_messages"), self.all("puro_pop3_session_seconds_count"));
        let (inward, outward) = (self.all("puro_smtp_message_bytes"), self.all("puro_pop3_message_bytes"));
        let mut usage = Usage {
            work,
            peak: 1.0,
            mail_queries: messages,
            info_lines: messages + sessions,
            out_gb: outward / GB,
            ..Usage::default()
        };
        let balancer = &pricing.assumed.balancer;
        let connections = (messages + sessions) / (HOURS * 3_600.0);
        usage.balancer_units = HOURS
            * ((inward + outward) / GB / HOURS / balancer.gigabytes)
                .max(connections / balancer.new_connections_per_second)
                .max(connections * balancer.connection_seconds / balancer.active_connections);
        usage.vcpus = self.vcpus(pricing, &usage.requests(), (messages, inward), (sessions, outward));
        usage
    }

    fn vcpus(
        &self,
        pricing: &Pricing<'_>,
        requests: &Requests,
        (messages, inward): (f64, f64),
        (sessions, outward): (f64, f64),
    ) -> f64 {
        let cpu = &pricing.assumed.cpu;
        let mean = |octets: f64, count: f64| if count > 0.0 { octets / count } else { 0.0 };
        let retrieved = self.all("puro_pop3_messages_retrieved");
        let ms = messages * cpu.delivery_ms(mean(inward, messages))
            + retrieved * cpu.retrieval_ms(mean(outward, retrieved))
            + sessions * cpu.poll_ms
            + (messages + sessions) * cpu.handshake_ms
            + self.all("puro_metadata_password_hashes") * cpu.password_ms
            + (requests.writes + requests.reads + requests.puts + requests.gets) * cpu.aws_call_ms;
        ms / 1_000.0 / (HOURS * 3_600.0)
    }
}

/// Returns the GB that the segments have, and of them those older than a day.
async fn segments_gb(session: &Session) -> Result<(f64, f64), Fault> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let old_ms = u64::try_from(now_ms).unwrap_or(u64::MAX).saturating_sub(DAY_MS);
    let (mut all, mut old) = (0_u64, 0_u64);
    let mut after: Option<String> = None;
    loop {
        let page = session.blob(session.blob.list_segments(after.as_deref(), PAGE).await)?;
        for segment in &page.items {
            all = all.saturating_add(segment.size_bytes);
            if segment.created_ms < old_ms {
                old = old.saturating_add(segment.size_bytes);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((gigabytes(all), gigabytes(old))),
        }
    }
}

fn gigabytes(octets: u64) -> f64 {
    // Exact up to 2^53 octets.
    #[allow(clippy::cast_precision_loss)]
    let octets = octets as f64;
    octets / GB
}

#[cfg(test)]
mod tests {
    use super::{
        super::{assumed::Assumed, bill::Capacity, prices::Prices},
        *,
    };

    fn near(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-6, "{is} is not {expected}");
    }

    #[test]
    fn counters_become_a_month() {
        let before = Sample::parse("puro_metadata_write_units_total{table=\"folder\"} 100\n");
        let after = Sample::parse(
            "puro_metadata_write_units_total{table=\"folder\"} 160\n\
             puro_metadata_read_units_total{table=\"user\"} 30.5\n\
             puro_blob_store_requests_total{verb=\"put\"} 6\n\
             puro_blob_store_requests_total{verb=\"list\"} 1\n\
             puro_blob_store_requests_total{verb=\"get\"} 3\n\
             puro_smtp_messages_total{outcome=\"accepted\"} 12\n\
             puro_smtp_message_bytes_total 6000000\n\
             puro_pop3_session_seconds_count{end=\"quit\"} 24\n\
             puro_pop3_message_bytes_total 3000000\n",
        );
        let sums = grown(&before, &after).unwrap();
        let (prices, assumed) = (Prices::read(None).unwrap(), Assumed::read().unwrap());
        let pricing = Pricing { prices: &prices, assumed: &assumed, capacity: Capacity::OnDemand };
        // A minute: a month has 43,200 of them.
        let usage = Counted { by_month: 43_200.0, sums }.usage(&pricing);
        let requests = usage.requests();
        near(requests.writes, 60.0 * 43_200.0);
        near(requests.reads, 30.5 * 43_200.0);
        near(requests.puts, 7.0 * 43_200.0);
        near(requests.gets, 3.0 * 43_200.0);
        near(usage.out_gb, 3e6 * 43_200.0 / GB);
        near(usage.balancer_units, 9e6 * 43_200.0 / GB);
        near(usage.info_lines, 36.0 * 43_200.0);
        assert!(usage.vcpus > 0.0);
    }

    #[test]
    fn what_the_stores_themselves_told_goes_first() {
        let counted = Sample::parse(
            "puro_metadata_write_units_total{table=\"folder\"} 1\n\
             puro_metadata_dynamodb_write_units_total{table=\"folder\",verb=\"put\"} 20\n\
             puro_metadata_dynamodb_write_units_total{table=\"folder\",verb=\"update\"} 10\n\
             puro_metadata_dynamodb_requests_in_flight 7\n\
             puro_blob_store_requests_total{verb=\"put\"} 1\n\
             puro_blob_s3_requests_total{kind=\"put\"} 2\n\
             puro_blob_s3_requests_total{kind=\"multipart\"} 5\n\
             puro_blob_s3_requests_total{kind=\"delete\"} 9\n\
             puro_blob_s3_requests_total{kind=\"head\"} 1\n",
        );
        let sums = grown(&Sample::default(), &counted).unwrap();
        let (prices, assumed) = (Prices::read(None).unwrap(), Assumed::read().unwrap());
        let pricing = Pricing { prices: &prices, assumed: &assumed, capacity: Capacity::OnDemand };
        let requests = Counted { by_month: 1.0, sums }.usage(&pricing).requests();
        let expected = Requests { writes: 30.0, reads: 0.0, puts: 7.0, gets: 1.0 };
        assert_eq!(requests, expected);
        // A gauge may fall.
        let fallen = Sample::parse("puro_metadata_dynamodb_requests_in_flight 0\n");
        assert!(grown(&counted, &fallen).is_ok());
    }

    #[test]
    fn a_process_that_was_started_anew_is_told() {
        let (before, after) =
            (Sample::parse("puro_smtp_messages_total 5\n"), Sample::parse("puro_smtp_messages_total 4\n"));
        assert!(grown(&before, &after).unwrap_err().to_string().contains("started anew"));
    }
}
