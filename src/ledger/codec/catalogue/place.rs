//! Where something stands in a document.

use std::fmt;

/// A path such as `purposes[3].regional[0].notice.id`, made a text only where there is something to say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

impl<'a> Place<'a> {
    /// The document itself, which stands in another under this name; empty where it stands alone.
    pub(super) const fn root(name: &'static str) -> Self {
        Self { above: None, step: Step::Field(name) }
    }

    /// A field of what stands here.
    pub(super) const fn field(&'a self, name: &'static str) -> Self {
        Self { above: Some(self), step: Step::Field(name) }
    }

    /// An element of the list that stands here.
    pub(super) const fn at(&'a self, index: usize) -> Self {
        Self { above: Some(self), step: Step::Index(index) }
    }

    /// The text of a path that is told from here.
    pub(super) fn below(&self, path: &str) -> String {
        if self.is_nothing() { path.to_owned() } else { format!("{self}.{path}") }
    }

    const fn is_nothing(&self) -> bool {
        match self.step {
            Step::Field(name) => self.above.is_none() && name.is_empty(),
            Step::Index(_) => false,
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}")?;
        }
        match self.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Field(name) if self.above.is_none_or(Place::is_nothing) => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_people_write_paths() {
        for (root, expected) in [("", "purposes[3].notice.id"), ("catalogue", "catalogue.purposes[3].notice.id")] {
            let root = Place::root(root);
            let (purposes, index) = (root.field("purposes"), 3);
            assert_eq!(purposes.at(index).field("notice").field("id").to_string(), expected);
        }
        assert_eq!(Place::root("").to_string(), "");
        assert_eq!(Place::root("").below("purposes[0].key"), "purposes[0].key");
        assert_eq!(Place::root("catalogue").below("version"), "catalogue.version");
    }
}
