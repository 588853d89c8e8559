//! Properties of the two pure layers: any bytes are a message or an error, whatever was sent comes back, and
//! it does not matter how the stream was cut up.

mod decoder;
mod encode;
mod framing;
