use std::sync::OnceLock;

use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod};
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};
use testbed::Postgres;
use tokio_postgres::NoTls;
use tokio_postgres::config::{ChannelBinding, Config, SslMode, SslNegotiation};
use wal_reader::connect;

use crate::support::{shared, within};

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::builder().tls(true).start().expect("a server"))
}

fn config() -> Config {
    let mut config: Config = server().url("postgres").parse().expect("a URL");
    config.ssl_mode(SslMode::Require);
    config
}

fn trusting() -> SslConnectorBuilder {
    let mut builder = SslConnector::builder(SslMethod::tls()).expect("a connector");
    builder.set_ca_file(server().certificate().expect("a certificate")).expect("a certificate");
    builder
}

fn connector(builder: SslConnectorBuilder) -> MakeTlsConnector {
    MakeTlsConnector::new(builder.build())
}

#[tokio::test]
async fn tls_with_channel_binding_gives_a_working_connection() {
    for binding in [ChannelBinding::Require, ChannelBinding::Prefer, ChannelBinding::Disable] {
        let mut config = config();
        config.channel_binding(binding);
        let client = within("a connection", connect(&config, connector(trusting()))).await;
        client.expect("a connection").identify_system().await.expect("an identity");
    }
}

#[tokio::test]
async fn direct_tls_needs_no_asking() {
    if server().version() < 17 {
        return;
    }
    let mut builder = trusting();
    set_postgresql_alpn(&mut builder).expect("the protocol's name");
    let mut config = config();
    config.ssl_negotiation(SslNegotiation::Direct).channel_binding(ChannelBinding::Require);
    let client = within("a connection", connect(&config, connector(builder))).await;
    client.expect("a connection").identify_system().await.expect("an identity");
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_a_definite_error() {
    let untrusting = connector(SslConnector::builder(SslMethod::tls()).expect("a connector"));
    let error = within("an answer", connect(&config(), untrusting)).await.expect_err("nobody vouches for it");
    assert!(!error.is_retryable() && error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn required_tls_that_the_server_does_not_have_is_a_definite_error() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.ssl_mode(SslMode::Require);
    let error =
        within("an answer", connect(&config, connector(trusting()))).await.expect_err("there is no TLS");
    assert!(!error.is_retryable() && error.to_string().contains("ssl = on"), "{error}");
}

#[tokio::test]
async fn preferred_tls_is_left_out_where_either_side_lacks_it() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.ssl_mode(SslMode::Prefer);
    within("a connection", connect(&config, connector(trusting()))).await.expect("the server lacks it");
    let mut config = self::config();
    config.ssl_mode(SslMode::Prefer);
    within("a connection", connect(&config, NoTls)).await.expect("we lack it");
}

#[tokio::test]
async fn required_channel_binding_is_not_given_up_without_tls() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.channel_binding(ChannelBinding::Require);
    let error = within("an answer", connect(&config, NoTls)).await.expect_err("there is nothing to bind to");
    assert!(!error.is_retryable() && error.to_string().contains("channel_binding"), "{error}");
}
