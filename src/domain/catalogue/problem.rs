//! What can be wrong with a catalogue, and where.

use std::fmt;

use super::{REGIONAL_RULES_MAX, REQUIRES_DEPTH_MAX};

/// Everything that is wrong with a catalogue; at least one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueProblems(Vec<CatalogueProblem>);

/// One thing that is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueProblem {
    /// Where, by the names of the parts: `version`, `purposes[3].channels`, `purposes[3].regional[0].max_age`,
    /// `regions[1].members`. Places count from 0 and are those of the parts as they were handed in.
    pub path: String,
    /// What.
    pub problem: CatalogueError,
}

/// What is wrong, in words for whoever writes catalogues.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    /// Version 0 is "no catalogue".
    #[error("must be at least 1")]
    Version,
    /// There are no purposes.
    #[error("a catalogue without purposes denies everything; publish at least one")]
    NoPurposes,
    /// A key is malformed.
    #[error("`{key}` is not a key: {rule}")]
    Key {
        /// Where it stands.
        place: String,
        /// The key.
        key: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// Something stands twice that may stand once.
    #[error("`{key}` stands twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A purpose without a channel.
    #[error("purpose `{purpose}` names no channel, so that it could never be allowed")]
    NoChannel {
        /// The purpose.
        purpose: String,
    },
    /// A purpose names a channel that the catalogue does not.
    #[error("purpose `{purpose}`: channel `{channel}` is not among the catalogue's channels")]
    UnknownChannel {
        /// The purpose.
        purpose: String,
        /// The channel.
        channel: String,
    },
    /// A purpose requires one that is not there.
    #[error("purpose `{purpose}` requires `{required}`, which the catalogue does not name")]
    UnknownRequired {
        /// The purpose.
        purpose: String,
        /// What it requires.
        required: String,
    },
    /// Purposes require each other in a circle, or too deeply.
    #[error(
        "purpose `{purpose}`: `requires`, with what regions add to it, runs in a circle or more than \
         {REQUIRES_DEPTH_MAX} deep"
    )]
    RequiresCircle {
        /// A purpose on the circle, or above it.
        purpose: String,
    },
    /// A span of zero.
    #[error("purpose `{purpose}`: {field} must be longer than zero")]
    ZeroSpan {
        /// The purpose.
        purpose: String,
        /// The field.
        field: &'static str,
    },
    /// A special category under a basis that cannot carry it.
    #[error(
        "purpose `{purpose}`: a special category needs `EXPLICIT_CONSENT`, `LEGAL_OBLIGATION`, `VITAL_INTEREST` or \
         `PUBLIC_TASK` as its legal basis"
    )]
    SpecialCategory {
        /// The purpose.
        purpose: String,
    },
    /// A rule that names no region.
    #[error("purpose `{purpose}`: a regional rule names no region, so that it would hold nowhere")]
    NoRegion {
        /// The purpose.
        purpose: String,
    },
    /// A region that is neither a code nor a group.
    #[error("`{region}` is neither a code of ISO 3166, such as `TR` or `US-ME`, nor a group among `regions`")]
    UnknownRegion {
        /// The region.
        region: String,
    },
    /// More regional rules than a purpose may have.
    #[error(
        "purpose `{purpose}` has more than {REGIONAL_RULES_MAX} regional rules; put regions with the same terms in one"
    )]
    TooManyRegional {
        /// The purpose.
        purpose: String,
    },
    /// A group without members.
    #[error("`{region}` is no code of ISO 3166, and as a group it has no members")]
    EmptyGroup {
        /// The group.
        region: String,
    },
    /// A member of a group that is no code.
    #[error("`{member}` is not a code of ISO 3166; a group's members are codes, not groups")]
    NotACode {
        /// The member.
        member: String,
    },
    /// A clock of many regions.
    #[error("`{region}` is a group, and a group has no time zone of its own; give it to the members")]
    GroupZone {
        /// The group.
        region: String,
    },
    /// A notice without a name.
    #[error("purpose `{purpose}`: the notice it demands has no id")]
    NoticeId {
        /// The purpose.
        purpose: String,
    },
    /// Versions of a notice that do not count upwards.
    #[error("purpose `{purpose}`: the versions of notice `{notice}` must count upwards from 1, each once")]
    NoticeVersions {
        /// The purpose.
        purpose: String,
        /// The notice.
        notice: String,
    },
    /// An age that nobody or everybody is below.
    #[error("purpose `{purpose}`: an age of {under} years; it must be from 1 to 99")]
    Age {
        /// The purpose.
        purpose: String,
        /// The age.
        under: u8,
    },
    /// A time of day that is none.
    #[error("purpose `{purpose}`: minute {minute} of a day; the last is 1439, which is 23:59")]
    TimeOfDay {
        /// The purpose.
        purpose: String,
        /// The minute.
        minute: u16,
    },
    /// Quiet hours that never begin.
    #[error("purpose `{purpose}`: quiet hours without a day never begin; leave the days out for every day")]
    NoDay {
        /// The purpose.
        purpose: String,
    },
    /// A number that the TCF does not have.
    #[error("purpose `{purpose}`: the TCF has no {what} {number}")]
    Tcf {
        /// The purpose.
        purpose: String,
        /// Purpose or special feature.
        what: &'static str,
        /// Its number.
        number: u16,
    },
}

impl CatalogueProblems {
    /// All of them, or `Ok` where there are none.
    pub(super) fn none_of(problems: Vec<CatalogueProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// Each of them, in the order of the parts.
    pub fn iter(&self) -> impl Iterator<Item = &CatalogueProblem> {
        self.0.iter()
    }
}

impl IntoIterator for CatalogueProblems {
    type Item = CatalogueProblem;
    type IntoIter = std::vec::IntoIter<CatalogueProblem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::error::Error for CatalogueProblems {}

impl fmt::Display for CatalogueProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for CatalogueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}
