//! Attributes as OTLP has them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

/// A text.
pub(super) fn text(key: &str, value: impl Into<String>) -> KeyValue {
    attribute(key, Value::StringValue(value.into()))
}

/// Several texts.
pub(super) fn texts<'a>(key: &str, values: impl Iterator<Item = &'a str>) -> KeyValue {
    let wrap = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    attribute(key, Value::ArrayValue(ArrayValue { values: values.map(wrap).collect() }))
}

/// A count.
pub(super) fn count(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A number with a fraction.
pub(super) fn number(key: &str, value: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
