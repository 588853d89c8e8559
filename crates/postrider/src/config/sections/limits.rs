//! `[limits]`: how much may be in flight between the WAL and the confirmed flush LSN.

use outbox::InFlightLimits;

use crate::config::keys;
use crate::config::settings::values::Settings;

/// Reads the section.
pub(crate) fn read(settings: &mut Settings) -> Option<InFlightLimits> {
    let events_max = settings.value(&keys::IN_FLIGHT_EVENTS);
    let bytes_max = settings.value(&keys::IN_FLIGHT_BYTES);
    Some(InFlightLimits { events_max: events_max?, bytes_max: bytes_max? })
}
