//! The types a column may have, and how to read their binary format.

use outbox::AcceptedTypes;

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

/// The format of a column with type `type_oid` in a role that accepts `accepts`, or the accepted types. Roles that are
/// not read from the stream have none.
///
/// Built-in types have fixed OIDs (PostgreSQL source, `pg_type.dat`); those from 16384 are user-defined. The stream
/// does not describe user-defined types; preflight accepts only those whose binary format is text, such as enums
/// and domains over text.
pub(crate) fn value_format(accepts: AcceptedTypes, type_oid: u32) -> Result<ValueFormat, &'static str> {
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
    match (accepts, type_oid) {
        (AcceptedTypes::Uuid | AcceptedTypes::Scalar, UUID) => Ok(ValueFormat::Uuid),
        (AcceptedTypes::Uuid, _) => Err("uuid"),
        (AcceptedTypes::Scalar, BPCHAR | NAME) => Ok(ValueFormat::Plain),
        (AcceptedTypes::Scalar | AcceptedTypes::Text, TEXT | VARCHAR | USER_DEFINED..) => {
            Ok(ValueFormat::Plain)
        }
        (AcceptedTypes::Scalar, INT2 | INT4 | INT8) => Ok(ValueFormat::Integer),
        (AcceptedTypes::Scalar, BOOL) => Ok(ValueFormat::Boolean),
        (AcceptedTypes::Scalar, _) => Err("text, varchar, an enum, uuid, an integer or boolean"),
        (AcceptedTypes::Text, _) => Err("text, varchar or an enum"),
        (AcceptedTypes::Payload | AcceptedTypes::Json, JSONB) => Ok(ValueFormat::Jsonb),
        (AcceptedTypes::Payload | AcceptedTypes::Json, JSON | TEXT | VARCHAR) => Ok(ValueFormat::Plain),
        (AcceptedTypes::Payload, BYTEA) => Ok(ValueFormat::Plain),
        (AcceptedTypes::Payload, _) => Err("jsonb, json, text, varchar or bytea"),
        (AcceptedTypes::Json, _) => Err("jsonb, json, text or varchar"),
        (AcceptedTypes::Timestamp, TIMESTAMP | TIMESTAMPTZ) => Ok(ValueFormat::Timestamp),
        (AcceptedTypes::Timestamp, _) => Err("timestamptz"),
        (AcceptedTypes::Integer | AcceptedTypes::Integer4 | AcceptedTypes::Integer8, _) => {
            Err("a role that is not read from the stream")
        }
    }
}
