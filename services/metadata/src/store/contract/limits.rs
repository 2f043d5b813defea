//! What a store keeps at the edges, and what it refuses as our own mistake.

use super::{super::*, *};

pub(super) async fn suite(store: &dyn ItemStore) {
    numbers_reach_64_bits(store).await;
    a_sum_beyond_64_bits_is_refused(store).await;
    empty_values_are_values(store).await;
    keys_are_any_text(store).await;
    an_item_of_400_kb_fits_and_no_more(store).await;
    an_update_cannot_outgrow_the_limit(store).await;
    a_key_fits_its_table(store).await;
    names_and_sets_are_checked(store).await;
}

async fn numbers_reach_64_bits(store: &dyn ItemStore) {
    let key = key("numbers", "");
    for number in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
        let there = item([("n", Value::Number(number))]);
        store.put(Table::Domain, key.clone(), there.clone(), always()).await.unwrap();
        assert_eq!(read(store, Table::Domain, &key).await, Some(there));
    }
}

async fn a_sum_beyond_64_bits_is_refused(store: &dyn ItemStore) {
    let key = key("numbers/sum", "");
    for (number, amount) in [(i64::MAX, 1), (i64::MIN, -1)] {
        let there = item([("n", Value::Number(number))]);
        store.put(Table::Domain, key.clone(), there.clone(), always()).await.unwrap();
        let update = Update { add: vec![("n".into(), amount)], ..Update::default() };
        invalid(store.update(Table::Domain, key.clone(), update, always()).await);
        assert_eq!(read(store, Table::Domain, &key).await, Some(there));
    }
}

async fn empty_values_are_values(store: &dyn ItemStore) {
    let key = key("empty", "");
    let there = item([("t", text("")), ("o", Value::Octets(Bytes::new()))]);
    store.put(Table::Domain, key.clone(), there.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::Domain, &key).await, Some(there.clone()));
    let check = Check::Equals("t".into(), text(""));
    store.put(Table::Domain, key.clone(), there, when(check)).await.unwrap();
}

async fn keys_are_any_text(store: &dyn ItemStore) {
    let long = ("é".repeat(1024), "m".repeat(1024));
    let keys = [("ключ", "メール"), ("\0", "\0"), (" ", "\r\n"), (long.0.as_str(), long.1.as_str())];
    for (n, (partition, sort)) in (0..).zip(keys) {
        let there = item([("n", Value::Number(n))]);
        store.put(Table::Queue, key(partition, sort), there, always()).await.unwrap();
    }
    for (n, (partition, sort)) in (0..).zip(keys) {
        let there = Some(item([("n", Value::Number(n))]));
        assert_eq!(read(store, Table::Queue, &key(partition, sort)).await, there);
    }
}

/// An item of exactly the limit, with its key, and some octets more.
fn sized(key: &Key, more: usize) -> Item {
    let bare = size::item_bytes(Table::Domain, key, &item([("o", Value::Octets(Bytes::new()))]));
    item([("o", Value::Octets(vec![1; size::MAX_ITEM_BYTES - bare + more].into()))])
}

async fn an_item_of_400_kb_fits_and_no_more(store: &dyn ItemStore) {
    let key = key("large", "");
    invalid(store.put(Table::Domain, key.clone(), sized(&key, 1), always()).await);
    assert_eq!(read(store, Table::Domain, &key).await, None);
    let largest = sized(&key, 0);
    store.put(Table::Domain, key.clone(), largest.clone(), always()).await.unwrap();
    assert_eq!(read(store, Table::Domain, &key).await, Some(largest));
}

async fn an_update_cannot_outgrow_the_limit(store: &dyn ItemStore) {
    let key = key("large/update", "");
    let largest = sized(&key, 0);
    store.put(Table::Domain, key.clone(), largest.clone(), always()).await.unwrap();
    let update = Update { set: vec![("x".into(), text(""))], ..Update::default() };
    invalid(store.update(Table::Domain, key.clone(), update, always()).await);
    assert_eq!(read(store, Table::Domain, &key).await, Some(largest));
}

async fn a_key_fits_its_table(store: &dyn ItemStore) {
    let long = "x".repeat(2049);
    let keys = [
        (Table::User, key("", "")),
        (Table::User, key("a", "b")),
        (Table::User, key(&long, "")),
        (Table::MetaMail, key("a", "")),
        (Table::MetaMail, key("", "b")),
        (Table::MetaMail, key("a", &long[..1025])),
    ];
    for (table, key) in keys {
        invalid(store.get(table, &key, Consistency::Strong).await);
        invalid(store.put(table, key.clone(), item([]), always()).await);
        invalid(store.update(table, key.clone(), Update::default(), always()).await);
        invalid(store.delete(table, key, always()).await);
    }
    invalid(store.query(&all_of(Table::MetaMail, "")).await);
}

async fn names_and_sets_are_checked(store: &dyn ItemStore) {
    let key = key("names", "");
    let empty_set = || Value::Set(BTreeSet::new());
    for wrong in [
        item([("", text(""))]),
        item([("domain", text(""))]),
        item([("s", empty_set())]),
        item([("s", Value::Set(set(["", "a"])))]),
    ] {
        invalid(store.put(Table::Domain, key.clone(), wrong, always()).await);
    }
    let updates = [
        Update { set: vec![("domain".into(), text(""))], ..Update::default() },
        Update { set: vec![("s".into(), empty_set())], ..Update::default() },
        Update { set: vec![("s".into(), Value::Set(set([""])))], ..Update::default() },
        Update { insert: vec![("s".into(), BTreeSet::new())], ..Update::default() },
        Update { insert: vec![("s".into(), set([""]))], ..Update::default() },
        Update { remove: vec![String::new()], ..Update::default() },
    ];
    for update in updates {
        invalid(store.update(Table::Domain, key.clone(), update, always()).await);
    }
    assert_eq!(read(store, Table::Domain, &key).await, None);
}
