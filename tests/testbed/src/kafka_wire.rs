//! As much of the Kafka protocol as it takes to see that a broker serves and to create a topic. The
//! tools of the distribution could do both, but each of their runs takes seconds of a JVM's start.
//!
//! Source: "Kafka protocol guide", sections "Protocol Primitive Types", Metadata (version 4) and
//! CreateTopics (version 2).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const METADATA: i16 = 3;
const CREATE_TOPICS: i16 = 19;

/// No answer we ask for comes near it.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// How many brokers the cluster has that are registered and not fenced.
pub(crate) fn broker_count(broker: SocketAddr, timeout: Duration) -> io::Result<usize> {
    metadata(broker, timeout, None).map(|found| found.brokers)
}

/// How many partitions of the topic have a leader.
pub(crate) fn partitions_led(broker: SocketAddr, timeout: Duration, topic: &str) -> io::Result<usize> {
    metadata(broker, timeout, Some(topic)).map(|found| found.partitions_led)
}

/// Asks for a topic; the answer is the broker's error code and message where it refuses.
pub(crate) fn create_topic(
    broker: SocketAddr,
    timeout: Duration,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> io::Result<Result<(), String>> {
    let mut request = Request::new(CREATE_TOPICS, 2);
    request.i32(1);
    request.string(topic);
    request.i32(partitions);
    request.i16(1); // replication factor
    request.i32(0); // no assignments by hand
    request.count(configs.len());
    for (name, value) in configs {
        request.string(name);
        request.string(value);
    }
    request.i32(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX));
    request.bytes.push(0); // not only a validation

    let mut response = request.send(broker, timeout)?;
    response.i32()?; // throttle time
    response.i32()?; // one topic
    response.string()?;
    let code = response.i16()?;
    let message = response.string()?;
    if code == 0 {
        return Ok(Ok(()));
    }
    Ok(Err(format!("error {code}: {}", message.unwrap_or_default())))
}

struct Metadata {
    brokers: usize,
    partitions_led: usize,
}

fn metadata(broker: SocketAddr, timeout: Duration, topic: Option<&str>) -> io::Result<Metadata> {
    let mut request = Request::new(METADATA, 4);
    request.count(topic.iter().count());
    if let Some(topic) = topic {
        request.string(topic);
    }
    request.bytes.push(0); // do not create it by asking

    let mut response = request.send(broker, timeout)?;
    response.i32()?; // throttle time
    let brokers = response.count()?;
    for _ in 0..brokers {
        response.i32()?; // node id
        response.string()?; // host
        response.i32()?; // port
        response.string()?; // rack
    }
    response.string()?; // cluster id
    response.i32()?; // controller id
    let mut partitions_led = 0;
    for _ in 0..response.count()? {
        response.i16()?; // error
        response.string()?; // name
        response.take(1)?; // internal
        for _ in 0..response.count()? {
            let error = response.i16()?;
            response.i32()?; // partition
            let leader = response.i32()?;
            partitions_led += usize::from(error == 0 && leader >= 0);
            for _ in 0..2 {
                let nodes = response.count()?; // replicas, then those in sync
                response.take(nodes * 4)?;
            }
        }
    }
    Ok(Metadata { brokers, partitions_led })
}

struct Request {
    bytes: Vec<u8>,
}

impl Request {
    fn new(key: i16, version: i16) -> Self {
        let mut request = Self { bytes: vec![0; 4] };
        request.i16(key);
        request.i16(version);
        request.i32(0); // correlation id: there is one request per connection
        request.string("testbed");
        request
    }

    fn i16(&mut self, value: i16) {
        self.bytes.extend(value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.bytes.extend(value.to_be_bytes());
    }

    fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    /// A text longer than a string of the protocol can be does not fit its length, and is refused there.
    fn string(&mut self, text: &str) {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
        self.bytes.extend(text.as_bytes());
    }

    fn send(mut self, broker: SocketAddr, timeout: Duration) -> io::Result<Response> {
        let length = u32::try_from(self.bytes.len() - 4).map_err(io::Error::other)?;
        self.bytes[..4].copy_from_slice(&length.to_be_bytes());

        let mut stream = TcpStream::connect_timeout(&broker, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.write_all(&self.bytes)?;

        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
        if length > RESPONSE_BYTES_MAX {
            return Err(io::Error::other(format!("an answer of {length} bytes: this is no Kafka broker")));
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes)?;
        let mut response = Response { bytes, position: 0 };
        response.i32()?; // correlation id
        Ok(response)
    }
}

struct Response {
    bytes: Vec<u8>,
    position: usize,
}

impl Response {
    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let end = self.position.saturating_add(count);
        let taken = self
            .bytes
            .get(self.position..end)
            .ok_or_else(|| io::Error::other(format!("the answer ends at byte {}", self.bytes.len())))?;
        self.position = end;
        Ok(taken)
    }

    fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into().map_err(io::Error::other)?))
    }

    fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().map_err(io::Error::other)?))
    }

    fn count(&mut self) -> io::Result<usize> {
        usize::try_from(self.i32()?).or(Ok(0)) // -1 is a null array
    }

    fn string(&mut self) -> io::Result<Option<String>> {
        match usize::try_from(self.i16()?) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(self.take(length)?).into_owned())),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_cut_short_is_an_error() {
        let mut response = Response { bytes: vec![0, 5, b'a'], position: 0 };
        assert!(response.string().is_err());
    }

    #[test]
    fn a_null_string_is_none() {
        let mut response = Response { bytes: vec![0xff, 0xff], position: 0 };
        assert_eq!(response.string().unwrap(), None);
    }
}
