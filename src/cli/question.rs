//! What a question says besides its subject, purpose and channel, as people type it.

use crate::domain::Subject;
use crate::proto::v1;

/// Flags of every command that asks.
#[derive(Debug, clap::Args)]
pub(super) struct Circumstances {
    /// The third party that would receive the data; without it, the controller itself.
    #[arg(short, long, default_value = "")]
    recipient: String,
    /// Where the subject is, ISO 3166, such as `TR` or `US-ME`.
    #[arg(long, default_value = "")]
    jurisdiction: String,
    /// Where the subject's clock is, such as `Europe/Istanbul`.
    #[arg(long, default_value = "", value_name = "ZONE")]
    time_zone: String,
    /// The value of a `Sec-GPC` header that came with the request.
    #[arg(long, default_value = "", value_name = "VALUE")]
    sec_gpc: String,
    /// A TCF string that came with it.
    #[arg(long, default_value = "", value_name = "STRING")]
    pub(super) tcf: String,
    /// A GPP string that came with it.
    #[arg(long, default_value = "", value_name = "STRING")]
    pub(super) gpp: String,
    /// A ledger token: answer from a view at least as fresh.
    #[arg(long, default_value = "", value_name = "TOKEN")]
    at_least_as_fresh: String,
}

impl Circumstances {
    /// The question.
    pub(super) fn question(&self, subject: &Subject, purpose: &str, channel: &str) -> v1::Question {
        let Self { recipient, jurisdiction, time_zone, sec_gpc, tcf, gpp, at_least_as_fresh } = self;
        let signals = v1::Signals { sec_gpc: sec_gpc.clone(), tcf: tcf.clone(), gpp: gpp.clone() };
        v1::Question {
            subject: Some(v1::Subject { space: subject.space().to_owned(), id: subject.expose_id().to_owned() }),
            purpose: purpose.to_owned(),
            channel: channel.to_owned(),
            recipient: recipient.clone(),
            jurisdiction: jurisdiction.clone(),
            signals: (signals != v1::Signals::default()).then_some(signals),
            at_least_as_fresh: at_least_as_fresh.clone(),
            max_staleness: None,
            time_zone: time_zone.clone(),
        }
    }
}
