//! Many callers at once: conditions decide one winner, and no addition is lost.

use tokio::task::JoinSet;

use super::{super::*, *};

const TASKS: i64 = 64;

pub(super) async fn suite(store: Arc<dyn ItemStore>) {
    one_of_many_puts_wins(&store).await;
    each_step_of_a_counter_has_one_winner(&store).await;
    no_addition_is_lost(&store).await;
    no_member_is_lost(&store).await;
}

async fn many<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Arc<dyn ItemStore>,
    task: impl Fn(Arc<dyn ItemStore>, i64) -> F,
) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for n in 0..TASKS {
        tasks.spawn(task(Arc::clone(store), n));
    }
    tasks.join_all().await
}

async fn one_of_many_puts_wins(store: &Arc<dyn ItemStore>) {
    let place = || key("race/put", "");
    let results = many(store, |store, n| async move {
        let item = item([("winner", Value::Number(n))]);
        store.put(Table::User, place(), item.clone(), when(Check::Absent)).await.map(|()| item)
    })
    .await;
    let winners: Vec<&Item> = results.iter().flatten().collect();
    let there = read(store.as_ref(), Table::User, &place()).await;
    assert_eq!(winners.len(), 1);
    assert_eq!(there.as_ref(), Some(winners[0]));
    for loser in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(*loser, StoreError::ConditionFailed(there.clone()));
    }
}

async fn each_step_of_a_counter_has_one_winner(store: &Arc<dyn ItemStore>) {
    let place = || key("race/step", "x");
    let steps = many(store, |store, _| async move {
        let mut seen = Value::Number(0);
        loop {
            let condition = match &seen {
                Value::Number(0) => when(Check::Lacks("n".into())),
                seen => when(Check::Equals("n".into(), seen.clone())),
            };
            let update = Update { add: vec![("n".into(), 1)], ..Update::default() };
            match store.update(Table::Folder, place(), update, condition).await {
                Ok(item) => return item["n"].clone(),
                Err(StoreError::ConditionFailed(Some(item))) => seen = item["n"].clone(),
                Err(error) => panic!("{error:?}"),
            }
        }
    })
    .await;
    let mut reached: Vec<i64> = steps
        .into_iter()
        .map(|step| match step {
            Value::Number(number) => number,
            other => panic!("{other:?}"),
        })
        .collect();
    reached.sort_unstable();
    assert_eq!(reached, (1..=TASKS).collect::<Vec<_>>());
}

async fn no_addition_is_lost(store: &Arc<dyn ItemStore>) {
    let place = || key("race/add", "x");
    many(store, |store, n| async move {
        for _ in 0..4 {
            let update = Update { add: vec![("sum".into(), n), ("count".into(), 1)], ..Update::default() };
            store.update(Table::Folder, place(), update, always()).await.unwrap();
        }
    })
    .await;
    let sum = 4 * TASKS * (TASKS - 1) / 2;
    let there = read(store.as_ref(), Table::Folder, &place()).await;
    assert_eq!(there, Some(item([("sum", Value::Number(sum)), ("count", Value::Number(4 * TASKS))])));
}

async fn no_member_is_lost(store: &Arc<dyn ItemStore>) {
    let place = || key("race/insert", "");
    many(store, |store, n| async move {
        let update = Update { insert: vec![("dead".into(), [n.to_string()].into())], ..Update::default() };
        store.update(Table::Segment, place(), update, always()).await.unwrap();
    })
    .await;
    let all = (0..TASKS).map(|n| n.to_string()).collect();
    assert_eq!(read(store.as_ref(), Table::Segment, &place()).await, Some(item([("dead", Value::Set(all))])));
}
