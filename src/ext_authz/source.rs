//! Where a part of the question comes from: sources in their order, as the configuration writes them.

use std::fmt;

use super::PREFIX;
use super::percent;
use super::template::Template;
use crate::enforcer::wellformed::{self, Malformed};

/// A part of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Whom it is about.
    Subject,
    /// For what.
    Purpose,
    /// Over which channel.
    Channel,
    /// For whom.
    Recipient,
    /// Where the subject is.
    Jurisdiction,
    /// Where the subject's clock is.
    TimeZone,
    /// The value of `Sec-GPC`.
    SecGpc,
    /// A TCF string.
    Tcf,
    /// A GPP string.
    Gpp,
    /// A ledger token.
    AtLeastAsFresh,
}

/// A place in Envoy's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `header:NAME`; in lower case.
    Header(String),
    /// `query:NAME`, a parameter of the query.
    Query(String),
    /// `path:/orders/{subject}/**`, a segment of the path.
    Path(Template),
    /// `metadata:FILTER/KEY/KEY`, what another filter found out.
    Metadata {
        /// The filter's name.
        filter: String,
        /// The way down to the value; never empty.
        keys: Vec<String>,
    },
    /// `extension:KEY`, what the route's configuration says.
    Extension(String),
    /// `value:TEXT`, the text itself.
    Value(String),
}

/// Sources in order; the first that is there decides. Without any, the part is never there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources(pub(super) Vec<Source>);

/// The kinds of sources, each with what follows it.
const KINDS: [(&str, &str); 6] = [
    ("header", "header:x-user-id"),
    ("query", "query:user"),
    ("path", "path:/users/{…}/**"),
    ("metadata", "metadata:envoy.filters.http.jwt_authn/jwt_payload/sub"),
    ("extension", "extension:purpose"),
    ("value", "value:marketing"),
];

impl Field {
    /// Its name: of the configuration's key under `ext_authz`, and in denials.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Purpose => "purpose",
            Self::Channel => "channel",
            Self::Recipient => "recipient",
            Self::Jurisdiction => "jurisdiction",
            Self::TimeZone => "time_zone",
            Self::SecGpc => "sec_gpc",
            Self::Tcf => "tcf",
            Self::Gpp => "gpp",
            Self::AtLeastAsFresh => "at_least_as_fresh",
        }
    }

    /// Whether a text that the configuration itself gives could ever be answered.
    fn check(self, text: &str) -> Result<(), Malformed> {
        match self {
            // Its space may stand in a key of its own.
            Self::Subject => Ok(()),
            Self::Purpose => wellformed::purpose(self.name(), text).map(drop),
            Self::Channel => wellformed::channel(self.name(), text).map(drop),
            Self::Recipient => wellformed::recipient(self.name(), text).map(drop),
            Self::Jurisdiction => wellformed::jurisdiction(self.name(), text).map(drop),
            Self::TimeZone => wellformed::time_zone(self.name(), text).map(drop),
            Self::SecGpc if text == "1" => Ok(()),
            Self::SecGpc => Err(Malformed::new(self.name(), "is `1` or nothing")),
            Self::Tcf | Self::Gpp | Self::AtLeastAsFresh => {
                Err(Malformed::new(self.name(), "is never the same for every request"))
            }
        }
    }
}

impl Sources {
    /// Reads sources with commas between them.
    ///
    /// # Errors
    /// What is wrong with them, as the end of a sentence.
    pub fn parse(text: &str, field: Field) -> Result<Self, String> {
        let sources =
            text.split(',').map(|source| Source::parse(source.trim(), field)).collect::<Result<Vec<_>, _>>()?;
        let decides = |source: &Source| matches!(source, Source::Value(_));
        if sources.iter().rev().skip(1).any(decides) {
            return Err(format!("`{text}`: what stands behind a `value:` is never looked at"));
        }
        Ok(Self(sources))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those among them that stand in the request itself, where its client may have put what it likes.
    pub fn of_requests(&self) -> impl Iterator<Item = String> {
        let of_requests = |source: &&Source| matches!(source, Source::Header(_) | Source::Query(_) | Source::Path(_));
        self.0.iter().filter(of_requests).map(ToString::to_string)
    }

    /// The texts among them that the configuration itself gives.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|source| match source {
            Source::Value(text) => Some(&**text),
            _ => None,
        })
    }
}

impl Source {
    fn parse(text: &str, field: Field) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let Some((_, example)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            let near = KINDS.iter().find(|(name, _)| strsim::damerau_levenshtein(name, kind) <= 2);
            let hint = near.map_or_else(
                || format!("write {}", KINDS.map(|(name, _)| format!("`{name}:`")).join(", ")),
                |(name, _)| format!("did you mean `{name}:`?"),
            );
            return Err(format!("`{text}` is not a source, {hint}"));
        };
        if rest.is_empty() {
            return Err(format!("`{text}` names nothing, write such as `{example}`"));
        }
        match kind {
            "header" => header(rest),
            "query" => Ok(Self::Query(rest.to_owned())),
            "path" => Template::parse(rest, field.name()).map(Self::Path),
            "metadata" => metadata(rest).ok_or_else(|| format!("`{text}` is not such as `{example}`")),
            "extension" => Ok(Self::Extension(rest.to_owned())),
            _ => match field.check(rest) {
                Ok(()) => Ok(Self::Value(rest.to_owned())),
                Err(Malformed { problem, .. }) => Err(format!("`{rest}` {problem}")),
            },
        }
    }
}

impl fmt::Display for Sources {
    /// As [`Sources::parse`] reads them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, source) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{source}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Path(template) => write!(f, "path:{template}"),
            Self::Metadata { filter, keys } => {
                write!(f, "metadata:{}", escape(filter))?;
                keys.iter().try_for_each(|key| write!(f, "/{}", escape(key)))
            }
            Self::Extension(key) => write!(f, "extension:{key}"),
            Self::Value(text) => write!(f, "value:{text}"),
        }
    }
}

/// A header's name. Source: RFC 9110, section 5.6.2, `token`.
fn header(name: &str) -> Result<Source, String> {
    let is_token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if !is_token {
        return Err(format!("`{name}` is not the name of a header"));
    }
    let name = name.to_ascii_lowercase();
    if name.starts_with(PREFIX) {
        return Err(format!("`{name}` is a header that answers are told in, and is taken from nobody"));
    }
    Ok(Source::Header(name))
}

/// A filter and a way down, with slashes between; a slash within a name is written `%2F`.
fn metadata(text: &str) -> Option<Source> {
    let mut names = text.split('/').map(|name| {
        let decoded = percent::decode(name)?;
        (!decoded.is_empty()).then(|| decoded.into_owned())
    });
    let filter = names.next()??;
    let keys = names.collect::<Option<Vec<_>>>()?;
    (!keys.is_empty()).then_some(Source::Metadata { filter, keys })
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F").replace(',', "%2C").replace(' ', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written_back() {
        for text in [
            "header:x-user-id",
            "query:user, header:x-user-id",
            "path:/users/{subject}/**, value:anonymous",
            "metadata:envoy.filters.http.jwt_authn/jwt_payload/sub",
            "metadata:f/https:%2F%2Fexample.org%2Fclaim/a%2Cb",
            "extension:purpose",
        ] {
            let sources = Sources::parse(text, Field::Subject).expect("sources");
            assert_eq!(sources.to_string(), text);
        }
        let read = Sources::parse(" header:X-User ,query:a:b ", Field::Purpose).expect("sources");
        assert_eq!(read.0, [Source::Header("x-user".into()), Source::Query("a:b".into())]);
        let read = Sources::parse("metadata:f/a%2Fb/c", Field::Subject).expect("sources");
        let keys = vec!["a/b".to_owned(), "c".to_owned()];
        assert_eq!(read.0, [Source::Metadata { filter: "f".into(), keys }]);
    }

    #[test]
    fn what_could_never_work_is_refused_with_a_hint() {
        let wrong = |text, field| Sources::parse(text, field).expect_err("refused");
        assert_eq!(wrong("heder:x", Field::Subject), "`heder:x` is not a source, did you mean `header:`?");
        assert_eq!(
            wrong("x-user", Field::Subject),
            "`x-user` is not a source, write `header:`, `query:`, `path:`, `metadata:`, `extension:`, `value:`"
        );
        assert_eq!(wrong("query:", Field::Subject), "`query:` names nothing, write such as `query:user`");
        assert_eq!(wrong("header:a b", Field::Subject), "`a b` is not the name of a header");
        assert_eq!(
            wrong("header:X-Consentd-Verdict", Field::Subject),
            "`x-consentd-verdict` is a header that answers are told in, and is taken from nobody"
        );
        assert_eq!(
            wrong("value:email, header:x", Field::Channel),
            "`value:email, header:x`: what stands behind a `value:` is never looked at"
        );
        assert_eq!(wrong("path:/{purpose}", Field::Subject), "`/{purpose}` must name one segment, `{subject}`");
        assert!(wrong("value:tr", Field::Jurisdiction).starts_with("`tr` is not an ISO 3166 code"));
        assert_eq!(wrong("value:0", Field::SecGpc), "`0` is `1` or nothing");
        for (text, field) in [
            ("", Field::Subject),
            ("header:x,", Field::Subject),
            ("metadata:f", Field::Subject),
            ("metadata:f//a", Field::Subject),
            ("metadata:f/%zz", Field::Subject),
            ("value:token", Field::AtLeastAsFresh),
            ("value:CPXxRfAPXxRfAAfKABENB", Field::Tcf),
        ] {
            assert!(Sources::parse(text, field).is_err(), "`{text}` was taken");
        }
    }
}
