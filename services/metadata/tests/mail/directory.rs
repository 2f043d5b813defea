//! Logins, recipients and senders.

use std::time::Duration;

use puro_api::model::{Alias, ConfigEntry, NewUser, Refusal, Resolution, UserStatus};
use puro_metadata::{
    MetadataError,
    store::faulty::{Calls, Fault, FaultPlan},
};
use puro_types::{ByteSize, EmailAddress, MailboxId};

use crate::world::{World, alone, new_user};

fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

async fn set(world: &World, name: &str, value: &str) {
    let entry = ConfigEntry { name: name.to_owned(), value: value.to_owned() };
    world.metadata.set_config(&entry).await.unwrap();
}

async fn alias(world: &World, email: &str, targets: &[&str]) {
    let targets = targets.iter().map(|target| address(target)).collect();
    world.metadata.add_alias(&Alias { email: address(email), targets }).await.unwrap();
}

/// Returns the accounts that mail for an address goes to, or why it goes nowhere.
async fn resolve(world: &World, to: &str) -> Result<Vec<String>, Refusal> {
    resolve_sized(world, to, 0).await
}

async fn resolve_sized(world: &World, to: &str, size_bytes: u64) -> Result<Vec<String>, Refusal> {
    match world.metadata.resolve(to, size_bytes).await.unwrap() {
        Resolution::Targets(targets) => {
            let mut emails: Vec<String> =
                targets.targets.iter().map(|target| target.email.to_string()).collect();
            emails.sort();
            Ok(emails)
        }
        Resolution::Refusal(refusal) => Err(refusal),
    }
}

/// Returns the members of an alias that mail for it does not reach, and why.
async fn left_out(world: &World, to: &str) -> Vec<(Option<MailboxId>, Refusal)> {
    match world.metadata.resolve(to, 0).await.unwrap() {
        Resolution::Targets(targets) => {
            targets.left_out.into_iter().map(|member| (member.mailbox, member.reason)).collect()
        }
        Resolution::Refusal(refusal) => panic!("{refusal:?}"),
    }
}

async fn town() -> World {
    let world = World::new();
    world.add_domain("example.org", None).await;
    world.add_user("ann@example.org").await;
    world.add_user("bob@example.org").await;
    world
}

fn found(emails: &[&str]) -> Result<Vec<String>, Refusal> {
    Ok(emails.iter().map(|email| format!("{email}@example.org")).collect())
}

#[tokio::test(start_paused = true)]
async fn users_domains_and_tags() {
    let world = town().await;
    assert_eq!(resolve(&world, "ANN@Example.ORG").await, found(&["ann"]));
    assert_eq!(resolve(&world, "\"ann\"@example.org").await, found(&["ann"]));
    assert_eq!(resolve(&world, "carl@example.org").await, Err(Refusal::UnknownUser));
    assert_eq!(resolve(&world, "ann@example.com").await, Err(Refusal::NotLocal));
    assert_eq!(resolve(&world, "ann@[127.0.0.1]").await, Err(Refusal::NotLocal));
    assert_eq!(resolve(&world, "ann+shop@example.org").await, found(&["ann"]));
    assert_eq!(resolve(&world, "carl+shop@example.org").await, Err(Refusal::UnknownUser));
    assert_eq!(resolve(&world, "+ann@example.org").await, Err(Refusal::UnknownUser));
    // The exact address goes first.
    world.add_user("ann+shop@example.org").await;
    assert_eq!(resolve(&world, "ann+shop@example.org").await, found(&["ann+shop"]));
    let wrong = world.metadata.resolve("no address", 0).await;
    assert!(matches!(wrong, Err(MetadataError::Invalid(_))), "{wrong:?}");
}

#[tokio::test(start_paused = true)]
async fn aliases() {
    let world = town().await;
    alias(&world, "both@example.org", &["ann@example.org", "bob@example.org"]).await;
    alias(&world, "all@example.org", &["both@example.org", "ann@example.org"]).await;
    assert_eq!(resolve(&world, "all@example.org").await, found(&["ann", "bob"]));
    assert_eq!(resolve(&world, "all+tag@example.org").await, found(&["ann", "bob"]));
    alias(&world, "dangling@example.org", &["nobody@example.org"]).await;
    assert_eq!(left_out(&world, "all@example.org").await, []);
    alias(&world, "partly@example.org", &["ann@example.org", "nobody@example.org", "dangling@example.org"])
        .await;
    assert_eq!(resolve(&world, "partly@example.org").await, found(&["ann"]));
    assert_eq!(left_out(&world, "partly@example.org").await, [(None, Refusal::UnknownUser)]);
    assert_eq!(resolve(&world, "dangling@example.org").await, Err(Refusal::UnknownUser));
    alias(&world, "one@example.org", &["two@example.org"]).await;
    alias(&world, "two@example.org", &["one@example.org"]).await;
    assert_eq!(resolve(&world, "one@example.org").await, Err(Refusal::AliasLoop));
    // Deeper than anybody needs.
    alias(&world, "d0@example.org", &["ann@example.org"]).await;
    for depth in 1..10 {
        let target = format!("d{}@example.org", depth - 1);
        alias(&world, &format!("d{depth}@example.org"), &[&target]).await;
    }
    assert_eq!(resolve(&world, "d7@example.org").await, found(&["ann"]));
    assert_eq!(resolve(&world, "d9@example.org").await, Err(Refusal::AliasLoop));
}

#[tokio::test(start_paused = true)]
async fn catch_all() {
    let world = town().await;
    world.add_domain("example.net", Some("ann@example.org")).await;
    assert_eq!(resolve(&world, "whoever@example.net").await, found(&["ann"]));
    // A catch-all that is not there must not send mail round in circles.
    world.add_domain("example.com", Some("lost@example.com")).await;
    assert_eq!(resolve(&world, "whoever@example.com").await, Err(Refusal::UnknownUser));
}

#[tokio::test(start_paused = true)]
async fn somebody_is_always_the_postmaster() {
    let world = town().await;
    assert_eq!(resolve(&world, "postmaster").await, found(&["ann"]), "also where nothing is set");
    set(&world, "domain", "example.org").await;
    world.add_domain("example.net", None).await;
    // The first account, until a setting says otherwise.
    for to in ["postmaster", "PostMaster", "postmaster@example.org", "Postmaster@example.net"] {
        assert_eq!(resolve(&world, to).await, found(&["ann"]), "{to}");
    }
    set(&world, "postmaster", "bob@example.org").await;
    assert_eq!(resolve(&world, "postmaster@example.net").await, found(&["bob"]));
    alias(&world, "postmaster@example.org", &["ann@example.org"]).await;
    assert_eq!(resolve(&world, "postmaster").await, found(&["ann"]));
    assert_eq!(resolve(&world, "postmaster@example.net").await, found(&["bob"]));
    // The account goes: another one takes the mail.
    world.metadata.remove_user(&address("bob@example.org")).await.unwrap();
    assert_eq!(resolve(&world, "postmaster@example.net").await, found(&["ann"]));
    assert_eq!(resolve(&world, "postmaster@example.com").await, Err(Refusal::NotLocal));
}

#[tokio::test(start_paused = true)]
async fn quotas_and_disabled_accounts() {
    let world = town().await;
    let carl = NewUser { quota: Some(ByteSize(2_500)), ..new_user("carl@example.org") };
    let carl = world.metadata.add_user(&carl).await.unwrap();
    assert_eq!(resolve_sized(&world, "carl@example.org", 2_500).await, found(&["carl"]));
    assert_eq!(resolve_sized(&world, "carl@example.org", 2_501).await, Err(Refusal::OverQuota));
    for number in 0..2 {
        world.deliver(&alone(number, std::slice::from_ref(&carl.mailbox))).await.unwrap();
    }
    assert_eq!(resolve_sized(&world, "carl@example.org", 501).await, Err(Refusal::OverQuota));
    assert_eq!(resolve(&world, "carl@example.org").await, found(&["carl"]));
    world.deliver(&alone(3, std::slice::from_ref(&carl.mailbox))).await.unwrap();
    assert_eq!(resolve(&world, "carl@example.org").await, Err(Refusal::OverQuota));

    world.metadata.set_user_status(&address("bob@example.org"), UserStatus::Disabled).await.unwrap();
    assert_eq!(resolve(&world, "bob@example.org").await, Err(Refusal::Disabled));
    alias(&world, "group@example.org", &["ann@example.org", "bob@example.org", "carl@example.org"]).await;
    assert_eq!(resolve(&world, "group@example.org").await, found(&["ann"]));
    // Nobody is left out without a word, and nobody twice.
    alias(&world, "all@example.org", &["group@example.org", "bob@example.org", "bob+tag@example.org"]).await;
    let bob = world.metadata.user(&address("bob@example.org")).await.unwrap().mailbox;
    let mut expected = vec![(Some(bob), Refusal::Disabled), (Some(carl.mailbox), Refusal::OverQuota)];
    expected.sort_by(|(one, _), (other, _)| one.cmp(other));
    for to in ["group@example.org", "all@example.org"] {
        let mut members = left_out(&world, to).await;
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(members, expected, "{to}");
    }
    assert_eq!(left_out(&world, "ann@example.org").await, []);
    alias(&world, "off@example.org", &["bob@example.org"]).await;
    assert_eq!(resolve(&world, "off@example.org").await, Err(Refusal::Disabled));
}

#[tokio::test(start_paused = true)]
async fn logins() {
    let world = town().await;
    let login = async |login: &str, password: &str| {
        world.metadata.authenticate(login, &password.to_owned().into()).await.map(|account| account.email)
    };
    assert_eq!(login("Ann@example.org", "secret").await, Ok(address("ann@example.org")));
    let bad = [
        ("ann@example.org", "wrong"),
        ("ann@example.org", ""),
        ("nobody@example.org", "secret"),
        ("ann", "wrong"),
        ("nobody", "secret"),
        ("@", "secret"),
        ("", ""),
    ];
    for (name, password) in bad {
        assert_eq!(login(name, password).await, Err(MetadataError::BadCredentials), "{name:?} {password:?}");
    }
    let long = "x".repeat(2_000);
    assert_eq!(login("ann@example.org", &long).await, Err(MetadataError::BadCredentials));
    assert_eq!(login("ann", "secret").await, Ok(address("ann@example.org")), "in the default domain");
    world.add_domain("example.net", None).await;
    set(&world, "domain", "example.net").await;
    assert_eq!(login("ann", "secret").await, Err(MetadataError::BadCredentials));
    alias(&world, "both@example.org", &["ann@example.org"]).await;
    assert_eq!(login("both@example.org", "secret").await, Err(MetadataError::BadCredentials));
    world.metadata.set_password(&address("ann@example.org"), &"new".to_owned().into()).await.unwrap();
    assert_eq!(login("ann@example.org", "secret").await, Err(MetadataError::BadCredentials));
    assert_eq!(login("ann@example.org", "new").await, Ok(address("ann@example.org")));
    world.metadata.set_user_status(&address("ann@example.org"), UserStatus::Disabled).await.unwrap();
    assert_eq!(login("ann@example.org", "new").await, Err(MetadataError::BadCredentials));
}

#[tokio::test(start_paused = true)]
async fn every_bad_login_takes_the_same_work() {
    let world = town().await;
    world.metadata.set_user_status(&address("bob@example.org"), UserStatus::Disabled).await.unwrap();
    alias(&world, "both@example.org", &["ann@example.org"]).await;
    // The settings, which name the default domain, are read every half minute.
    world.metadata.resolve("postmaster", 0).await.unwrap();
    for (name, password) in [
        ("ann@example.org", "wrong"),
        ("ann", "wrong"),
        ("bob@example.org", "secret"),
        ("bob@example.org", "wrong"),
        ("both@example.org", "secret"),
        ("nobody@example.org", "wrong"),
        ("nobody@example.com", "wrong"),
        ("no@ address", "wrong"),
        ("", ""),
    ] {
        world.faulty.set_plan(FaultPlan::none());
        let before = world.metadata.password_hashes();
        let login = world.metadata.authenticate(name, &password.to_owned().into()).await;
        assert_eq!(login.map(drop), Err(MetadataError::BadCredentials));
        assert_eq!(world.metadata.password_hashes() - before, 1, "hashes for {name:?} {password:?}");
        assert_eq!(world.faulty.calls(Calls::Reads), 2, "reads for {name:?} {password:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_login_is_hashed_once_and_then_remembered() {
    let world = town().await;
    for (login, hashes) in
        [("ann@example.org", 1), ("ANN@example.org", 0), ("ann", 0), ("bob@example.org", 1)]
    {
        let before = world.metadata.password_hashes();
        world.metadata.authenticate(login, &"secret".to_owned().into()).await.unwrap();
        assert_eq!(world.metadata.password_hashes() - before, hashes, "{login}");
    }
}

/// Logs in; returns whether it worked and how many hashes it took.
async fn log_in(world: &World, login: &str, password: &str) -> (bool, u64) {
    let before = world.metadata.password_hashes();
    let account = world.metadata.authenticate(login, &password.to_owned().into()).await;
    assert!(matches!(account, Ok(_) | Err(MetadataError::BadCredentials)), "{login}: {account:?}");
    (account.is_ok(), world.metadata.password_hashes() - before)
}

/// Says whether a login is put off, without any hash; another is one try more.
async fn is_put_off(world: &World, login: &str, password: &str) -> bool {
    let before = world.metadata.password_hashes();
    let account = world.metadata.authenticate(login, &password.to_owned().into()).await;
    let hashes = world.metadata.password_hashes() - before;
    let put_off = matches!(account, Err(MetadataError::Busy(_)));
    assert_eq!(hashes, u64::from(!put_off), "{login}: {account:?}");
    put_off
}

#[tokio::test(start_paused = true)]
async fn guesses_are_slowed_whether_or_not_there_is_an_account() {
    let world = town().await;
    world.metadata.resolve("postmaster", 0).await.unwrap();
    for login in ["ann@example.org", "nobody@example.org", "no@ address", ""] {
        for guess in 0..10 {
            let name = if guess % 2 == 0 { login.to_owned() } else { login.replace("@example.org", "") };
            assert_eq!(log_in(&world, &name, &format!("guess {guess}")).await, (false, 1), "{name:?}");
        }
        let before = world.metadata.logins_throttled();
        for password in ["guess", "secret"] {
            world.faulty.set_plan(FaultPlan::none());
            // The right password too: what was not looked at is not called wrong.
            assert!(is_put_off(&world, login, password).await, "{login:?} {password}");
            assert_eq!(world.faulty.calls(Calls::Reads), 2, "as any other bad login");
        }
        assert_eq!(world.metadata.logins_throttled() - before, 2);
    }
    assert_eq!(log_in(&world, "bob@example.org", "secret").await, (true, 1), "others are not slowed");
    tokio::time::advance(Duration::from_millis(5_001)).await;
    assert_eq!(log_in(&world, "nobody@example.org", "guess").await, (false, 1), "one try in five seconds");
    assert!(is_put_off(&world, "nobody@example.org", "guess").await);
    assert_eq!(log_in(&world, "ann@example.org", "secret").await, (true, 1));
}

#[tokio::test(start_paused = true)]
async fn guesses_at_once_are_slowed_too() {
    let world = town().await;
    let before = world.metadata.password_hashes();
    let password = "guess".to_owned().into();
    let guesses = (0..40).map(|_| world.metadata.authenticate("ann@example.org", &password));
    for guess in futures_util::future::join_all(guesses).await {
        assert!(matches!(guess, Err(MetadataError::BadCredentials | MetadataError::Busy(_))), "{guess:?}");
    }
    let hashed = world.metadata.password_hashes() - before;
    assert!(
        (10..=11).contains(&hashed),
        "{hashed}: two run at once, so one may begin before the tenth has failed"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_is_locked_out_by_the_guesses_of_others() {
    let world = town().await;
    let ann = "ann@example.org";
    assert_eq!(log_in(&world, ann, "secret").await, (true, 1));
    for turn in 0..7 {
        while !is_put_off(&world, ann, "guess").await {}
        // A success is remembered for an hour.
        let hashes = u64::from(turn == 5);
        assert_eq!(log_in(&world, ann, "secret").await, (true, hashes), "turn {turn}");
        tokio::time::advance(Duration::from_secs(13 * 60)).await;
    }
    // What was right once is a guess like any other behind a new password.
    world.metadata.set_password(&address(ann), &"new".to_owned().into()).await.unwrap();
    while !is_put_off(&world, ann, "guess").await {}
    assert!(is_put_off(&world, ann, "secret").await);
}

#[tokio::test(start_paused = true)]
async fn the_right_password_takes_no_try_away() {
    let world = town().await;
    for number in 0..12 {
        let password = format!("number {number}");
        let (ann, secret) = (address("ann@example.org"), password.clone().into());
        world.metadata.set_password(&ann, &secret).await.unwrap();
        assert_eq!(log_in(&world, "ann@example.org", &password).await, (true, 1), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_no_refusal() {
    let world = town().await;
    alias(&world, "both@example.org", &["ann@example.org", "bob@example.org"]).await;
    for to in ["ann@example.org", "nobody@example.org", "both@example.org", "ann@example.com", "postmaster"] {
        for first in 0.. {
            let replica = world.replica();
            world.faulty.set_plan(FaultPlan::nth(first, Calls::Reads, Fault::Before));
            let resolution = replica.resolve(to, 1).await;
            if world.faulty.injected() == 0 {
                break;
            }
            assert!(matches!(resolution, Err(MetadataError::Unavailable(_))), "{to}: {resolution:?}");
        }
    }
    world.faulty.set_plan(FaultPlan::during(0..100, Calls::Reads, Fault::Before));
    let login = world.metadata.authenticate("ann@example.org", &"secret".to_owned().into()).await;
    assert!(matches!(login, Err(MetadataError::Unavailable(_))), "{login:?}");
}

#[tokio::test(start_paused = true)]
async fn senders() {
    let world = town().await;
    alias(&world, "sales@example.org", &["ann@example.org"]).await;
    alias(&world, "chain@example.org", &["sales@example.org"]).await;
    for (sender, allowed) in [
        ("ann@example.org", true),
        ("ANN@example.org", true),
        ("ann+tag@example.org", true),
        ("sales@example.org", true),
        ("chain@example.org", false),
        ("bob@example.org", false),
        ("bob+ann@example.org", false),
        ("ann@example.com", false),
        ("nobody@example.org", false),
        ("no address", false),
    ] {
        assert_eq!(world.metadata.check_sender("ann@example.org", sender).await, Ok(allowed), "{sender}");
    }
}

/// Many connections of one user begin at once: all are let in, and the password is hashed once or twice, not each time.
#[tokio::test(start_paused = true)]
async fn many_good_logins_at_once() {
    let world = town().await;
    let before = world.metadata.password_hashes();
    let password = "secret".to_owned().into();
    let logins = (0..60).map(|_| world.metadata.authenticate("ann@example.org", &password));
    for login in futures_util::future::join_all(logins).await {
        assert_eq!(login.map(|account| account.email), Ok(address("ann@example.org")));
    }
    let hashed = world.metadata.password_hashes() - before;
    assert!(hashed <= 2, "hashed {hashed} times: as many as run at once");
}
