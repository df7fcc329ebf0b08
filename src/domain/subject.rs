//! Whom a question is about. A subject is personal data: it never prints itself.

use std::fmt;

/// The longest identity space, in bytes.
pub const SPACE_BYTES_MAX: usize = 64;
/// The longest identifier, in bytes.
pub const ID_BYTES_MAX: usize = 256;

/// A data subject, named as `space:id`, such as `crm:42`.
///
/// `Debug` and there being no `Display` keep it out of logs; [`Subject::expose`] is the one way to its text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `space:id`, kept in one piece because that is what is hashed.
    text: Box<str>,
    space_len: usize,
}

/// Why a subject is malformed. The offending text is personal data and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// The space is empty, too long, or has other characters than it may.
    #[error("space: 1 to {SPACE_BYTES_MAX} characters of a-z, 0-9, `_`, `-` and `.` are allowed")]
    Space,
    /// The id is empty, too long, or has control characters.
    #[error("id: 1 to {ID_BYTES_MAX} bytes without control characters are allowed")]
    Id,
    /// There is no colon between space and id.
    #[error("a subject is written `space:id`, such as `crm:42`")]
    NoSpace,
}

impl Subject {
    /// A subject from its space and id.
    ///
    /// # Errors
    /// If either is empty, too long, or has characters it may not have.
    pub fn new(space: &str, id: &str) -> Result<Self, SubjectError> {
        Self::check(space, id)?;
        let mut text = String::with_capacity(space.len() + 1 + id.len());
        text.push_str(space);
        text.push(':');
        text.push_str(id);
        Ok(Self { text: text.into_boxed_str(), space_len: space.len() })
    }

    /// Whether a space and an id make a subject, without making it.
    ///
    /// # Errors
    /// As [`Subject::new`].
    pub fn check(space: &str, id: &str) -> Result<(), SubjectError> {
        let space_ok = !space.is_empty()
            && space.len() <= SPACE_BYTES_MAX
            && space.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'));
        if !space_ok {
            return Err(SubjectError::Space);
        }
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(SubjectError::Id);
        }
        Ok(())
    }

    /// A subject from `space:id`; the first colon separates.
    ///
    /// # Errors
    /// As [`Subject::new`], and if there is no colon.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let (space, id) = text.split_once(':').ok_or(SubjectError::NoSpace)?;
        Self::new(space, id)
    }

    /// The text `space:id`, for hashing and for the ledger itself. Never for logs, metrics or evidence.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The identity space, which is not personal data.
    #[must_use]
    pub fn space(&self) -> &str {
        self.text.get(..self.space_len).unwrap_or_default()
    }

    /// The identifier in its space; the same care as for [`Subject::expose`].
    #[must_use]
    pub fn expose_id(&self) -> &str {
        self.text.get(self.space_len + 1..).unwrap_or_default()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({}:…)", self.space())
    }
}

/// The keyed hash by which the replica knows a subject: the first 16 bytes of an HMAC-SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectKey(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_colon_separates() {
        let subject = Subject::parse("device:aa:bb").expect("well-formed");
        assert_eq!((subject.space(), subject.expose_id()), ("device", "aa:bb"));
        assert_eq!(subject.expose(), "device:aa:bb");
    }

    #[test]
    fn malformed_subjects_are_refused() {
        assert_eq!(Subject::parse("42"), Err(SubjectError::NoSpace));
        assert_eq!(Subject::parse(":42"), Err(SubjectError::Space));
        assert_eq!(Subject::parse("CRM:42"), Err(SubjectError::Space));
        assert_eq!(Subject::parse("crm:"), Err(SubjectError::Id));
        assert_eq!(Subject::parse("crm:4\n2"), Err(SubjectError::Id));
        assert_eq!(Subject::new(&"a".repeat(65), "1"), Err(SubjectError::Space));
        assert_eq!(Subject::new("crm", &"1".repeat(257)), Err(SubjectError::Id));
    }

    #[test]
    fn debug_does_not_show_the_id() {
        let subject = Subject::parse("crm:ayse@example.org").expect("well-formed");
        assert_eq!(format!("{subject:?}"), "Subject(crm:…)");
    }
}
