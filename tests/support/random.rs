//! Random catalogues, histories and questions over small alphabets, so that ties and collisions happen all the time.

use std::time::Duration;

use consentd::domain::{
    Catalogue, CatalogueParts, Collection, Decision, Defects, Freshness, Heard, LedgerStanding, LegalBasis, Notice,
    NoticeRule, Position, Purpose, Question, Record, Signals, Status, SubjectState, SubjectView, Terms, Time,
    TokenStanding, UnreadableMark, decide,
};
use proptest::bool;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::{select, subsequence};

use crate::history::{Happening, What};

/// The purposes of every random catalogue; one may require those after it.
const PURPOSES: [&str; 5] = ["a", "a.b", "a.b.c", "ab", "r"];
/// Event times and `now`, in steps of this many milliseconds.
const STEP_MS: i64 = 1000;

/// A question with everything that it is answered from, but the subject.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) catalogue: Option<Catalogue>,
    pub(crate) purpose: String,
    pub(crate) channel: String,
    pub(crate) recipient: String,
    pub(crate) sec_gpc: String,
    pub(crate) tcf: String,
    pub(crate) gpp: String,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) freshness: Freshness,
    pub(crate) now: Time,
}

impl Asked {
    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            purpose: &self.purpose,
            channel: &self.channel,
            recipient: &self.recipient,
            jurisdiction: "",
            signals: Signals { sec_gpc: &self.sec_gpc, tcf: &self.tcf, gpp: &self.gpp },
            heard: Heard::default(),
            max_staleness: self.max_staleness,
            time_zone: None,
        }
    }

    pub(crate) fn of<'a>(&'a self, state: &'a SubjectState) -> Decision<'a> {
        self.of_view(SubjectView::State(state))
    }

    pub(crate) fn of_view<'a>(&'a self, view: SubjectView<'a>) -> Decision<'a> {
        decide(&self.question(), view, self.catalogue.as_ref(), &self.freshness, self.now)
    }
}

fn time() -> impl Strategy<Value = Time> {
    (0..10_i64).prop_map(|step| Time::from_unix_millis(step * STEP_MS))
}

fn basis() -> impl Strategy<Value = LegalBasis> {
    prop_oneof![
        6 => Just(LegalBasis::Consent),
        3 => Just(LegalBasis::ExplicitConsent),
        1 => select(LegalBasis::ALL),
    ]
}

fn notice() -> impl Strategy<Value = Notice> {
    (1..4_u32, select(vec!["n", "other"])).prop_map(|(version, id)| Notice {
        version,
        id: id.into(),
        language: "tr".into(),
    })
}

fn record(status: impl Strategy<Value = Status>) -> impl Strategy<Value = Record> {
    let defects = prop_oneof![8 => Just(0_u16), 1 => 0..16_u16];
    let facts = (basis(), defects, option::weighted(0.7, notice()), option::weighted(0.3, time()));
    (time(), status, facts, 1..40_u64).prop_map(|(event_time, status, facts, position)| {
        let (legal_basis, defects, notice, expires_at) = facts;
        Record {
            event_time,
            status,
            legal_basis,
            collection: Collection { defects: Defects::from_bits(defects), ..Collection::default() },
            notice,
            expires_at,
            jurisdiction: "".into(),
            proof: "".into(),
            position: Position(position),
        }
    })
}

/// Something said; a refusal or a request may be for all recipients, and so may, against the rules, an agreement.
fn said(status: impl Strategy<Value = Status>) -> impl Strategy<Value = What> {
    let purpose = select(vec!["a", "a.b", "a.b", "a.b.c", "a.b.c", "ab", "r", "x"]);
    let channel = select(vec!["email", "email", "sms", "*"]);
    let recipient = select(vec!["", "", "", "acme", "*"]);
    (purpose, channel, recipient, record(status)).prop_map(|(purpose, channel, recipient, record)| What::Said {
        purpose: purpose.into(),
        channel: channel.into(),
        recipient: recipient.into(),
        record,
    })
}

fn unreadable() -> impl Strategy<Value = What> {
    (0..3_u8, 1..4_u64, option::weighted(0.7, time())).prop_map(|(id, position, event_time)| {
        let event_id = if id == 0 { format!("@{position}") } else { format!("e{id}") };
        What::Unreadable(UnreadableMark { event_id: event_id.into(), position: Position(position), event_time })
    })
}

/// A record of the register of refusals, of any time.
pub(crate) fn refusal() -> impl Strategy<Value = Happening> {
    said(select(vec![Status::Refused, Status::Withdrawn, Status::Revoked, Status::Invalidated])).prop_map(plain)
}

/// The end of an agreement.
pub(crate) fn expiry() -> impl Strategy<Value = Happening> {
    said(Just(Status::Expired)).prop_map(plain)
}

/// An erasure, or an event that cannot be read.
pub(crate) fn erasure_or_unreadable() -> impl Strategy<Value = Happening> {
    prop_oneof![time().prop_map(What::Erased), unreadable()].prop_map(plain)
}

fn plain(what: What) -> Happening {
    Happening { supersedes: Vec::new(), what }
}

/// Up to ten events about one subject.
pub(crate) fn history() -> impl Strategy<Value = Vec<Happening>> {
    let status = prop_oneof![
        8 => Just(Status::Given),
        2 => Just(Status::Renewed),
        5 => select(Status::ALL),
    ];
    let what = prop_oneof![12 => said(status), 1 => time().prop_map(What::Erased), 1 => unreadable()];
    let supersedes = prop_oneof![
        9 => Just(Vec::new()),
        1 => subsequence(vec!["e1", "e2", "@1", "@2"], 1..3),
    ];
    let happening = (what, supersedes)
        .prop_map(|(what, ids)| Happening { supersedes: ids.into_iter().map(Into::into).collect(), what });
    vec((happening, bool::weighted(0.3)), 0..10).prop_map(|drawn| {
        let mut history: Vec<Happening> = Vec::new();
        for (mut happening, echoes) in drawn {
            if let Some(before) = history.last().filter(|_| echoes) {
                echo(before, &mut happening);
            }
            history.push(happening);
        }
        history
    })
}

/// Moves a record to the place and moment of another, so that the two tie in all but what they say.
fn echo(before: &Happening, happening: &mut Happening) {
    if let (
        What::Said { purpose: p, channel: c, recipient: r, record: earlier },
        What::Said { purpose, channel, recipient, record },
    ) = (&before.what, &mut happening.what)
    {
        purpose.clone_from(p);
        channel.clone_from(c);
        recipient.clone_from(r);
        record.event_time = earlier.event_time;
    }
}

fn purpose(place: usize) -> impl Strategy<Value = Purpose> {
    let basis = prop_oneof![4 => basis(), 2 => Just(LegalBasis::LegitimateInterest), 1 => select(LegalBasis::ALL)];
    let channels = prop_oneof![4 => Just(vec!["email", "sms"]), 1 => select(vec![vec!["email"], vec!["sms"]])];
    let later = PURPOSES[place + 1..].to_vec();
    let requires = prop_oneof![3 => Just(Vec::new()), 1 => subsequence(later.clone(), 0..=later.len())];
    let notice = option::weighted(
        0.2,
        (1..4_u32).prop_map(|since| NoticeRule { id: "n".into(), material_since: since, versions: Vec::new() }),
    );
    let spans = (option::weighted(0.3, 1..8_u64), 2..8_u64);
    (basis, channels, requires, notice, spans, bool::ANY, bool::ANY).prop_map(
        move |(legal_basis, channels, requires, notice, (max_age, max_staleness), covered_by_parent, honours_gpc)| {
            let terms = Terms {
                legal_basis,
                channels: channels.into_iter().map(Into::into).collect(),
                max_age: max_age.map(Duration::from_secs),
                max_staleness: Duration::from_secs(max_staleness),
                covered_by_parent,
                notice,
                requires: requires.into_iter().map(Into::into).collect(),
                honours_gpc,
                ..Terms::default()
            };
            Purpose::new(PURPOSES[place], terms)
        },
    )
}

fn catalogue() -> impl Strategy<Value = Catalogue> {
    (purpose(0), purpose(1), purpose(2), purpose(3), purpose(4)).prop_map(|(a, b, c, d, e)| {
        let channels = ["email", "sms", "push"].map(|key| (key.into(), "".into())).to_vec();
        let purposes = vec![a, b, c, d, e];
        Catalogue::new(CatalogueParts { version: 1, channels, purposes, ..CatalogueParts::default() })
            .expect("sound by construction")
    })
}

fn freshness() -> impl Strategy<Value = Freshness> {
    let ledger = prop_oneof![
        30 => Just(LedgerStanding::Following),
        1 => Just(LedgerStanding::Building),
        1 => Just(LedgerStanding::Broken),
    ];
    let token = prop_oneof![
        30 => Just(TokenStanding::Reached),
        1 => Just(TokenStanding::NotReached),
        1 => Just(TokenStanding::Foreign),
    ];
    let staleness = prop_oneof![6 => 0..2000_u64, 1 => 0..9000_u64].prop_map(Duration::from_millis);
    (ledger, staleness, token).prop_map(|(ledger, staleness, token)| Freshness { ledger, staleness, token })
}

/// A question, mostly one that could be allowed.
pub(crate) fn asked() -> impl Strategy<Value = Asked> {
    let purpose = prop_oneof![20 => select(PURPOSES.to_vec()), 1 => Just("x"), 1 => Just("a.b.c.d")];
    let channel = prop_oneof![20 => select(vec!["email", "sms"]), 1 => select(vec!["push", "fax", "*"])];
    let recipient = prop_oneof![8 => Just(""), 3 => Just("acme"), 1 => Just("*")];
    let signals = (
        prop_oneof![8 => Just(""), 1 => select(vec!["1", "0", "true"])],
        prop_oneof![20 => Just(""), 1 => Just("C")],
        prop_oneof![20 => Just(""), 1 => Just("D")],
    );
    let max_staleness = option::weighted(0.2, (0..9000_u64).prop_map(Duration::from_millis));
    let now = prop_oneof![3 => Just(12_i64), 1 => 0..12_i64];
    let names = (purpose, channel, recipient);
    (option::weighted(0.98, catalogue()), names, signals, max_staleness, freshness(), now).prop_map(
        |(catalogue, (purpose, channel, recipient), (sec_gpc, tcf, gpp), max_staleness, freshness, now)| Asked {
            catalogue,
            purpose: purpose.to_owned(),
            channel: channel.to_owned(),
            recipient: recipient.to_owned(),
            sec_gpc: sec_gpc.to_owned(),
            tcf: tcf.to_owned(),
            gpp: gpp.to_owned(),
            max_staleness,
            freshness,
            now: Time::from_unix_millis(now * STEP_MS),
        },
    )
}
