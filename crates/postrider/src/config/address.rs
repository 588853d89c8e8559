//! Host names, broker addresses and topic names.

use std::net::Ipv6Addr;

/// `host:port` or `[IPv6 address]:port`.
pub(crate) fn is_broker(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => Some(host).filter(|host| is_host_name(host)),
    };
    host.is_some() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Letters, digits, dots, hyphens, and the underscores that container networks use.
pub(crate) fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// Kafka's rule for topic names (`org.apache.kafka.common.internals.Topic`).
pub(crate) fn is_topic(name: &str) -> bool {
    const BYTES_MAX: usize = 249;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed) && name != "." && name != ".."
}
