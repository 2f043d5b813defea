//! The bucket itself: made, set up and described. Each property is read, changed where it differs, and read again: some
//! S3-compatible stores take a call that they do not know for another one, and say that all went well.

use aws_sdk_s3::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
        CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
        PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    },
};

use super::{
    S3Config,
    connect::{Connection, connect},
    failed::{Failed, Reason},
};
use crate::setup::{SetupError, Step, StepOutcome};

/// The id of our lifecycle rule.
const RULE: &str = "puro-abort-abandoned-uploads";
/// After how many days an upload counts as abandoned. No message takes one.
const ABANDONED_DAYS: i32 = 2;

/// What a store tells of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    /// It is this.
    Is(T),
    /// The store does not know this property.
    NotSupported,
    /// The store does not tell us; says why.
    NotTold(String),
}

/// How a bucket encrypts what is put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Not at all, or the store does not say.
    None,
    /// With S3's own keys (SSE-S3).
    S3Keys,
    /// With a KMS key.
    Kms {
        /// The key; empty: the account's default for S3.
        key_id: String,
        /// Whether a bucket key saves most requests to KMS.
        bucket_key: bool,
    },
}

/// How a bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketStatus {
    /// Its name.
    pub bucket: String,
    /// The region that requests are signed for.
    pub region: String,
    /// What is known of it, if it exists.
    pub properties: Option<BucketProperties>,
}

/// The properties of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketProperties {
    /// How it encrypts.
    pub encryption: Told<Encryption>,
    /// Whether nothing in it can be made public.
    pub public_access_blocked: Told<bool>,
    /// Whether abandoned multipart uploads are thrown away.
    pub aborts_abandoned_uploads: Told<bool>,
    /// Whether deleted segments are kept as old versions, and paid for.
    pub versioned: Told<bool>,
}

/// Makes the bucket and sets it up, as far as it is not; see [`crate::init_store`].
///
/// # Errors
/// See [`SetupError`].
pub async fn init_bucket(config: &S3Config) -> Result<Vec<Step>, SetupError> {
    let Connection { client, region, .. } = connect(config).await?;
    let desk = Desk { client, bucket: &config.bucket };
    let mut steps =
        vec![Step { what: format!("bucket {}", config.bucket), outcome: desk.make(&region).await? }];
    let mut step = |what: &str, outcome| steps.push(Step { what: what.to_owned(), outcome });
    step("public access blocked", desk.block_public_access().await?);
    step("encryption", desk.encrypt(&config.kms_key_id).await?);
    step("abandoned uploads are thrown away", desk.abort_abandoned().await?);
    Ok(steps)
}

/// Tells how the bucket is.
///
/// # Errors
/// See [`SetupError`]. A bucket that is not there is no error.
pub async fn bucket_status(config: &S3Config) -> Result<BucketStatus, SetupError> {
    let Connection { client, region, .. } = connect(config).await?;
    let desk = Desk { client, bucket: &config.bucket };
    let properties = match desk.exists().await? {
        false => None,
        true => Some(BucketProperties {
            encryption: desk.encryption().await?,
            public_access_blocked: desk.public_access_blocked().await?,
            aborts_abandoned_uploads: told(desk.rules().await)?.map(|rules| rules.iter().any(is_ours)),
            versioned: desk.versioned().await?,
        }),
    };
    Ok(BucketStatus { bucket: config.bucket.clone(), region, properties })
}

impl<T> Told<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Told<U> {
        match self {
            Self::Is(value) => Told::Is(change(value)),
            Self::NotSupported => Told::NotSupported,
            Self::NotTold(why) => Told::NotTold(why),
        }
    }
}

/// What is said in the place of a property: only a store that does not answer at all ends everything.
fn told<T>(outcome: Result<T, Failed>) -> Result<Told<T>, SetupError> {
    match outcome {
        Ok(value) => Ok(Told::Is(value)),
        Err(failed) if failed.is_unsupported() => Ok(Told::NotSupported),
        Err(failed) if failed.reason() == Reason::Denied => Ok(Told::NotTold(failed.to_text("asking"))),
        Err(failed) => Err(failed.of_setup("asking the bucket")),
    }
}

/// What a change came to, once the property has been read again.
fn changed(outcome: Result<(), Failed>, is_so: bool, what: &str) -> Result<StepOutcome, SetupError> {
    match outcome {
        Ok(()) if is_so => Ok(StepOutcome::Done),
        Ok(()) => Ok(StepOutcome::Skipped(format!("the store took the call for {what} and did nothing"))),
        Err(failed) if failed.is_unsupported() => Ok(not_offered(what)),
        Err(failed) => Err(failed.of_setup(what)),
    }
}

/// A property that a store does not know is not set either: it might take the call for that of making the bucket.
fn not_offered(what: &str) -> StepOutcome {
    StepOutcome::Skipped(format!("the store does not offer {what}"))
}

/// Where a bucket is administered.
struct Desk<'a> {
    client: Client,
    bucket: &'a str,
}

impl Desk<'_> {
    async fn exists(&self) -> Result<bool, SetupError> {
        match self.client.head_bucket().bucket(self.bucket).send().await.map_err(failed) {
            Ok(_) => Ok(true),
            Err(failed) if matches!(failed.reason(), Reason::NotFound | Reason::NoBucket) => Ok(false),
            Err(failed) => Err(failed.of_setup(&format!("asking for the bucket {}", self.bucket))),
        }
    }

    async fn make(&self, region: &str) -> Result<StepOutcome, SetupError> {
        if self.exists().await? {
            return Ok(StepOutcome::AlreadyDone);
        }
        // The first region of all has no name here (API reference, CreateBucket).
        let mut outcome = self.create((region != "us-east-1").then_some(region)).await;
        if outcome
            .as_ref()
            .is_err_and(|failed| failed.code().is_some_and(|code| code.contains("LocationConstraint")))
        {
            // Other stores know no regions, or other ones.
            outcome = self.create(None).await;
        }
        match outcome {
            Ok(()) => Ok(StepOutcome::Done),
            Err(failed) if failed.code() == Some("BucketAlreadyOwnedByYou") => Ok(StepOutcome::AlreadyDone),
            Err(failed) if failed.code() == Some("BucketAlreadyExists") => Err(SetupError::Refused(format!(
                "the bucket {} belongs to somebody else: names of buckets are unique in the world",
                self.bucket
            ))),
            Err(failed) => Err(failed.of_setup(&format!("making the bucket {}", self.bucket))),
        }
    }

    async fn create(&self, region: Option<&str>) -> Result<(), Failed> {
        let place = region.map(|region| {
            let region = BucketLocationConstraint::from(region);
            CreateBucketConfiguration::builder().location_constraint(region).build()
        });
        let request = self.client.create_bucket().bucket(self.bucket).set_create_bucket_configuration(place);
        request.send().await.map(drop).map_err(failed)
    }

    async fn public_access_blocked(&self) -> Result<Told<bool>, SetupError> {
        let asked = self.client.get_public_access_block().bucket(self.bucket).send().await;
        let asked = asked.map_err(failed).map(|answer| {
            answer.public_access_block_configuration().is_some_and(|block| {
                let all = [
                    block.block_public_acls(),
                    block.ignore_public_acls(),
                    block.block_public_policy(),
                    block.restrict_public_buckets(),
                ];
                all.iter().all(|blocked| *blocked == Some(true))
            })
        });
        told(absent_is(asked, "NoSuchPublicAccessBlockConfiguration", false))
    }

    async fn block_public_access(&self) -> Result<StepOutcome, SetupError> {
        match self.public_access_blocked().await? {
            Told::Is(true) => return Ok(StepOutcome::AlreadyDone),
            Told::NotSupported => return Ok(not_offered("a block of public access")),
            Told::Is(false) | Told::NotTold(_) => {}
        }
        let block = PublicAccessBlockConfiguration::builder()
            .block_public_acls(true)
            .ignore_public_acls(true)
            .block_public_policy(true)
            .restrict_public_buckets(true)
            .build();
        let request = self.client.put_public_access_block().bucket(self.bucket);
        let outcome = request.public_access_block_configuration(block).send().await;
        let is_so = self.public_access_blocked().await? == Told::Is(true);
        changed(outcome.map(drop).map_err(failed), is_so, "a block of public access")
    }

    async fn encryption(&self) -> Result<Told<Encryption>, SetupError> {
        let asked = self.client.get_bucket_encryption().bucket(self.bucket).send().await;
        let asked = asked.map_err(failed).map(|answer| {
            let rules = answer.server_side_encryption_configuration().map(|found| found.rules());
            let rule = rules.unwrap_or_default().first();
            let Some((rule, default)) =
                rule.and_then(|rule| Some((rule, rule.apply_server_side_encryption_by_default()?)))
            else {
                return Encryption::None;
            };
            match default.sse_algorithm() {
                ServerSideEncryption::Aes256 => Encryption::S3Keys,
                _ => Encryption::Kms {
                    key_id: default.kms_master_key_id().unwrap_or_default().to_owned(),
                    bucket_key: rule.bucket_key_enabled() == Some(true),
                },
            }
        });
        told(absent_is(asked, "ServerSideEncryptionConfigurationNotFoundError", Encryption::None))
    }

    async fn encrypt(&self, kms_key_id: &str) -> Result<StepOutcome, SetupError> {
        let wanted = match kms_key_id {
            "" => Encryption::S3Keys,
            key_id => Encryption::Kms { key_id: key_id.to_owned(), bucket_key: true },
        };
        match self.encryption().await? {
            Told::Is(found) if found == wanted => return Ok(StepOutcome::AlreadyDone),
            // More than was asked for: somebody chose that.
            Told::Is(Encryption::Kms { .. }) if kms_key_id.is_empty() => {
                return Ok(StepOutcome::Skipped("left as it is: a KMS key".to_owned()));
            }
            Told::NotSupported => return Ok(not_offered("encryption by default")),
            Told::Is(_) | Told::NotTold(_) => {}
        }
        let algorithm = match kms_key_id {
            "" => ServerSideEncryption::Aes256,
            _ => ServerSideEncryption::AwsKms,
        };
        let key_id = Some(kms_key_id.to_owned()).filter(|key_id| !key_id.is_empty());
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(algorithm)
            .set_kms_master_key_id(key_id.clone())
            .build()
            .map_err(built)?;
        // Without a bucket key each segment costs a request to KMS.
        let rule = ServerSideEncryptionRule::builder()
            .apply_server_side_encryption_by_default(default)
            .set_bucket_key_enabled(key_id.map(|_| true));
        let rules =
            ServerSideEncryptionConfiguration::builder().rules(rule.build()).build().map_err(built)?;
        let request = self.client.put_bucket_encryption().bucket(self.bucket);
        let outcome = request.server_side_encryption_configuration(rules).send().await;
        let is_so = self.encryption().await? == Told::Is(wanted);
        changed(outcome.map(drop).map_err(failed), is_so, "encryption by default")
    }

    async fn rules(&self) -> Result<Vec<LifecycleRule>, Failed> {
        let asked = self.client.get_bucket_lifecycle_configuration().bucket(self.bucket).send().await;
        let asked = asked.map_err(failed).map(|answer| answer.rules.unwrap_or_default());
        absent_is(asked, "NoSuchLifecycleConfiguration", Vec::new())
    }

    async fn abort_abandoned(&self) -> Result<StepOutcome, SetupError> {
        let mut rules = match told(self.rules().await)? {
            Told::Is(rules) if rules.iter().any(is_ours) => return Ok(StepOutcome::AlreadyDone),
            // A put replaces all rules: those there are stay.
            Told::Is(rules) => rules,
            Told::NotSupported => return Ok(not_offered("rules for abandoned uploads")),
            Told::NotTold(why) => return Err(SetupError::Refused(why)),
        };
        rules.retain(|rule| rule.id() != Some(RULE));
        let abort = AbortIncompleteMultipartUpload::builder().days_after_initiation(ABANDONED_DAYS);
        let rule = LifecycleRule::builder()
            .id(RULE)
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
            .abort_incomplete_multipart_upload(abort.build());
        rules.push(rule.build().map_err(built)?);
        let rules = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build().map_err(built)?;
        let request = self.client.put_bucket_lifecycle_configuration().bucket(self.bucket);
        let outcome = request.lifecycle_configuration(rules).send().await.map(drop).map_err(failed);
        let is_so = self.rules().await.is_ok_and(|rules| rules.iter().any(is_ours));
        changed(outcome, is_so, "a rule for abandoned uploads")
    }

    async fn versioned(&self) -> Result<Told<bool>, SetupError> {
        let asked = self.client.get_bucket_versioning().bucket(self.bucket).send().await;
        // Suspended, old versions are still kept.
        told(asked.map_err(failed).map(|answer| answer.status().is_some()))
    }
}

/// Whether a rule throws abandoned uploads away, all over the bucket; whoever made it.
fn is_ours(rule: &LifecycleRule) -> bool {
    let everywhere = rule.filter().is_none_or(|filter| {
        filter.prefix().is_none_or(str::is_empty)
            && filter.tag().is_none()
            && filter.and().is_none()
            && filter.object_size_greater_than().is_none()
            && filter.object_size_less_than().is_none()
    });
    everywhere
        && *rule.status() == ExpirationStatus::Enabled
        && rule
            .abort_incomplete_multipart_upload()
            .is_some_and(|abort| abort.days_after_initiation().is_some())
}

/// What a property is where nobody ever set it.
fn absent_is<T>(asked: Result<T, Failed>, code: &str, absent: T) -> Result<T, Failed> {
    match asked {
        Err(failed) if failed.code() == Some(code) => Ok(absent),
        asked => asked,
    }
}

/// An error of the SDK as ours.
fn failed<E>(error: SdkError<E, HttpResponse>) -> Failed
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    Failed::of(&error).0
}

fn built(error: aws_sdk_s3::error::BuildError) -> SetupError {
    SetupError::Settings(format!("building a request: {error}"))
}
