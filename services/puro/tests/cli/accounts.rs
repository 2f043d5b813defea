//! Domains, users, aliases, configuration.

use serde_json::json;

use crate::system::System;

#[tokio::test]
async fn domains_come_and_go() {
    let system = System::start().await;
    assert_eq!(system.run("domain list").await.done(), "");
    assert_eq!(system.run("domain add Example.ORG").await.done(), "");
    system.run("domain add example.net --catch-all all@example.org --json").await.done();
    system.run("domain add example.org").await.refused(1, &["already exists"]);
    assert_eq!(system.run("domain list").await.done(), "example.net\tall@example.org\nexample.org\t\n");
    let expected = json!([{"name": "example.net", "catch_all": "all@example.org"}, {"name": "example.org", "catch_all": null}]);
    assert_eq!(system.run("domain list --json").await.json(), expected);
    system.run("domain remove example.net").await.done();
    system.run("domain remove example.net").await.refused(1, &["not found"]);
    assert_eq!(system.run("domain list").await.done(), "example.org\t\n");
}

#[tokio::test]
async fn a_user_from_beginning_to_end() {
    let system = System::start().await;
    system
        .run_with("user add me@example.org --password-stdin", "secret\n")
        .await
        .refused(1, &["example.org"]);
    system.run("domain add example.org").await.done();
    let add = "user add Me@Example.org --password-stdin --first-name Ann --last-name Other --quota 5MB";
    system.run_with(add, "secret\n").await.done();
    system.run_with(add, "secret\n").await.refused(1, &["already exists"]);
    assert!(system.logs_in("me@example.org", "secret").await);
    assert_eq!(system.run("user list").await.done(), "me@example.org\tAnn\tOther\tactive\t5MB\n");
    system.deliver("me@example.org", 1_700_000_000_000, "Subject: x\r\n\r\nHello\r\n").await;

    let shown = system.run("user show me@example.org --json").await.json();
    assert_eq!((&shown["quota_bytes"], &shown["status"]), (&json!(5_000_000), &json!("active")));
    assert_eq!((&shown["messages"], &shown["bytes"]), (&json!(1), &json!(21)));
    let shown = system.run("user show me@example.org").await.done();
    assert!(shown.starts_with("email\tme@example.org\nfirst name\tAnn\n"), "{shown}");

    system.run_with("user passwd me@example.org --password-stdin", "other\n").await.done();
    assert!(!system.logs_in("me@example.org", "secret").await);
    assert!(system.logs_in("me@example.org", "other").await);
    system.run("user disable me@example.org").await.done();
    assert!(!system.logs_in("me@example.org", "other").await);
    system.run("user enable me@example.org").await.done();
    assert!(system.logs_in("me@example.org", "other").await);

    system.run("domain remove example.org").await.refused(1, &["refused"]);
    system.run("user remove me@example.org").await.done();
    system.run("user remove me@example.org").await.refused(1, &["not found", "me@example.org"]);
    assert_eq!(system.run("user list").await.done(), "");
}

#[tokio::test]
async fn a_generated_password_is_told_and_works() {
    let system = System::with_account("me@example.org").await;
    let password = system.run("user passwd me@example.org --generate").await.done();
    assert!(system.logs_in("me@example.org", password.trim_end()).await);
    let made = system.run("user add you@example.org --generate --json").await.json();
    assert_eq!(made["email"], "you@example.org");
    assert!(system.logs_in("you@example.org", made["password"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_password_is_asked_for_only_where_somebody_can_answer() {
    let system = System::with_account("me@example.org").await;
    system.run("user passwd me@example.org").await.refused(2, &["--password-stdin", "--generate"]);
    system.run_with("user passwd me@example.org --password-stdin", "\n").await.refused(1, &["empty"]);
    system.run("user passwd me@example.org --password-stdin --generate").await.refused(2, &["--generate"]);
    assert!(system.logs_in("me@example.org", "secret").await, "nothing was changed");
}

#[tokio::test]
async fn every_user_is_listed_however_many() {
    let system = System::start().await;
    system.run("domain add example.org").await.done();
    // More than one page of the service's choice. Passwords of accounts are hashed slowly, so aliases stand in.
    let admin = system.admin();
    for count in 0..230 {
        let email = format!("alias{count}@example.org").parse().unwrap();
        let targets = vec!["me@example.org".parse().unwrap()];
        admin.add_alias(puro_api::model::Alias { email, targets }).await.unwrap();
    }
    assert_eq!(system.run("alias list").await.done().lines().count(), 230);
    assert_eq!(system.run("alias list --json").await.json().as_array().unwrap().len(), 230);
}

#[tokio::test]
async fn aliases_gain_and_lose_targets() {
    let system = System::with_account("me@example.org").await;
    system.run("alias add info@example.org me@example.org you@example.org").await.done();
    system.run("alias add info@example.org third@example.org").await.done();
    system.run("alias remove info@example.org you@example.org").await.done();
    let listed = system.run("alias list --json").await.json();
    assert_eq!(
        listed,
        json!([{"email": "info@example.org", "targets": ["me@example.org", "third@example.org"]}])
    );
    system.run("alias add me@example.org you@example.org").await.refused(1, &["already exists"]);
    system.run("alias remove info@example.org").await.done();
    assert_eq!(system.run("alias list").await.done(), "");
    system.run("alias add info@example.org").await.refused(2, &["TARGET"]);
}

#[tokio::test]
async fn settings_are_checked_kept_and_shown() {
    let system = System::start().await;
    system.run("config set read_capacity_units 30").await.done();
    assert_eq!(system.run("config get read_capacity_units").await.done(), "30\n");
    assert_eq!(
        system.run("config get read_capacity_units --json").await.json(),
        json!({"name": "read_capacity_units", "value": "30"})
    );
    assert!(system.run("config get").await.done().contains("read_capacity_units\t30\n"));
    system.run("config set read_capacity_units soon").await.refused(1, &["invalid", "read_capacity_units"]);
    for name in ["no_such_thing", "max_message_size", "retention"] {
        let told = ["no such setting", name, "known: domain, postmaster"];
        system.run(&format!("config set {name} 1")).await.refused(1, &told);
    }
    assert_eq!(system.run("config get read_capacity_units").await.done(), "30\n");
}
