//! Properties of the two pure layers: any bytes are a message or an error, encoded messages are decoded unchanged,
//! and the result does not depend on how the byte stream was split into reads.

mod decoder;
mod encode;
mod framing;
