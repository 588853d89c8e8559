//! The types a column may have, and how to read their binary format.

/// The kind of value an event field holds.
#[derive(Clone, Copy)]
pub(crate) enum FieldType {
    Id,
    Text,
    Payload,
    Headers,
    Time,
}

/// Conversion of a type's binary format to the value of an [`Event`](outbox::Event).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueFormat {
    /// The binary format is the text or the bytes themselves.
    Plain,
    /// One version byte, then the JSON text.
    Jsonb,
    Uuid,
    Integer,
    Boolean,
    /// Microseconds since 2000-01-01.
    Timestamp,
}

/// The format of a column with type `type_oid` that is read as `field`, or the accepted types.
///
/// Built-in types have fixed OIDs (PostgreSQL source, `pg_type.dat`); those from 16384 are user-defined. The stream
/// does not describe user-defined types; preflight accepts only those whose binary format is text, such as enums
/// and domains over text.
pub(crate) fn value_format(field: FieldType, type_oid: u32) -> Result<ValueFormat, &'static str> {
    const BOOL: u32 = 16;
    const BYTEA: u32 = 17;
    const NAME: u32 = 19;
    const INT8: u32 = 20;
    const INT2: u32 = 21;
    const INT4: u32 = 23;
    const TEXT: u32 = 25;
    const JSON: u32 = 114;
    const BPCHAR: u32 = 1042;
    const VARCHAR: u32 = 1043;
    const TIMESTAMP: u32 = 1114;
    const TIMESTAMPTZ: u32 = 1184;
    const UUID: u32 = 2950;
    const JSONB: u32 = 3802;
    const USER_DEFINED: u32 = 16_384;
    match (field, type_oid) {
        (FieldType::Id | FieldType::Text, UUID) => Ok(ValueFormat::Uuid),
        (FieldType::Id, _) => Err("uuid"),
        (FieldType::Text, TEXT | VARCHAR | BPCHAR | NAME | USER_DEFINED..) => Ok(ValueFormat::Plain),
        (FieldType::Text, INT2 | INT4 | INT8) => Ok(ValueFormat::Integer),
        (FieldType::Text, BOOL) => Ok(ValueFormat::Boolean),
        (FieldType::Text, _) => Err("text, varchar, an enum, uuid, an integer or boolean"),
        (FieldType::Payload | FieldType::Headers, JSONB) => Ok(ValueFormat::Jsonb),
        (FieldType::Payload | FieldType::Headers, JSON | TEXT | VARCHAR) => Ok(ValueFormat::Plain),
        (FieldType::Payload, BYTEA) => Ok(ValueFormat::Plain),
        (FieldType::Payload, _) => Err("jsonb, json, text, varchar or bytea"),
        (FieldType::Headers, _) => Err("jsonb, json, text or varchar"),
        (FieldType::Time, TIMESTAMP | TIMESTAMPTZ) => Ok(ValueFormat::Timestamp),
        (FieldType::Time, _) => Err("timestamptz"),
    }
}
