//! What the API server asks, and what it is answered: `AdmissionReview` of `admission.k8s.io/v1`.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::plan::{Plan, plan};
use super::pod::{Metadata, Pod};
use super::settings::{OnError, Settings};
use super::words::on_one_line;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The longest warning. Source: Kubernetes, "Dynamic Admission Control": longer ones may be cut.
const WARNING_CHARS_MAX: usize = 256;
/// The longest sentence of a refusal: it stands in events, of which 1024 bytes are kept.
const SENTENCE_CHARS_MAX: usize = 900;
/// The longest name of an object. Source: RFC 1123, as Kubernetes has it.
const NAME_CHARS_MAX: usize = 253;
/// What cannot be done with what is well-formed. Source: RFC 9110, 15.5.21.
const UNPROCESSABLE: u16 = 422;

/// What became of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It gets a sidecar, or what is missing of one.
    Injected,
    /// It has all of one already.
    Complete,
    /// It asks for none, or it is no pod that is made.
    NotAsked,
    /// It cannot have one and is refused.
    Refused,
    /// It cannot have one and is let through without.
    LetThrough,
    /// It is not known: the review could not be read, and the API server does as its `failurePolicy` says.
    Unreadable,
    /// It is not known: the review did not come in time, or whoever asked waited no longer.
    Unanswered,
}

/// A review and its answer.
#[derive(Debug)]
pub struct Answered {
    /// What became of it.
    pub outcome: Outcome,
    /// The answer, JSON.
    pub body: Vec<u8>,
    /// The pod's namespace, on one line.
    pub namespace: String,
    /// The pod's name, or what its name begins with; on one line.
    pub pod: String,
    /// Why it has no sidecar, or what its user should know, in a sentence; empty is nothing.
    pub why: String,
}

/// Why a review cannot be answered: nobody knows what it is about.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no review.
    #[error("the body is not a review of `{API_VERSION}`: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is of another kind.
    #[error(
        "the body is `{kind}` of `{version}`, not `{KIND}` of `{API_VERSION}`: name `v1` in admissionReviewVersions"
    )]
    Other {
        /// The kind.
        kind: String,
        /// The version of its API.
        version: String,
    },
    /// Nothing is asked.
    #[error("the review has no request")]
    Empty,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'b> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow)]
    request: Option<Request<'b>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'b> {
    uid: String,
    kind: Option<GroupKind>,
    sub_resource: Option<String>,
    operation: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    object: Option<&'b RawValue>,
}

#[derive(Deserialize)]
struct GroupKind {
    group: Option<String>,
    version: Option<String>,
    kind: Option<String>,
}

impl Outcome {
    /// Every outcome, in the order of declaration.
    pub const ALL: [Self; 7] = [
        Self::Injected,
        Self::Complete,
        Self::NotAsked,
        Self::Refused,
        Self::LetThrough,
        Self::Unreadable,
        Self::Unanswered,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Complete => "complete",
            Self::NotAsked => "not_asked",
            Self::Refused => "refused",
            Self::LetThrough => "let_through",
            Self::Unreadable => "unreadable",
            Self::Unanswered => "unanswered",
        }
    }
}

/// Answers a review. What it asks for and cannot have is an answer too.
///
/// # Errors
/// If it cannot be told what the review is about.
pub fn answer(settings: &Settings, body: &[u8]) -> Result<Answered, Unreadable> {
    let review: Review<'_> = serde_json::from_slice(body)?;
    if review.api_version != API_VERSION || review.kind != KIND {
        let [kind, version] = [review.kind, review.api_version].map(|text| on_one_line(&text, NAME_CHARS_MAX));
        return Err(Unreadable::Other { kind, version });
    }
    let request = review.request.ok_or(Unreadable::Empty)?;
    let mut metadata = Metadata::default();
    let verdict = if request.makes_a_pod() {
        match serde_json::from_str::<Pod>(request.object.map_or("null", RawValue::get)) {
            Ok(pod) => {
                let verdict = Verdict::of(plan(&pod, settings), settings.on_error);
                metadata = pod.metadata;
                verdict
            }
            Err(error) => Verdict::impossible(&format!("the pod cannot be read: {error}"), settings.on_error),
        }
    } else {
        Verdict::nothing(Outcome::NotAsked)
    };
    let named = [request.name, metadata.name, metadata.generate_name].into_iter().flatten();
    let pod = named.filter(|name| !name.is_empty()).map(|name| on_one_line(&name, NAME_CHARS_MAX)).next();
    Ok(Answered {
        outcome: verdict.outcome,
        body: verdict.response(&request.uid).to_string().into_bytes(),
        namespace: on_one_line(&request.namespace.unwrap_or_default(), NAME_CHARS_MAX),
        pod: pod.unwrap_or_default(),
        why: verdict.why,
    })
}

impl Request<'_> {
    /// Whether it is a pod that is made: not what is changed of one, nor what is below one, such as `exec`.
    fn makes_a_pod(&self) -> bool {
        let is_pod = self.kind.as_ref().is_some_and(|it| {
            let [group, version, kind] =
                [&it.group, &it.version, &it.kind].map(|text| text.as_deref().unwrap_or_default());
            (group, version, kind) == ("", "v1", "Pod")
        });
        let is_whole = self.sub_resource.as_deref().is_none_or(str::is_empty);
        is_pod && is_whole && self.operation.as_deref() == Some("CREATE")
    }
}

/// What is said of a pod.
struct Verdict {
    outcome: Outcome,
    /// JSON.
    patch: Option<String>,
    why: String,
}

impl Verdict {
    const fn nothing(outcome: Outcome) -> Self {
        Self { outcome, patch: None, why: String::new() }
    }

    fn impossible(why: &str, on_error: OnError) -> Self {
        let outcome = match on_error {
            OnError::Deny => Outcome::Refused,
            OnError::Allow => Outcome::LetThrough,
        };
        Self { outcome, patch: None, why: on_one_line(why, SENTENCE_CHARS_MAX) }
    }

    fn of(plan: Plan, on_error: OnError) -> Self {
        match plan {
            Plan::NotAsked => Self::nothing(Outcome::NotAsked),
            Plan::Complete => Self::nothing(Outcome::Complete),
            Plan::OutOfReach(why) => Self { outcome: Outcome::LetThrough, patch: None, why },
            Plan::Impossible(problems) => Self::impossible(&problems.join("; "), on_error),
            Plan::Patch { patch, warnings } => match serde_json::to_string(&patch) {
                Ok(patch) => Self { outcome: Outcome::Injected, patch: Some(patch), why: warnings.join("; ") },
                Err(error) => Self::impossible(&format!("the patch cannot be written: {error}"), on_error),
            },
        }
    }

    fn response(&self, uid: &str) -> Value {
        let mut response = json!({ "uid": uid, "allowed": self.outcome != Outcome::Refused });
        let mut put = |key: &str, value: Value| {
            if let Some(fields) = response.as_object_mut() {
                fields.insert(key.to_owned(), value);
            }
        };
        if let Some(patch) = &self.patch {
            put("patchType", json!("JSONPatch"));
            put("patch", json!(BASE64.encode(patch.as_bytes())));
        }
        match self.outcome {
            Outcome::Refused => {
                let status =
                    json!({ "status": "Failure", "reason": "Invalid", "code": UNPROCESSABLE, "message": self.why });
                put("status", status);
            }
            Outcome::LetThrough => {
                let warning = format!("consentd was not added to the pod: {}", self.why);
                put("warnings", json!([on_one_line(&warning, WARNING_CHARS_MAX - 1)]));
                // For whoever must find out later which pods ran without.
                put("auditAnnotations", json!({ "not-injected": self.why }));
            }
            Outcome::Injected if !self.why.is_empty() => {
                put("warnings", json!([on_one_line(&self.why, WARNING_CHARS_MAX - 1)]));
            }
            Outcome::Injected | Outcome::Complete | Outcome::NotAsked | Outcome::Unreadable | Outcome::Unanswered => {}
        }
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
    }
}
