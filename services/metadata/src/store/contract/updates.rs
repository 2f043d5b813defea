//! Update: each clause, what it returns, and what it refuses.

use super::{super::*, *};

pub(super) async fn suite(store: &dyn ItemStore) {
    all_clauses_apply_at_once(store).await;
    an_absent_item_is_made(store).await;
    absent_attributes_count_as_nothing(store).await;
    a_failed_condition_changes_nothing(store).await;
    removing_what_is_missing_is_no_error(store).await;
    an_insert_is_idempotent(store).await;
    the_wrong_kind_is_refused(store).await;
    one_attribute_changes_once(store).await;
    an_update_follows_its_put(store).await;
}

fn add(name: &str, amount: i64) -> Update {
    Update { add: vec![(name.into(), amount)], ..Update::default() }
}

async fn all_clauses_apply_at_once(store: &dyn ItemStore) {
    let key = key("update/all", "x");
    let before = item([
        ("kept", text("k")),
        ("set", text("old")),
        ("count", Value::Number(40)),
        ("members", Value::Set(set(["a"]))),
        ("gone", text("g")),
    ]);
    store.put(Table::Folder, key.clone(), before, always()).await.unwrap();
    let update = Update {
        set: vec![("set".into(), Value::Octets(Bytes::from_static(b"new")))],
        add: vec![("count".into(), 2)],
        insert: vec![("members".into(), set(["b", "a"]))],
        remove: vec!["gone".into()],
    };
    let after = item([
        ("kept", text("k")),
        ("set", Value::Octets(Bytes::from_static(b"new"))),
        ("count", Value::Number(42)),
        ("members", Value::Set(set(["a", "b"]))),
    ]);
    let returned = store.update(Table::Folder, key.clone(), update, when(Check::Exists)).await.unwrap();
    assert_eq!(returned, after);
    assert_eq!(read(store, Table::Folder, &key).await, Some(after));
}

async fn an_absent_item_is_made(store: &dyn ItemStore) {
    let key = key("update/made", "x");
    let update = Update { set: vec![("a".into(), text(""))], ..Update::default() };
    let made = store.update(Table::Folder, key.clone(), update, when(Check::Absent)).await.unwrap();
    assert_eq!(made, item([("a", text(""))]));
    assert_eq!(read(store, Table::Folder, &key).await, Some(made));
}

async fn absent_attributes_count_as_nothing(store: &dyn ItemStore) {
    let key = key("update/nothing", "x");
    let update =
        Update { add: vec![("n".into(), -3)], insert: vec![("s".into(), set(["m"]))], ..Update::default() };
    let made = store.update(Table::Folder, key.clone(), update, always()).await.unwrap();
    assert_eq!(made, item([("n", Value::Number(-3)), ("s", Value::Set(set(["m"])))]));
    let again = store.update(Table::Folder, key, add("n", 3), always()).await.unwrap();
    assert_eq!(again.get("n"), Some(&Value::Number(0)), "a repeat adds again, and zero stays an attribute");
}

async fn a_failed_condition_changes_nothing(store: &dyn ItemStore) {
    let key = key("update/failed", "x");
    let update = |check| store.update(Table::Folder, key.clone(), add("n", 1), when(check));
    refused(update(Check::Exists).await, None);
    assert_eq!(read(store, Table::Folder, &key).await, None);
    let there = item([("n", Value::Number(1))]);
    store.put(Table::Folder, key.clone(), there.clone(), always()).await.unwrap();
    refused(update(Check::Less("n".into(), 1)).await, Some(there.clone()));
    assert_eq!(read(store, Table::Folder, &key).await, Some(there));
}

async fn removing_what_is_missing_is_no_error(store: &dyn ItemStore) {
    let key = key("update/remove", "x");
    let there = item([("a", text("1"))]);
    store.put(Table::Folder, key.clone(), there.clone(), always()).await.unwrap();
    let update = Update { remove: vec!["b".into()], ..Update::default() };
    assert_eq!(store.update(Table::Folder, key, update, always()).await.unwrap(), there);
}

async fn an_insert_is_idempotent(store: &dyn ItemStore) {
    let key = key("update/insert", "x");
    let update = Update { insert: vec![("s".into(), set(["1", "2"]))], ..Update::default() };
    let once = store.update(Table::Folder, key.clone(), update.clone(), always()).await.unwrap();
    let twice = store.update(Table::Folder, key, update, always()).await.unwrap();
    assert_eq!(once, twice);
}

async fn the_wrong_kind_is_refused(store: &dyn ItemStore) {
    let key = key("update/kind", "x");
    let there = item([("t", text("1")), ("n", Value::Number(1))]);
    store.put(Table::Folder, key.clone(), there.clone(), always()).await.unwrap();
    let insert = Update { insert: vec![("n".into(), set(["m"]))], ..Update::default() };
    for update in [add("t", 1), insert] {
        invalid(store.update(Table::Folder, key.clone(), update, always()).await);
    }
    assert_eq!(read(store, Table::Folder, &key).await, Some(there));
}

async fn one_attribute_changes_once(store: &dyn ItemStore) {
    let key = key("update/twice", "x");
    let set_and_add =
        Update { set: vec![("n".into(), Value::Number(1))], add: vec![("n".into(), 1)], ..Update::default() };
    let added_twice = Update { add: vec![("n".into(), 1), ("n".into(), 1)], ..Update::default() };
    let removed_too = Update { remove: vec!["n".into()], ..add("n", 1) };
    for update in [set_and_add, added_twice, removed_too] {
        invalid(store.update(Table::Folder, key.clone(), update, always()).await);
    }
    assert_eq!(read(store, Table::Folder, &key).await, None);
}

/// The update sees the put, is not made where the put is refused, and leaves the put in place where it is itself refused.
async fn an_update_follows_its_put(store: &dyn ItemStore) {
    let (first, second) = (key("update/follows", "first"), key("update/follows", "second"));
    let put = |number| PutCall {
        table: Table::Folder,
        key: first.clone(),
        item: item([("n", Value::Number(number))]),
        condition: when(Check::Absent),
    };
    let bump = |key: &Key, condition| UpdateCall {
        table: Table::Folder,
        key: key.clone(),
        update: add("n", 1),
        condition,
    };
    let one = item([("n", Value::Number(1))]);
    let made = store.put_then_update(put(40), bump(&second, always())).await;
    assert_eq!(made, Ok(Ok(one.clone())));
    let there = item([("n", Value::Number(40))]);
    assert_eq!(read(store, Table::Folder, &first).await, Some(there.clone()));

    refused(store.put_then_update(put(50), bump(&second, always())).await, Some(there));
    assert_eq!(read(store, Table::Folder, &second).await, Some(one.clone()), "its put was refused");

    store.delete(Table::Folder, first.clone(), always()).await.unwrap();
    let made = store.put_then_update(put(60), bump(&second, when(Check::Absent))).await;
    refused(made.unwrap(), Some(one));
    let there = Some(item([("n", Value::Number(60))]));
    assert_eq!(read(store, Table::Folder, &first).await, there, "only the update was refused");

    store.delete(Table::Folder, first.clone(), always()).await.unwrap();
    let made = store.put_then_update(put(70), bump(&first, always())).await;
    assert_eq!(made, Ok(Ok(item([("n", Value::Number(71))]))), "the update sees the put");
}
