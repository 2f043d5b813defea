//! Put and delete, and each check of a condition.

use super::{super::*, *};

pub(super) async fn suite(store: &dyn ItemStore) {
    what_is_put_is_read(store).await;
    many_are_read_each_at_its_place(store).await;
    a_put_replaces_the_whole_item(store).await;
    absent_lets_the_first_put_win(store).await;
    exists_needs_an_item(store).await;
    equals_compares_kind_and_value(store).await;
    lacks_needs_the_attribute_to_be_missing(store).await;
    less_compares_numbers_only(store).await;
    all_checks_must_hold(store).await;
    delete_is_idempotent(store).await;
    delete_obeys_its_condition(store).await;
    tables_are_apart(store).await;
}

async fn what_is_put_is_read(store: &dyn ItemStore) {
    let key = key("put/read", "");
    assert_eq!(read(store, Table::User, &key).await, None);
    let full = item([
        ("text", text("Grüße\0\r\n")),
        ("number", Value::Number(-7)),
        ("octets", Value::Octets(Bytes::from_static(&[0, 0xff, b'\n']))),
        ("set", Value::Set(set([" ", "a", "é"]))),
    ]);
    store.put(Table::User, key.clone(), full.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, Some(full));
    let lagging = store.get(Table::User, &key, Consistency::Eventual).await;
    assert!(lagging.is_ok(), "{lagging:?}");
}

async fn many_are_read_each_at_its_place(store: &dyn ItemStore) {
    let keys: Vec<Key> = (0..130).map(|n| key("put/many", &format!("{n:03}"))).collect();
    for (n, key) in (0..).zip(&keys).filter(|(n, _)| n % 3 == 0) {
        store.put(Table::Folder, key.clone(), item([("n", Value::Number(n))]), always()).await.unwrap();
    }
    let mut wanted: Vec<Key> = keys.iter().rev().cloned().collect();
    wanted.push(keys[3].clone());
    for consistency in [Consistency::Strong, Consistency::Eventual] {
        let found = store.get_many(Table::Folder, &wanted, consistency).await.unwrap();
        assert_eq!(found.len(), wanted.len());
        if consistency == Consistency::Strong {
            for (key, found) in wanted.iter().zip(found) {
                assert_eq!(found, read(store, Table::Folder, key).await, "{key:?}");
            }
        }
    }
    assert_eq!(store.get_many(Table::Folder, &[], Consistency::Strong).await.unwrap(), []);
    invalid(store.get_many(Table::Folder, &[key("a", "b"), key("a", "")], Consistency::Strong).await);
}

async fn a_put_replaces_the_whole_item(store: &dyn ItemStore) {
    let key = key("put/replace", "");
    store.put(Table::User, key.clone(), item([("old", text("1"))]), always()).await.unwrap();
    let new = item([("new", text("2"))]);
    store.put(Table::User, key.clone(), new.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, Some(new));
}

async fn absent_lets_the_first_put_win(store: &dyn ItemStore) {
    let key = key("put/absent", "");
    let first = item([("n", Value::Number(1))]);
    store.put(Table::User, key.clone(), first.clone(), when(Check::Absent)).await.unwrap();
    let second = store.put(Table::User, key.clone(), item([]), when(Check::Absent)).await;
    refused(second, Some(first.clone()));
    assert_eq!(read(store, Table::User, &key).await, Some(first));
}

async fn exists_needs_an_item(store: &dyn ItemStore) {
    let key = key("put/exists", "");
    let put = || store.put(Table::User, key.clone(), item([]), when(Check::Exists));
    refused(put().await, None);
    assert_eq!(read(store, Table::User, &key).await, None);
    store.put(Table::User, key.clone(), item([("a", text("b"))]), always()).await.unwrap();
    put().await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, Some(item([])));
}

async fn equals_compares_kind_and_value(store: &dyn ItemStore) {
    let key = key("put/equals", "");
    let there = item([("n", Value::Number(1)), ("t", text("1")), ("s", Value::Set(set(["a", "b"])))]);
    let put = |name: &str, value| {
        store.put(Table::User, key.clone(), there.clone(), when(Check::Equals(name.into(), value)))
    };
    refused(put("n", Value::Number(1)).await, None);
    store.put(Table::User, key.clone(), there.clone(), always()).await.unwrap();
    let matching = [("n", Value::Number(1)), ("t", text("1")), ("s", Value::Set(set(["b", "a"])))];
    for (name, value) in matching {
        put(name, value).await.unwrap();
    }
    let other = [
        ("n", Value::Number(2)),
        ("n", text("1")),
        ("t", Value::Number(1)),
        ("t", text("")),
        ("s", Value::Set(set(["a"]))),
        ("missing", text("1")),
    ];
    for (name, value) in other {
        refused(put(name, value).await, Some(there.clone()));
    }
}

async fn lacks_needs_the_attribute_to_be_missing(store: &dyn ItemStore) {
    let key = key("put/lacks", "");
    let there = item([("a", text(""))]);
    let put =
        |name: &str| store.put(Table::User, key.clone(), there.clone(), when(Check::Lacks(name.into())));
    put("a").await.unwrap();
    put("b").await.unwrap();
    refused(put("a").await, Some(there.clone()));
}

async fn less_compares_numbers_only(store: &dyn ItemStore) {
    let key = key("put/less", "");
    let there = item([("n", Value::Number(-5)), ("t", text("-9"))]);
    let put = |name: &str, bound| {
        store.put(Table::User, key.clone(), there.clone(), when(Check::Less(name.into(), bound)))
    };
    refused(put("n", 0).await, None);
    store.put(Table::User, key.clone(), there.clone(), always()).await.unwrap();
    put("n", -4).await.unwrap();
    put("n", i64::MAX).await.unwrap();
    for (name, bound) in [("n", -5), ("n", -6), ("t", 0), ("missing", 0)] {
        refused(put(name, bound).await, Some(there.clone()));
    }
}

async fn all_checks_must_hold(store: &dyn ItemStore) {
    let key = key("put/all", "");
    let there = item([("n", Value::Number(1))]);
    store.put(Table::User, key.clone(), there.clone(), always()).await.unwrap();
    let both = |second| Condition(vec![Check::Exists, second]);
    let put = |second| store.put(Table::User, key.clone(), there.clone(), both(second));
    put(Check::Lacks("x".into())).await.unwrap();
    refused(put(Check::Lacks("n".into())).await, Some(there.clone()));
    refused(put(Check::Absent).await, Some(there.clone()));
}

async fn delete_is_idempotent(store: &dyn ItemStore) {
    let key = key("delete", "");
    store.delete(Table::User, key.clone(), always()).await.unwrap();
    store.put(Table::User, key.clone(), item([]), always()).await.unwrap();
    store.delete(Table::User, key.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, None);
    store.delete(Table::User, key.clone(), always()).await.unwrap();
    store.put(Table::User, key.clone(), item([]), when(Check::Absent)).await.unwrap();
}

async fn delete_obeys_its_condition(store: &dyn ItemStore) {
    let key = key("delete/if", "");
    let delete = |check| store.delete(Table::User, key.clone(), when(check));
    refused(delete(Check::Exists).await, None);
    delete(Check::Absent).await.unwrap();
    let there = item([("v", Value::Number(1))]);
    store.put(Table::User, key.clone(), there.clone(), always()).await.unwrap();
    refused(delete(Check::Equals("v".into(), Value::Number(2))).await, Some(there.clone()));
    assert_eq!(read(store, Table::User, &key).await, Some(there));
    delete(Check::Equals("v".into(), Value::Number(1))).await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, None);
}

async fn tables_are_apart(store: &dyn ItemStore) {
    let key = key("tables", "");
    store.put(Table::User, key.clone(), item([("t", text("user"))]), always()).await.unwrap();
    assert_eq!(read(store, Table::Domain, &key).await, None);
    store.delete(Table::Config, key.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::User, &key).await, Some(item([("t", text("user"))])));
}
