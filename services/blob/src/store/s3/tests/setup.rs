//! The bucket itself.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};

use super::*;
use crate::{
    setup::{SetupError, StepOutcome},
    store::{Told, bucket_status},
};

#[tokio::test]
async fn a_bucket_is_made_once_and_setting_it_up_again_changes_nothing() {
    let config = config();
    assert_eq!(bucket_status(&config).await.unwrap().properties, None);
    let steps = init_bucket(&config).await.unwrap();
    assert_eq!(steps[0].outcome, StepOutcome::Done);
    let store = S3Store::open(config.clone()).await.unwrap();
    let name = store.put(vec![some(10)]).await.unwrap().object_name;
    let status = bucket_status(&config).await.unwrap();
    let again = init_bucket(&config).await.unwrap();
    assert_eq!(again.len(), 4);
    for (before, after) in steps.iter().zip(&again) {
        // What the store does not offer, it does not offer the second time either.
        match &before.outcome {
            StepOutcome::Skipped(_) => assert_eq!(before, after),
            _ => assert_eq!(after.outcome, StepOutcome::AlreadyDone, "{}", after.what),
        }
    }
    assert_eq!(bucket_status(&config).await.unwrap(), status);
    assert_eq!(crate::store::contract::list(&store, 10).await, [(name, 10)]);
}

#[tokio::test]
async fn abandoned_uploads_are_thrown_away_beside_the_rules_there_are() {
    let config = config();
    init_bucket(&config).await.unwrap();
    let client = client(&config).await;
    let rule = LifecycleRule::builder()
        .id("the operator's")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("trash/").build())
        .expiration(LifecycleExpiration::builder().days(3).build());
    let rules = BucketLifecycleConfiguration::builder().rules(rule.build().unwrap()).build().unwrap();
    let put = client.put_bucket_lifecycle_configuration().bucket(&config.bucket);
    put.lifecycle_configuration(rules).send().await.unwrap();
    let aborts =
        || async { bucket_status(&config).await.unwrap().properties.unwrap().aborts_abandoned_uploads };
    assert_eq!(aborts().await, Told::Is(false), "the operator has put other rules in the place of ours");
    init_bucket(&config).await.unwrap();
    assert_eq!(aborts().await, Told::Is(true));
    let found = client.get_bucket_lifecycle_configuration().bucket(&config.bucket).send().await.unwrap();
    let ids: Vec<_> = found.rules().iter().filter_map(|rule| rule.id()).collect();
    assert!(ids.contains(&"the operator's") && ids.len() == 2, "{ids:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_with_what_to_run() {
    let error = S3Store::open(config()).await.unwrap_err();
    assert!(matches!(&error, SetupError::Missing(why) if why.contains("run `puro store init`")), "{error}");
}

#[tokio::test]
async fn wrong_keys_and_a_server_that_is_down_are_told_apart() {
    let mut wrong = bucket().await;
    if let Source::Given { keys, .. } = &mut wrong.source {
        keys.1 = "wrong".to_owned();
    }
    let error = S3Store::open(wrong.clone()).await.unwrap_err();
    assert!(matches!(error, SetupError::Refused(_)), "{error}");
    assert!(matches!(init_bucket(&wrong).await, Err(SetupError::Refused(_))));
    let proxy = FaultProxy::before_s3();
    if let Source::Given { endpoint, .. } = &mut wrong.source {
        *endpoint = proxy.endpoint();
    }
    proxy.take_down();
    let error = S3Store::open(wrong.clone()).await.unwrap_err();
    assert!(matches!(error, SetupError::Unavailable(_)), "{error}");
    assert!(matches!(bucket_status(&wrong).await, Err(SetupError::Unavailable(_))));
    let nameless = S3Config { bucket: String::new(), ..wrong };
    assert!(matches!(S3Store::open(nameless).await, Err(SetupError::Settings(_))));
}
