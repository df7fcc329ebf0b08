//! The messages that a catalogue is made of: their fields, from the descriptors, and their readers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use serde::de::DeserializeOwned;

use crate::proto::{DESCRIPTORS, v1};

/// The package of the wire.
pub(super) const PACKAGE: &str = ".consent.v1.";
/// A span, as the descriptors name it.
pub(super) const DURATION: &str = ".google.protobuf.Duration";
/// A time, as the descriptors name it.
pub(super) const TIMESTAMP: &str = ".google.protobuf.Timestamp";

/// The descriptors of the wire. They are compiled in, so that where they could not be read nothing would work.
pub(super) static FILES: LazyLock<FileDescriptorSet> =
    LazyLock::new(|| FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default());

/// The message of a name without its package.
pub(super) fn message(name: &str) -> Option<&'static DescriptorProto> {
    of_package().flat_map(|file| &file.message_type).find(|message| message.name() == name)
}

/// The enum of a name without its package.
pub(super) fn enumeration(name: &str) -> Option<&'static EnumDescriptorProto> {
    of_package().flat_map(|file| &file.enum_type).find(|known| known.name() == name)
}

fn of_package() -> impl Iterator<Item = &'static prost_types::FileDescriptorProto> {
    FILES.file.iter().filter(|file| file.package() == PACKAGE.trim_matches('.'))
}

/// What a field holds, once or many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another message of the wire, by its name.
    Message(&'static str),
    /// A word of an enum, by its name.
    Enum(&'static str),
    Text,
    Truth,
    /// A number from 0; wider than 32 bits or not.
    Number {
        is_wide: bool,
    },
    Span,
    Moment,
    /// What no message of a catalogue has.
    Other,
}

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field(&'static FieldDescriptorProto);

/// The fields of a message.
pub(super) fn fields(message: &'static DescriptorProto) -> impl Iterator<Item = Field> {
    message.field.iter().map(Field)
}

impl Field {
    /// Its name as this program writes it, `max_age`.
    pub(super) fn name(self) -> &'static str {
        self.0.name()
    }

    /// Its name as JSON has it, `maxAge`.
    pub(super) fn json_name(self) -> &'static str {
        self.0.json_name()
    }

    /// Whether a name in a document means it: JSON takes both.
    pub(super) fn is_named(self, name: &str) -> bool {
        name == self.json_name() || name == self.name()
    }

    pub(super) fn is_repeated(self) -> bool {
        self.0.label() == Label::Repeated
    }

    pub(super) fn kind(self) -> Kind {
        match (self.0.r#type(), self.0.type_name()) {
            (Type::Message, DURATION) => Kind::Span,
            (Type::Message, TIMESTAMP) => Kind::Moment,
            (Type::Message, name) => Kind::Message(name.trim_start_matches(PACKAGE)),
            (Type::Enum, name) => Kind::Enum(name.trim_start_matches(PACKAGE)),
            (Type::String, _) => Kind::Text,
            (Type::Bool, _) => Kind::Truth,
            (Type::Uint32, _) => Kind::Number { is_wide: false },
            (Type::Uint64, _) => Kind::Number { is_wide: true },
            _ => Kind::Other,
        }
    }
}

/// Whether the ledger's own reader takes this JSON as a message of this name. It has the last word on what a field may
/// hold, so that nothing is refused here that is taken there.
pub(super) fn reads(message: &str, json: &str) -> bool {
    match message {
        "Catalogue" => is_read::<v1::Catalogue>(json),
        "Channel" => is_read::<v1::Channel>(json),
        "Purpose" => is_read::<v1::Purpose>(json),
        "NoticeRule" => is_read::<v1::NoticeRule>(json),
        "NoticeText" => is_read::<v1::NoticeText>(json),
        "NoticeVersion" => is_read::<v1::NoticeVersion>(json),
        "Region" => is_read::<v1::Region>(json),
        "Recipient" => is_read::<v1::Recipient>(json),
        "Acceptance" => is_read::<v1::Acceptance>(json),
        "MinorRule" => is_read::<v1::MinorRule>(json),
        "QuietHours" => is_read::<v1::QuietHours>(json),
        "TcfRule" => is_read::<v1::TcfRule>(json),
        "GppRule" => is_read::<v1::GppRule>(json),
        "RegionalRule" => is_read::<v1::RegionalRule>(json),
        _ => false,
    }
}

fn is_read<T: DeserializeOwned>(json: &str) -> bool {
    // The generated reader can panic on a span that is out of every range.
    catch_unwind(AssertUnwindSafe(|| serde_json::from_str::<T>(json).is_ok())).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_below_a_catalogue_has_its_fields_and_its_reader() {
        let (mut open, mut seen) = (vec!["Catalogue"], Vec::new());
        while let Some(name) = open.pop() {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            assert!(reads(name, "{}"), "`{name}` has no reader");
            let message = message(name).unwrap_or_else(|| panic!("`{name}` is not described"));
            for field in fields(message) {
                match field.kind() {
                    Kind::Message(below) => open.push(below),
                    Kind::Enum(name) => assert!(enumeration(name).is_some(), "`{name}` is not described"),
                    Kind::Other => panic!("`{}` of `{name}` is of a kind that is not known here", field.name()),
                    Kind::Text | Kind::Truth | Kind::Number { .. } | Kind::Span | Kind::Moment => {}
                }
            }
        }
        assert_eq!(seen.len(), 14);
    }
}
