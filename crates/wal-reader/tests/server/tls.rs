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

fn trusting_builder() -> SslConnectorBuilder {
    let mut builder = SslConnector::builder(SslMethod::tls()).expect("a connector");
    builder.set_ca_file(server().certificate().expect("a certificate")).expect("a certificate");
    builder
}

fn connector(builder: SslConnectorBuilder) -> MakeTlsConnector {
    MakeTlsConnector::new(builder.build())
}

#[tokio::test]
async fn connect_supports_tls_with_and_without_channel_binding() {
    for binding in [ChannelBinding::Require, ChannelBinding::Prefer, ChannelBinding::Disable] {
        let mut config = config();
        config.channel_binding(binding);
        let client = within("a connection", connect(&config, connector(trusting_builder()))).await;
        client.expect("a connection").identify_system().await.expect("an identity");
    }
}

#[tokio::test]
async fn connect_supports_direct_tls() {
    if server().version() < 17 {
        return;
    }
    let mut builder = trusting_builder();
    set_postgresql_alpn(&mut builder).expect("the ALPN protocol");
    let mut config = config();
    config.ssl_negotiation(SslNegotiation::Direct).channel_binding(ChannelBinding::Require);
    let client = within("a connection", connect(&config, connector(builder))).await;
    client.expect("a connection").identify_system().await.expect("an identity");
}

#[tokio::test]
async fn untrusted_certificate_is_not_retryable() {
    let untrusting = connector(SslConnector::builder(SslMethod::tls()).expect("a connector"));
    let error = within("an answer", connect(&config(), untrusting))
        .await
        .expect_err("the certificate is not trusted");
    assert!(!error.is_retryable() && error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn require_without_server_tls_is_not_retryable() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.ssl_mode(SslMode::Require);
    let error = within("an answer", connect(&config, connector(trusting_builder())))
        .await
        .expect_err("the server has no TLS");
    assert!(!error.is_retryable() && error.to_string().contains("ssl = on"), "{error}");
}

#[tokio::test]
async fn prefer_falls_back_without_tls_on_either_side() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.ssl_mode(SslMode::Prefer);
    within("a connection", connect(&config, connector(trusting_builder())))
        .await
        .expect("the server has no TLS");
    let mut config = self::config();
    config.ssl_mode(SslMode::Prefer);
    within("a connection", connect(&config, NoTls)).await.expect("the client has no TLS");
}

#[tokio::test]
async fn channel_binding_require_fails_without_tls() {
    let mut config: Config = shared().url("postgres").parse().expect("a URL");
    config.channel_binding(ChannelBinding::Require);
    let error = within("an answer", connect(&config, NoTls)).await.expect_err("there is no channel binding");
    assert!(!error.is_retryable() && error.to_string().contains("channel_binding"), "{error}");
}
