//! Against real servers: every test has a database, a publication and a slot of its own on a server that all
//! share, and those that break their server one of their own.

mod connecting;
mod ending;
mod feedback;
mod refusals;
mod streaming;
mod support;
mod tls;
