//! How commands end when something is not as it should be.

use crate::system::System;

#[tokio::test]
async fn a_service_that_is_not_there_is_69_with_advice() {
    let mut system = System::start().await;
    system.metadata_url = "http://127.0.0.1:1".into();
    let advice = ["http://127.0.0.1:1", "puro serve", "--metadata", "PURO_METADATA_URL"];
    for line in ["user list", "domain add example.org", "config get", "mail list me@example.org"] {
        system.run(line).await.refused(69, &advice);
    }
}

#[tokio::test]
async fn a_flag_goes_before_the_environment() {
    let mut system = System::start().await;
    let there = system.metadata_url.clone();
    system.metadata_url = "http://127.0.0.1:1".into();
    assert_eq!(system.run(&format!("user list --metadata {there}")).await.done(), "");
}

#[tokio::test]
async fn wrong_settings_are_64() {
    let system = System::start().await;
    let folder = system.folder.path();
    std::fs::write(folder.join("wrong.toml"), "[smtp]\nno_such_key = 1\n").unwrap();
    system.run("user list --config wrong.toml").await.refused(64, &["no_such_key"]);
    system.run("user list --config absent.toml").await.refused(64, &["absent.toml"]);
    let url = format!("[metadata]\nurl = \"{}\"\n", system.metadata_url);
    std::fs::write(folder.join("right.toml"), url).unwrap();
    let output =
        system.command("user list --config right.toml").env_remove("PURO_METADATA_URL").output().await;
    assert_eq!(output.unwrap().status.code(), Some(0), "the file says where the service is");
    let output =
        system.command("user list").env("PURO_METADATA_URL", "http://nowhere").output().await.unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

#[tokio::test]
async fn nonsense_is_2() {
    let system = System::start().await;
    for line in [
        "user",
        "user add",
        "user add not-an-address --generate",
        "domain add -- -x-",
        "user add me@example.org --password secret",
        "user list --metadata ftp://x",
        "no-such-command",
        "--check-config user list",
    ] {
        let ended = system.run(line).await;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{line}: {ended:?}");
        assert!(!ended.talk.is_empty(), "{line}");
    }
}

#[tokio::test]
async fn check_tells_what_is_missing() {
    let mut system = System::start().await;
    let ended = system.run("check").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.talk.contains("puro domain add") && ended.talk.contains("puro user add"), "{ended:?}");
    system.run("domain add example.org").await.done();
    system.run("user add me@example.org --generate").await.done();
    let checked = system.run("check --json").await.json();
    assert_eq!((&checked[0]["state"], &checked[1]["state"]), (&"ok".into(), &"ok".into()));
    assert_eq!(checked[0]["detail"], "memory store, 1 domains, 1 users");
    system.blob_url = "http://127.0.0.1:1".into();
    let ended = system.run("check").await;
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(ended.out.contains("\tok\t") && ended.out.contains("\tunavailable\t"), "{ended:?}");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let system = System::with_account("me@example.org").await;
    let mut child = system.command("user list").spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
