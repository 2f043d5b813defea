//! Questions and answers in words.

use puro_smtp_session::{Answer, GivenUp, Question, RecipientVerdict, SenderVerdict};

use super::script;

pub(crate) fn show(question: &Question) -> String {
    use secrecy::ExposeSecret;
    match question {
        Question::Authenticate(credentials) => {
            format!("authenticate {} {}", credentials.login, credentials.password.expose_secret())
        }
        Question::Sender { account, sender, .. } => format!("sender {account} {sender}"),
        Question::Recipient { address, size_bytes, first, .. } => {
            let size = if *size_bytes == 0 { String::new() } else { format!(" size={size_bytes}") };
            let first = if *first { " first" } else { "" };
            script::show(format!("recipient {address}{size}{first}").as_bytes())
        }
        Question::Begin(envelope) => {
            let sender = envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
            let mut text = format!("begin {} {} from <{sender}> to ", envelope.protocol, envelope.helo);
            text.push_str(&envelope.recipients.join(" "));
            if let Some(account) = &envelope.account {
                text.push_str(&format!(" account={account}"));
            }
            if let Some(size) = envelope.size_bytes {
                text.push_str(&format!(" size={size}"));
            }
            if envelope.eight_bit {
                text.push_str(" 8bit");
            }
            if envelope.tls.is_some() {
                text.push_str(" tls");
            }
            script::show(text.as_bytes())
        }
        Question::Chunk(octets) => format!("chunk {}", script::show(octets)),
        Question::Finish => "finish".to_owned(),
        Question::Abort(why) => {
            let why = match why {
                GivenUp::TooLarge => "too-large",
                GivenUp::BareLineEnd => "bare-line-end",
                GivenUp::TimedOut => "timed-out",
                GivenUp::Disconnected => "disconnected",
            };
            format!("abort {why}")
        }
    }
}

pub(crate) fn answer(text: &str) -> Answer {
    let recipient = Answer::Recipient;
    match text {
        "accepted" => recipient(RecipientVerdict::Accepted),
        "unknown-user" => recipient(RecipientVerdict::UnknownUser),
        "not-local" => recipient(RecipientVerdict::NotLocal),
        "over-quota" => recipient(RecipientVerdict::OverQuota),
        "disabled" => recipient(RecipientVerdict::Disabled),
        "alias-loop" => recipient(RecipientVerdict::AliasLoop),
        "invalid" => recipient(RecipientVerdict::Invalid),
        "allowed" => Answer::Sender(SenderVerdict::Allowed),
        "not-owned" => Answer::Sender(SenderVerdict::NotOwned),
        "bad-credentials" => Answer::BadCredentials,
        "unavailable" => Answer::Unavailable,
        "ready" => Answer::Ready,
        "taken" => Answer::Taken,
        _ => parameterised(text),
    }
}

fn parameterised(text: &str) -> Answer {
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    match words.as_slice() {
        ["queued", id] => Answer::Accepted { queue_id: (*id).to_owned() },
        ["authenticated", account] => Answer::Authenticated { account: (*account).to_owned() },
        ["rejected", code, status, words] => Answer::Rejected {
            code: code.parse().unwrap(),
            // A test process leaks a few words.
            status: Box::leak((*status).to_owned().into_boxed_str()),
            text: Box::leak((*words).to_owned().into_boxed_str()),
        },
        _ => panic!("unknown answer {text:?}"),
    }
}
