//! What the system costs a month on Amazon's machines, priced from the units that the code really spends.
//!
//! A bill is a month's [`usage::Usage`] with [`prices::Prices`]. The usage comes from a profile of users, of which each
//! operation is counted in the units of a recorded run ([`units`]), or from the counters of a running system
//! ([`measured`]). What is neither measured nor priced is in one file ([`assumed`]), and told beside the line that rests
//! on it.

mod assumed;
mod bill;
mod file;
mod measured;
mod month;
mod prices;
mod profile;
#[cfg(test)]
mod record;
mod show;
mod sizes;
mod units;
mod usage;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use self::{
    assumed::Assumed,
    bill::{Bill, Capacity, Pricing, RestsOn, Variant},
    month::{Month, Segments},
    prices::Prices,
    profile::Profile,
    units::Recorded,
};
use super::Session;
use crate::exit::Fault;

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// One profile in detail: seed, seed30, mixed, small, or a TOML file of one's own
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "measured")]
    profile: Option<String>,
    /// Price what a running system really does, from its metrics
    #[arg(long)]
    measured: bool,
    #[command(flatten)]
    watch: measured::Watch,
    /// Prices other than the built-in ones, in a file of the same form
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// What blob.linger_ms is set to
    #[arg(long, value_name = "MS", default_value = "1000", value_parser = clap::value_parser!(u16).range(0..=1000))]
    linger: u16,
    /// Price one segment for each message instead of group commit
    #[arg(long, conflicts_with_all = ["linger", "measured"])]
    no_group_commit: bool,
    /// Price provisioned capacity of DynamoDB that follows the load, instead of on-demand
    #[arg(long)]
    provisioned: bool,
}

/// All that `--json` prints.
#[derive(Serialize)]
struct Shown {
    currency: &'static str,
    month_hours: f64,
    oldest_price: String,
    newest_price: String,
    bills: Vec<Bill>,
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    let prices = Prices::read(request.prices.as_deref())?;
    let assumed = Assumed::read()?;
    let capacity = if request.provisioned { Capacity::Provisioned } else { Capacity::OnDemand };
    let pricing = Pricing { prices: &prices, assumed: &assumed, capacity };
    let bills = if request.measured {
        vec![measured::bill(session, &request.watch, &pricing).await?]
    } else {
        let segments = if request.no_group_commit {
            Segments::OneEach
        } else {
            Segments::Grouped { linger_ms: f64::from(request.linger) }
        };
        let recorded = Recorded::read()?;
        let names = match &request.profile {
            Some(name) => vec![name.as_str()],
            None => profile::BUILT_IN.map(|(name, _)| name).to_vec(),
        };
        let profiles = names.into_iter().map(Profile::read).collect::<Result<Vec<_>, _>>()?;
        profiles.iter().map(|profile| bill_of(profile, &recorded, &pricing, segments)).collect()
    };
    let dates = prices.dates();
    let text = show::text(&bills, &dates);
    let (oldest_price, newest_price) = dates;
    let shown = Shown { currency: "USD", month_hours: usage::HOURS, oldest_price, newest_price, bills };
    session.output.report(&text, &shown)
}

/// Returns the bill of a profile, and what it would be otherwise.
fn bill_of(profile: &Profile, recorded: &Recorded, pricing: &Pricing<'_>, segments: Segments) -> Bill {
    let month = month_of(profile, recorded, pricing, segments);
    let rests_on = rests_on(&month, recorded, pricing.assumed, segments);
    let name = (profile.name.as_str(), profile.about.as_str());
    let mut bill = pricing.bill(name, &month.usage(), month.kind(), &rests_on);
    let waiting = Segments::Grouped { linger_ms: 1_000.0 };
    let variants = [
        ("one segment a message", Capacity::OnDemand, Segments::OneEach),
        ("group commit, no waiting", Capacity::OnDemand, Segments::Grouped { linger_ms: 0.0 }),
        ("group commit, a second", Capacity::OnDemand, waiting),
        ("that, provisioned", Capacity::Provisioned, waiting),
    ];
    let variant = |(name, capacity, segments): (&str, Capacity, Segments)| {
        let pricing = Pricing { capacity, ..*pricing };
        let month = month_of(profile, recorded, &pricing, segments);
        Variant { name: name.to_owned(), total_usd: pricing.total(&month.usage(), month.kind()) }
    };
    bill.variants = variants.map(variant).to_vec();
    bill
}

/// Returns a profile's month on the hosts with which it costs least.
fn month_of<'a>(
    profile: &'a Profile,
    recorded: &'a Recorded,
    pricing: &Pricing<'a>,
    segments: Segments,
) -> Month<'a> {
    let month = |kind| Month::new(profile, recorded, pricing.assumed, segments, kind);
    month(pricing.cheapest(|kind| month(kind).usage()))
}

fn rests_on(month: &Month<'_>, recorded: &Recorded, assumed: &Assumed, segments: Segments) -> RestsOn {
    let cpu = &assumed.cpu;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let compute = vec![
        format!("CPU of deliveries, polls and retrievals as measured on {} with embedded stores", cpu.date),
        format!(
            "not measured: {} ms a TLS handshake, {} ms a call of DynamoDB or S3",
            cpu.handshake_ms, cpu.aws_call_ms
        ),
        format!(
            "{} of the sessions hash a password ({} ms): a check is remembered for {:.0} s",
            percent(month.hashed_share()),
            cpu.password_ms,
            recorded.password_seconds
        ),
    ];
    let items = vec![
        "units of the recorded run; sessions come regularly and messages at random".to_owned(),
        format!(
            "metadata.listed_messages = {:.0}: a host has {} of the listings at hand",
            month.listed_messages(),
            percent(month.cached_share())
        ),
        format!(
            "the relay is not built: {} writes, {} read and {} GET a message sent out",
            assumed.relay.write_units, assumed.relay.read_units, assumed.relay.gets
        ),
    ];
    let grouping = match segments {
        Segments::OneEach => "one segment for each message".to_owned(),
        Segments::Grouped { linger_ms } => format!(
            "group commit with blob.linger_ms = {linger_ms:.0}, as recorded at each hour's rate on {} hosts where a PUT \
             takes {:.0} ms",
            assumed.hosts.least, recorded.put_ms
        ),
    };
    let segments = vec![
        grouping,
        "zstd as recorded: text, and attachments in base64 that only shrink to their octets".to_owned(),
        "mail on its way out shares segments with mail that stays; the segments of mail that is deleted are empty soon"
            .to_owned(),
    ];
    let traffic = vec!["each message in a mailbox is retrieved once".to_owned()];
    RestsOn { compute, items, segments, traffic }
}

#[cfg(test)]
mod tests;
