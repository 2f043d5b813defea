//! What operators may do, and what is refused.

use puro_api::model::{Alias, ConfigEntry, Domain, NewUser, UserStatus};
use puro_metadata::{MetadataError, PASSWORD_MAX, store::Table};
use puro_types::EmailAddress;

use crate::world::{World, new_user};

fn address(text: &str) -> EmailAddress {
    text.parse().unwrap()
}

fn alias(email: &str, targets: &[&str]) -> Alias {
    Alias { email: address(email), targets: targets.iter().map(|target| address(target)).collect() }
}

#[tokio::test(start_paused = true)]
async fn domains() {
    let world = World::new();
    let domain = |name: &str, catch_all: Option<&str>| Domain {
        name: name.parse().unwrap(),
        catch_all: catch_all.map(address),
    };
    world.metadata.add_domain(&domain("example.org", None)).await.unwrap();
    let again = world.metadata.add_domain(&domain("example.org", Some("a@example.org"))).await;
    assert!(matches!(again, Err(MetadataError::AlreadyExists(_))), "{again:?}");
    let literal = world.metadata.add_domain(&domain("[127.0.0.1]", None)).await;
    assert!(matches!(literal, Err(MetadataError::Invalid(_))), "{literal:?}");
    let elsewhere = world.metadata.add_domain(&domain("example.net", Some("a@example.com"))).await;
    assert!(matches!(elsewhere, Err(MetadataError::Refused(_))), "{elsewhere:?}");
    world.metadata.add_domain(&domain("example.net", Some("a@example.org"))).await.unwrap();
    let listed = world.metadata.list_domains().await.unwrap();
    assert_eq!(listed, [domain("example.net", Some("a@example.org")), domain("example.org", None)]);

    world.add_user("ann@example.org").await;
    let occupied = world.metadata.remove_domain(&"example.org".parse().unwrap()).await;
    assert!(matches!(occupied, Err(MetadataError::Refused(_))), "{occupied:?}");
    world.metadata.remove_domain(&"example.net".parse().unwrap()).await.unwrap();
    let gone = world.metadata.remove_domain(&"example.net".parse().unwrap()).await;
    assert!(matches!(gone, Err(MetadataError::NotFound(_))), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn users() {
    let world = World::new();
    let early = world.metadata.add_user(&new_user("ann@example.org")).await;
    assert!(matches!(early, Err(MetadataError::Refused(_))), "{early:?}");
    world.add_domain("example.org", None).await;
    for password in ["", &"x".repeat(PASSWORD_MAX + 1)] {
        let user = NewUser { password: password.to_owned().into(), ..new_user("ann@example.org") };
        let refused = world.metadata.add_user(&user).await;
        assert!(matches!(refused, Err(MetadataError::Invalid(_))), "{refused:?}");
    }
    assert!(world.items(Table::Folder).await.is_empty(), "a refused account leaves nothing");
    let ann = world.add_user("ann@example.org").await;
    let again = world.metadata.add_user(&new_user("ANN@example.org")).await;
    assert!(matches!(again, Err(MetadataError::AlreadyExists(_))), "{again:?}");
    assert_eq!(world.metadata.user(&ann.email).await.unwrap(), ann);

    let nobody = address("nobody@example.org");
    let secret = || "secret".to_owned().into();
    let missing =
        |result: Result<(), MetadataError>| assert!(matches!(result, Err(MetadataError::NotFound(_))));
    missing(world.metadata.user(&nobody).await.map(drop));
    missing(world.metadata.set_password(&nobody, &secret()).await);
    missing(world.metadata.set_user_status(&nobody, UserStatus::Disabled).await);
    missing(world.metadata.remove_user(&nobody).await);
    // An alias is no user.
    world.metadata.add_alias(&alias("all@example.org", &["ann@example.org"])).await.unwrap();
    let all = address("all@example.org");
    missing(world.metadata.set_password(&all, &secret()).await);
    missing(world.metadata.set_user_status(&all, UserStatus::Disabled).await);
    missing(world.metadata.remove_user(&all).await);

    let empty = world.metadata.set_password(&ann.email, &String::new().into()).await;
    assert!(matches!(empty, Err(MetadataError::Invalid(_))), "{empty:?}");
    world.metadata.set_user_status(&ann.email, UserStatus::Disabled).await.unwrap();
    assert_eq!(world.metadata.user(&ann.email).await.unwrap().status, UserStatus::Disabled);
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    for name in ["a", "b", "c"] {
        world.add_user(&format!("{name}@example.org")).await;
        let alias = alias(&format!("{name}-alias@example.org"), &["a@example.org"]);
        world.metadata.add_alias(&alias).await.unwrap();
    }
    let (mut users, mut aliases, mut after, mut pages) = (Vec::new(), Vec::new(), String::new(), 0);
    loop {
        let (page, next) = world.metadata.list_users(&after, 2).await.unwrap();
        users.extend(page.into_iter().map(|user| user.email.to_string()));
        aliases.extend(world.metadata.list_aliases(&after, 2).await.unwrap().0);
        pages += 1;
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(users, ["a@example.org", "b@example.org", "c@example.org"]);
    assert_eq!(aliases.len(), 3);
    assert!(pages >= 3);
}

#[tokio::test(start_paused = true)]
async fn aliases() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    world.add_user("ann@example.org").await;
    let add = async |email: &str, targets: &[&str]| world.metadata.add_alias(&alias(email, targets)).await;
    for (email, targets) in [("x@example.org", &[][..]), ("x@example.org", &["x@example.org"])] {
        let refused = add(email, targets).await;
        assert!(matches!(refused, Err(MetadataError::Invalid(_))), "{refused:?}");
    }
    for (email, target) in [("x@example.com", "ann@example.org"), ("x@example.org", "ann@example.com")] {
        let refused = add(email, &[target]).await;
        assert!(matches!(refused, Err(MetadataError::Refused(_))), "{refused:?}");
    }
    let taken = add("ann@example.org", &["bob@example.org"]).await;
    assert!(matches!(taken, Err(MetadataError::AlreadyExists(_))), "{taken:?}");
    let many: Vec<String> = (0..101).map(|number| format!("t{number}@example.org")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = add("many@example.org", &many).await;
    assert!(matches!(refused, Err(MetadataError::Invalid(_))), "{refused:?}");

    add("x@example.org", &["ann@example.org"]).await.unwrap();
    let grown = add("x@example.org", &["bob@example.org"]).await.unwrap();
    assert_eq!(grown, alias("x@example.org", &["ann@example.org", "bob@example.org"]));
    let user = world.metadata.add_user(&new_user("x@example.org")).await;
    assert!(matches!(user, Err(MetadataError::AlreadyExists(_))), "{user:?}");

    let remove = async |targets: &[&str]| world.metadata.remove_alias(&alias("x@example.org", targets)).await;
    assert!(matches!(remove(&["carl@example.org"]).await, Err(MetadataError::NotFound(_))));
    remove(&["ann@example.org"]).await.unwrap();
    assert_eq!(
        world.metadata.list_aliases("", 0).await.unwrap().0,
        [alias("x@example.org", &["bob@example.org"])]
    );
    remove(&["bob@example.org"]).await.unwrap();
    assert!(world.metadata.list_aliases("", 0).await.unwrap().0.is_empty(), "without targets it is no alias");
    assert!(matches!(remove(&[]).await, Err(MetadataError::NotFound(_))));
    world.metadata.remove_alias(&alias("ann@example.org", &[])).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn settings_name_domains_that_are_served() {
    let world = World::new();
    for (name, value) in [("domain", "example.org"), ("postmaster", "ann@example.org")] {
        let entry = ConfigEntry { name: name.to_owned(), value: value.to_owned() };
        let refused = world.metadata.set_config(&entry).await;
        assert!(matches!(refused, Err(MetadataError::Refused(_))), "{refused:?}");
    }
    world.add_domain("example.org", None).await;
    let entry = ConfigEntry { name: "domain".to_owned(), value: "example.org".to_owned() };
    world.metadata.set_config(&entry).await.unwrap();
    assert_eq!(world.metadata.config("").await.unwrap(), [entry]);
}
