//! The table, publication, slot and schema: inspecting, planning, applying and checking them.

pub(crate) mod apply;
pub(crate) mod catalog;
pub(crate) mod inspect;
pub(crate) mod migrations;
pub(crate) mod plan;
#[cfg(test)]
mod plan_tests;
pub(crate) mod preflight;
