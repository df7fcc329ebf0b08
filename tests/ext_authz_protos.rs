//! The trimmed copy in `proto/` is of the Envoy that the tests start: every name and number against the descriptors that
//! its binary holds.

#![allow(clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

#[path = "support/envoy.rs"]
mod envoy;
#[path = "support/sidecar.rs"]
mod sidecar;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

fn proto() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto")
}

/// The executable itself: what stands on the path is a script that starts it.
fn executable() -> Vec<u8> {
    let program = envoy::binary();
    let lib = program.parent().and_then(Path::parent).expect("an environment").join("lib");
    let mut pythons = fs::read_dir(&lib).expect("a folder").flatten().map(|entry| entry.path());
    let found = pythons.find_map(|python| {
        let file = python.join("site-packages/envoy/_bin/envoy");
        file.is_file().then_some(file)
    });
    fs::read(found.unwrap_or_else(|| panic!("no Envoy below {}", lib.display()))).expect("read")
}

/// A file's descriptor as it lies in the executable: field after field, of which nothing says where they end.
fn find(executable: &[u8], name: &str) -> FileDescriptorProto {
    let length = u8::try_from(name.len()).expect("short");
    let pattern = [&[10, length], name.as_bytes(), &[18]].concat();
    let start = executable.windows(pattern.len()).position(|window| window == pattern);
    let rest = &executable[start.unwrap_or_else(|| panic!("`{name}` is not in it"))..];
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(next) = after_field(&rest[at..]).map(|length| at + length).filter(|next| *next <= rest.len()) {
        // The name, which comes first, comes once.
        if at > 0 && rest[at] == 10 {
            break;
        }
        ends.push(next);
        at = next;
    }
    let decoded = ends.iter().rev().find_map(|end| FileDescriptorProto::decode(&rest[..*end]).ok());
    decoded.unwrap_or_else(|| panic!("`{name}` cannot be read"))
}

/// The length of a field of a file's descriptor, if there is one.
fn after_field(mut bytes: &[u8]) -> Option<usize> {
    let whole = bytes.len();
    let tag = prost::encoding::decode_varint(&mut bytes).ok()?;
    let value = prost::encoding::decode_varint(&mut bytes).ok()?;
    if !(1..=14).contains(&(tag >> 3)) {
        return None;
    }
    let length = match tag & 7 {
        0 => 0,
        2 => usize::try_from(value).ok()?,
        _ => return None,
    };
    Some(whole - bytes.len() + length)
}

fn compare(own: &DescriptorProto, upstream: &[DescriptorProto], fields: &mut usize) {
    let name = own.name();
    let theirs = upstream.iter().find(|message| message.name() == name);
    let theirs = theirs.unwrap_or_else(|| panic!("upstream has no `{name}`"));
    for field in &own.field {
        let same = theirs.field.iter().find(|other| other.name() == field.name());
        let same = same.unwrap_or_else(|| panic!("upstream has no `{name}.{}`", field.name()));
        let of_oneof = |message: &DescriptorProto, index: Option<i32>| {
            index.map(|index| message.oneof_decl[usize::try_from(index).expect("small")].name().to_owned())
        };
        assert_eq!(
            (field.number(), field.r#type(), field.label(), field.type_name(), of_oneof(own, field.oneof_index)),
            (same.number(), same.r#type(), same.label(), same.type_name(), of_oneof(theirs, same.oneof_index)),
            "{name}.{}",
            field.name()
        );
        *fields += 1;
    }
    for nested in &own.nested_type {
        compare(nested, &theirs.nested_type, fields);
    }
    for own in &own.enum_type {
        compare_enum(own, &theirs.enum_type);
    }
}

fn compare_enum(own: &EnumDescriptorProto, upstream: &[EnumDescriptorProto]) {
    let theirs = upstream.iter().find(|other| other.name() == own.name()).expect("an enum");
    for value in &own.value {
        let same = theirs.value.iter().find(|other| other.name() == value.name()).expect("a value");
        assert_eq!(value.number(), same.number(), "{}", value.name());
    }
}

#[test]
fn every_name_and_number_is_envoys() {
    let own = protox::compile(["envoy/service/auth/v3/external_auth.proto"], [proto()]).expect("compiles");
    let executable = executable();
    let (mut files, mut fields) = (0, 0);
    for file in own.file.iter().filter(|file| !file.name().starts_with("google/protobuf/")) {
        let upstream = find(&executable, file.name());
        assert_eq!(file.package(), upstream.package());
        for message in &file.message_type {
            compare(message, &upstream.message_type, &mut fields);
        }
        for own in &file.enum_type {
            compare_enum(own, &upstream.enum_type);
        }
        for service in &file.service {
            let theirs = upstream.service.iter().find(|other| other.name() == service.name()).expect("a service");
            for method in &service.method {
                let same = theirs.method.iter().find(|other| other.name() == method.name()).expect("a method");
                assert_eq!((method.input_type(), method.output_type()), (same.input_type(), same.output_type()));
            }
        }
        files += 1;
    }
    assert!(files == 5 && fields > 25, "{fields} fields of {files} files were compared");
}

#[test]
fn every_file_names_the_revision_that_it_is_of() {
    let output = Command::new(envoy::binary()).arg("--version").output().expect("it runs");
    let version = String::from_utf8(output.stdout).expect("text");
    let (_, version) = version.split_once("version: ").expect("a version");
    let mut parts = version.split('/');
    let (revision, release) = (parts.next().expect("a revision"), parts.next().expect("a release"));
    let mut count = 0;
    for file in sidecar::files(&proto()).iter().filter(|file| !file.starts_with(proto().join("consent"))) {
        let text = fs::read_to_string(file).expect("text");
        for wanted in [revision, &format!("(v{release})"), "Apache License 2.0", "Changed: "] {
            assert!(text.contains(wanted), "{} does not say `{wanted}`", file.display());
        }
        count += 1;
    }
    assert_eq!(count, 5);
}
