//! The stores: set up, described, audited.

use std::collections::BTreeMap;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use puro_api::model::{AuditEvent, AuditFinding, AuditKind, AuditPhase, AuditSummary};
use puro_blob::{
    StepOutcome, StoreStatus,
    store::{BucketProperties, BucketStatus, Encryption, Told},
};
use puro_metadata::StoreReport;
use puro_types::ByteSize;
use serde::Serialize;

use super::Session;
use crate::{
    exit::Fault,
    output::{Row, say},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Request {
    /// Make what the stores need: the tables and the bucket, with the rights of this shell
    Init,
    /// Tell how the stores are
    Status,
    /// Compare the messages with the stored bytes
    ///
    /// Mail may flow meanwhile. Finds segments that no message is in (space that a crash left behind), counters that are off,
    /// items that nobody needs, and messages whose bytes are gone, which is a loss: then the exit code is 1.
    Audit {
        /// Delete the segments and items that nobody needs, and set the counters right
        #[arg(long)]
        repair: bool,
    },
}

pub(super) async fn run(session: &Session, request: Request) -> Result<(), Fault> {
    match request {
        Request::Init => init(session).await,
        Request::Status => status(session).await,
        Request::Audit { repair } => audit(session, repair).await,
    }
}

/// One part of a store.
#[derive(Debug, Serialize)]
struct Part {
    service: &'static str,
    part: String,
    state: &'static str,
    detail: String,
}

impl Row for Part {
    const HEADINGS: &'static [&'static str] = &["SERVICE", "PART", "STATE", "DETAIL"];

    fn cells(&self) -> Vec<String> {
        vec![self.service.to_owned(), self.part.clone(), self.state.to_owned(), self.detail.clone()]
    }
}

/// Nothing has to be made for these.
const MADE_AT_START: &str = "nothing to set up: made when the service starts";

async fn init(session: &Session) -> Result<(), Fault> {
    let settings = &session.settings;
    let (metadata, blob) = (puro_metadata::init_store(settings).await, puro_blob::init_store(settings).await);
    let mut parts = Vec::new();
    let mut faults = Vec::new();
    match &metadata {
        Ok(report) => parts.extend(tables(report)),
        Err(error) => faults.push(metadata_fault(error)),
    }
    match blob {
        Ok(steps) if steps.is_empty() => {
            parts.push(part("blob", "disk or memory".to_owned(), "ok", MADE_AT_START));
        }
        Ok(steps) => parts.extend(steps.into_iter().map(|step| {
            let (state, detail) = match step.outcome {
                StepOutcome::Done => ("made", String::new()),
                StepOutcome::AlreadyDone => ("ok", String::new()),
                StepOutcome::Skipped(why) => ("left out", why),
            };
            Part { service: "blob", part: step.what, state, detail }
        })),
        Err(error) => faults.push(blob_fault(&error)),
    }
    session.output.rows(&parts)?;
    worst(faults)
}

async fn status(session: &Session) -> Result<(), Fault> {
    let settings = &session.settings;
    let (metadata, blob) =
        (puro_metadata::store_status(settings).await, puro_blob::store_status(settings).await);
    let mut parts = Vec::new();
    let mut faults = Vec::new();
    let missing = |what: &str| Fault::Refused(format!("{what} is not set up: run `puro store init`"));
    match &metadata {
        Ok(report) => {
            parts.extend(tables(report));
            if !report.is_ready() {
                faults.push(missing("the metadata store"));
            }
        }
        Err(error) => faults.push(metadata_fault(error)),
    }
    match &blob {
        Ok(StoreStatus::S3(bucket)) => {
            parts.extend(bucket_parts(bucket));
            if bucket.properties.is_none() {
                faults.push(missing("the blob store"));
            }
        }
        Ok(StoreStatus::Memory) => parts.push(part("blob", "memory".to_owned(), "ok", MADE_AT_START)),
        Ok(StoreStatus::Disk { directory, exists }) => {
            let detail = if *exists { "" } else { MADE_AT_START };
            parts.push(part("blob", format!("disk {}", directory.display()), "ok", detail));
        }
        Err(error) => faults.push(blob_fault(error)),
    }
    session.output.rows(&parts)?;
    worst(faults)
}

fn part(service: &'static str, part: String, state: &'static str, detail: &str) -> Part {
    Part { service, part, state, detail: detail.to_owned() }
}

fn tables(report: &StoreReport) -> Vec<Part> {
    if report.tables.is_empty() {
        let name = format!("{} {}", report.store, report.place);
        return vec![part("metadata", name.trim_end().to_owned(), "ok", MADE_AT_START)];
    }
    let table = |table: &puro_metadata::TableReport| {
        let state = match (&table.live, table.made) {
            (None, _) => "missing",
            (Some(_), true) => "made",
            (Some(_), false) if table.differences.is_empty() => "ok",
            (Some(_), false) => "differs",
        };
        Part {
            service: "metadata",
            part: format!("table {}", table.name),
            state,
            detail: table.differences.join("; "),
        }
    };
    report.tables.iter().map(table).collect()
}

fn bucket_parts(status: &BucketStatus) -> Vec<Part> {
    let name = format!("bucket {}", status.bucket);
    let Some(properties) = &status.properties else {
        return vec![part("blob", name, "missing", "`puro store init` makes it")];
    };
    let BucketProperties { encryption, public_access_blocked, aborts_abandoned_uploads, versioned } =
        properties;
    let encryption = match encryption {
        Told::Is(Encryption::None) => ("differs", "not encrypted".to_owned()),
        Told::Is(Encryption::S3Keys) => ("ok", "S3's own keys".to_owned()),
        Told::Is(Encryption::Kms { bucket_key: true, .. }) => ("ok", "KMS with a bucket key".to_owned()),
        Told::Is(Encryption::Kms { .. }) => {
            ("differs", "KMS without a bucket key: each request to KMS is paid for".to_owned())
        }
        Told::NotSupported => ("unknown", "the store does not know it".to_owned()),
        Told::NotTold(why) => ("unknown", why.clone()),
    };
    let told = |told: &Told<bool>, wanted: bool, otherwise: &str| match told {
        Told::Is(is) if *is == wanted => ("ok", String::new()),
        Told::Is(_) => ("differs", otherwise.to_owned()),
        Told::NotSupported => ("unknown", "the store does not know it".to_owned()),
        Told::NotTold(why) => ("unknown", why.clone()),
    };
    let rows = [
        ("encryption", encryption),
        ("public access", told(public_access_blocked, true, "it is not blocked")),
        ("abandoned uploads", told(aborts_abandoned_uploads, true, "they stay, and are paid for")),
        ("versions", told(versioned, false, "deleted segments stay as old versions, and are paid for")),
    ];
    let row = |(what, (state, detail)): (&str, (&'static str, String))| Part {
        service: "blob",
        part: what.to_owned(),
        state,
        detail,
    };
    let bucket = part("blob", name, "ok", &status.region);
    std::iter::once(bucket).chain(rows.into_iter().map(row)).collect()
}

fn metadata_fault(error: &puro_metadata::SetupError) -> Fault {
    let text = format!("the metadata store: {error}");
    match error {
        puro_metadata::SetupError::Unavailable(_) => Fault::Unreachable(text),
        puro_metadata::SetupError::Refused(_) => Fault::Refused(text),
    }
}

fn blob_fault(error: &puro_blob::SetupError) -> Fault {
    let text = format!("the blob store: {error}");
    match error {
        puro_blob::SetupError::Unavailable(_) => Fault::Unreachable(text),
        puro_blob::SetupError::Settings(_)
        | puro_blob::SetupError::Missing(_)
        | puro_blob::SetupError::Refused(_) => Fault::Refused(text),
    }
}

/// Says all of what went wrong; the last line, and the exit code, are the last's.
fn worst(mut faults: Vec<Fault>) -> Result<(), Fault> {
    faults.sort_by_key(|fault| fault.exit() as u8);
    let Some(last) = faults.pop() else { return Ok(()) };
    for fault in faults {
        say(format_args!("puro: {fault}"));
    }
    Err(last)
}

/// A finding as it is shown.
#[derive(Debug, Serialize)]
struct Found {
    kind: &'static str,
    repaired: bool,
    segment: String,
    size_bytes: u64,
    mailbox: Option<String>,
    email: Option<String>,
    message: Option<String>,
    detail: String,
}

impl Row for Found {
    const HEADINGS: &'static [&'static str] =
        &["KIND", "REPAIRED", "SEGMENT", "BYTES", "MAILBOX", "EMAIL", "MESSAGE", "DETAIL"];

    fn cells(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            self.kind.to_owned(),
            if self.repaired { "yes" } else { "no" }.to_owned(),
            self.segment.clone(),
            self.size_bytes.to_string(),
            text(&self.mailbox),
            text(&self.email),
            text(&self.message),
            self.detail.clone(),
        ]
    }
}

#[derive(Serialize)]
struct Audited {
    findings: Vec<Found>,
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    segments: u64,
    segment_bytes: u64,
    messages: u64,
    mailboxes: u64,
    orphans: u64,
    orphan_bytes: u64,
    dangling: u64,
    damaged: u64,
    counters: u64,
    left_behind: u64,
    unreadable: u64,
    repaired: u64,
}

async fn audit(session: &Session, repair: bool) -> Result<(), Fault> {
    let mut stream = session.metadata(session.audit.audit(repair).await)?;
    let bar = progress();
    let (mut found, mut end) = (Vec::new(), None);
    loop {
        match session.metadata(stream.next().await) {
            Ok(Some(AuditEvent::Progress { phase, done, total })) => show(&bar, phase, done, total),
            Ok(Some(AuditEvent::Finding(finding))) => {
                if let Some(loss) = loss(&finding) {
                    bar.suspend(|| say(format_args!("puro: LOST: {loss}")));
                }
                found.push(finding);
            }
            Ok(Some(AuditEvent::Summary(summary))) => end = Some(summary),
            Ok(None) => break,
            Err(fault) => {
                // What was found until now is true, and the end is missing.
                bar.finish_and_clear();
                session.output.rows(&shown(found, &BTreeMap::new()))?;
                say(format_args!("The audit was broken off: what it did not come to is not known."));
                return Err(fault);
            }
        }
    }
    bar.finish_and_clear();
    let summary = end.unwrap_or_default();
    let emails = emails(session, &found).await?;
    let findings = shown(found, &emails);
    if session.output.is_json() {
        session.output.value("", &Audited { findings, summary: summary.into() })?;
    } else {
        session.output.rows(&findings)?;
    }
    tell(&summary, repair);
    verdict(&summary)
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::no_length();
    match ProgressStyle::with_template("{spinner} {msg} {human_pos} {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, phase: AuditPhase, done: u64, total: Option<u64>) {
    bar.set_message(match phase {
        AuditPhase::Segments => "listing segments",
        AuditPhase::Messages => "reading messages",
        AuditPhase::Suspicions => "looking at segments without messages",
        AuditPhase::Counters => "comparing counters",
        AuditPhase::Items => "looking for left items",
    });
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_position(done);
}

fn loss(finding: &AuditFinding) -> Option<String> {
    let place = match (&finding.mailbox, &finding.message) {
        (Some(mailbox), Some(message)) => format!("message {message} of mailbox {mailbox}"),
        _ => "an item".to_owned(),
    };
    match finding.kind {
        AuditKind::Dangling | AuditKind::Damaged => Some(format!("{place}: {}", finding.detail)),
        AuditKind::Unreadable => Some(format!("an item cannot be read: {}", finding.detail)),
        AuditKind::Orphan | AuditKind::Counters | AuditKind::LeftBehind => None,
    }
}

fn shown(found: Vec<AuditFinding>, emails: &BTreeMap<String, String>) -> Vec<Found> {
    let shown = |finding: AuditFinding| {
        let mailbox = finding.mailbox.map(|mailbox| mailbox.to_string());
        Found {
            kind: match finding.kind {
                AuditKind::Orphan => "orphan",
                AuditKind::Dangling => "dangling",
                AuditKind::Damaged => "damaged",
                AuditKind::Counters => "counters",
                AuditKind::LeftBehind => "left behind",
                AuditKind::Unreadable => "unreadable",
            },
            repaired: finding.repaired,
            segment: finding.object_name,
            size_bytes: finding.size_bytes,
            email: mailbox.as_ref().and_then(|mailbox| emails.get(mailbox)).cloned(),
            mailbox,
            message: finding.message.map(|message| message.to_string()),
            detail: finding.detail,
        }
    };
    found.into_iter().map(shown).collect()
}

/// Returns whose mailboxes these are; asked only where there is a mailbox to name.
async fn emails(session: &Session, found: &[AuditFinding]) -> Result<BTreeMap<String, String>, Fault> {
    let mut emails = BTreeMap::new();
    if found.iter().all(|finding| finding.mailbox.is_none()) {
        return Ok(emails);
    }
    let mut after = None;
    loop {
        let page = session.metadata(session.admin.list_users(after.as_deref()).await)?;
        emails.extend(page.items.into_iter().map(|user| (user.mailbox.to_string(), user.email.to_string())));
        after = page.next;
        if after.is_none() {
            return Ok(emails);
        }
    }
}

fn tell(summary: &AuditSummary, repair: bool) {
    say(format_args!(
        "{} segments, {}; {} messages in {} mailboxes.",
        summary.segments,
        ByteSize(summary.segment_bytes),
        summary.messages,
        summary.mailboxes
    ));
    let amiss = summary.orphans + summary.counters + summary.left_behind;
    if amiss > 0 {
        say(format_args!(
            "{} orphans, {}; {} counters off; {} items left behind.",
            summary.orphans,
            ByteSize(summary.orphan_bytes),
            summary.counters,
            summary.left_behind
        ));
    }
    if repair {
        say(format_args!("{} of these are repaired.", summary.repaired));
    } else if amiss > 0 {
        say(format_args!("`puro store audit --repair` mends them."));
    }
}

fn verdict(summary: &AuditSummary) -> Result<(), Fault> {
    if !summary.is_loss() {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "mail is lost: the bytes of {} messages are gone, those of {} are damaged, {} items cannot be read",
        summary.dangling, summary.damaged, summary.unreadable
    )))
}

impl From<AuditSummary> for Summary {
    fn from(summary: AuditSummary) -> Self {
        Self {
            segments: summary.segments,
            segment_bytes: summary.segment_bytes,
            messages: summary.messages,
            mailboxes: summary.mailboxes,
            orphans: summary.orphans,
            orphan_bytes: summary.orphan_bytes,
            dangling: summary.dangling,
            damaged: summary.damaged,
            counters: summary.counters,
            left_behind: summary.left_behind,
            unreadable: summary.unreadable,
            repaired: summary.repaired,
        }
    }
}
