//! Tables and bucket: made by the operator, described, and missed by name.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops by panicking")]

use std::collections::BTreeMap;

use puro_e2e::{Mode, Ran, Stores, System, Tool, message};

/// Without tables or bucket nothing starts; the last line says what to run.
#[test]
fn a_start_without_tables_or_bucket_says_what_to_run() {
    let settings = Stores::Aws.settings();
    for binary in ["puro", "puro-metadata", "puro-blob"] {
        start(binary, &settings).code(69).says("puro store init");
    }
    store("init", &settings).ok();
    for (missing, binaries) in
        [("PURO_DYNAMODB_TABLE_PREFIX", ["puro", "puro-metadata"]), ("PURO_S3_BUCKET", ["puro", "puro-blob"])]
    {
        let mut other = settings.clone();
        other.insert(missing.to_owned(), format!("{}-other", settings[missing]));
        for binary in binaries {
            start(binary, &other).code(69).says("puro store init");
        }
    }
}

/// Once more does no harm: what is there stays as it is.
#[test]
fn making_the_stores_again_changes_nothing() {
    let settings = Stores::Aws.settings();
    for _ in 0..2 {
        store("init", &settings).ok();
    }
    let said = store("status", &settings).ok();
    for named in ["PURO_S3_BUCKET", "PURO_DYNAMODB_TABLE_PREFIX"] {
        let name = &settings[named];
        assert!(said.out.contains(name.as_str()), "{name} in {}", said.out);
    }
    let given: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let system = System::start_on(Mode::Single, Stores::Aws, &given);
    system.deliver("alice@example.test", &message("kept", "x\r\n"));
    store("init", &settings).ok();
    assert_eq!(system.fetch("alice").len(), 1);
}

/// Nothing is there that was not made, and whoever asks is told so.
#[test]
fn the_status_of_nothing_is_a_failure() {
    let ran = store("status", &Stores::Aws.settings());
    assert!(matches!(ran.code, Some(1 | 69)), "{ran:?}");
}

fn store(command: &str, settings: &BTreeMap<String, String>) -> Ran {
    with(Tool::binary("puro").args(["store", command]), settings).run()
}

/// Starts a process that is to end by itself.
fn start(binary: &str, settings: &BTreeMap<String, String>) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Tool::binary(binary).folder(folder.path());
    if binary == "puro" {
        process = process.args(["serve"]);
    }
    for listener in ["SMTP", "SMTP_TLS", "SMTP_SUBMISSION", "POP3", "POP3_TLS", "METADATA", "BLOB", "ADMIN"] {
        process = process.env(&format!("PURO_{listener}_LISTEN"), "127.0.0.1:0");
    }
    with(process, settings).run()
}

fn with(mut tool: Tool, settings: &BTreeMap<String, String>) -> Tool {
    for (name, value) in settings {
        tool = tool.env(name, value);
    }
    tool
}
