//! TLS connections to PostgreSQL, with libpq's parameters (PostgreSQL documentation, "SSL Support").

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};

use crate::config::settings::config_source::ConfigSource;

/// How the server's certificate is verified, and the client certificate. Contains a secret, so it has no `Debug`.
#[derive(Default)]
pub(crate) struct TlsOptions {
    pub(crate) check: CertificateCheck,
    pub(crate) root: Option<RootCertificates>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) password: Option<String>,
    /// `sslnegotiation=direct`: TLS without an SSLRequest message first, which requires ALPN.
    pub(crate) direct: bool,
}

/// How much of the server certificate is verified ("Protection Provided in Different Modes").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CertificateCheck {
    #[default]
    Nothing,
    /// A trusted authority issued it.
    Chain,
    /// A trusted authority issued it, for the host connected to.
    ChainAndHost,
}

/// The trusted certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    File(PathBuf),
    /// Those that the operating system trusts.
    System,
}

/// Reads the certificates and builds the connector.
///
/// # Errors
///
/// A certificate or key that cannot be used. Contains no secret.
pub(crate) fn connector(options: &TlsOptions, source: &ConfigSource) -> Result<MakeTlsConnector, String> {
    let failed = |error: ErrorStack| format!("TLS cannot be set up: {error}");
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    match options.check {
        CertificateCheck::Nothing => {
            builder.set_verify(SslVerifyMode::NONE);
            // The unused system authorities would occupy megabytes.
            builder.set_cert_store(X509StoreBuilder::new().map_err(failed)?.build());
        }
        CertificateCheck::Chain | CertificateCheck::ChainAndHost => {
            builder.set_verify(SslVerifyMode::PEER);
            trust(&mut builder, options, source)?;
        }
    }
    if let (Some(certificate), Some(key)) = (&options.certificate, &options.key) {
        add_client_certificate(&mut builder, certificate, key, options.password.as_deref(), source)?;
    }
    if options.direct {
        set_postgresql_alpn(&mut builder).map_err(failed)?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let verify_host = options.check == CertificateCheck::ChainAndHost;
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify_host);
        Ok(())
    });
    Ok(connector)
}

/// Trusts only the named authorities; openssl's default also trusts the system's.
fn trust(
    builder: &mut SslConnectorBuilder,
    options: &TlsOptions,
    source: &ConfigSource,
) -> Result<(), String> {
    let path = match &options.root {
        Some(RootCertificates::System) => return Ok(()),
        Some(RootCertificates::File(path)) => path.clone(),
        None => {
            let home = source.variables.get(OsStr::new("HOME")).map(PathBuf::from).unwrap_or_default();
            let path = home.join(".postgresql/root.crt");
            if (source.read)(&path).is_err() {
                return Err(format!(
                    "requires a trusted certificate authority: add sslrootcert=FILE or sslrootcert=system, or \
                     put the authority's certificate in {}",
                    path.display()
                ));
            }
            path
        }
    };
    let store = store(&read(&path, "sslrootcert", source)?).ok().flatten();
    builder.set_cert_store(store.ok_or_else(|| unusable(&path, "sslrootcert", "certificate"))?);
    Ok(())
}

fn store(pem: &[u8]) -> Result<Option<X509Store>, ErrorStack> {
    let certificates = X509::stack_from_pem(pem)?;
    let mut store = X509StoreBuilder::new()?;
    let any = !certificates.is_empty();
    for certificate in certificates {
        store.add_cert(certificate)?;
    }
    Ok(any.then(|| store.build()))
}

fn add_client_certificate(
    builder: &mut SslConnectorBuilder,
    certificate: &Path,
    key: &Path,
    password: Option<&str>,
    source: &ConfigSource,
) -> Result<(), String> {
    let chain = X509::stack_from_pem(&read(certificate, "sslcert", source)?).unwrap_or_default();
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or_else(|| unusable(certificate, "sslcert", "certificate"))?;
    // Without a password openssl would prompt for one on the terminal.
    let password = password.unwrap_or_default().as_bytes();
    let private =
        PKey::private_key_from_pem_passphrase(&read(key, "sslkey", source)?, password).map_err(|_| {
            format!("{}, or sslpassword is not its password", unusable(key, "sslkey", "private key"))
        })?;
    let set = |builder: &mut SslConnectorBuilder| {
        builder.set_certificate(&own)?;
        for intermediate in chain {
            builder.add_extra_chain_cert(intermediate)?;
        }
        builder.set_private_key(&private)?;
        builder.check_private_key()
    };
    set(builder).map_err(|_| "has an sslkey that does not belong to the certificate in sslcert".to_owned())
}

fn read(path: &Path, parameter: &str, source: &ConfigSource) -> Result<Vec<u8>, String> {
    (source.read)(path)
        .map_err(|error| format!("has an {parameter} that cannot be read: {}: {error}", path.display()))
}

fn unusable(path: &Path, parameter: &str, what: &str) -> String {
    format!("has an {parameter} without a valid PEM {what}: {}", path.display())
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::Private;
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;

    use super::*;
    use crate::config::fixture;

    fn key() -> PKey<Private> {
        PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()
    }

    fn certificate(key: &PKey<Private>) -> String {
        let mut builder = X509::builder().unwrap();
        builder.set_pubkey(key).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
        builder.sign(key, MessageDigest::sha256()).unwrap();
        String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
    }

    fn result(certificate: &str, key: &[u8], password: Option<&str>) -> Result<(), String> {
        let key = std::str::from_utf8(key).unwrap();
        let source = fixture::source(None, &[], &[("/own.crt", certificate), ("/own.key", key)]);
        let options = TlsOptions {
            certificate: Some(PathBuf::from("/own.crt")),
            key: Some(PathBuf::from("/own.key")),
            password: password.map(str::to_owned),
            ..TlsOptions::default()
        };
        connector(&options, &source).map(drop)
    }

    #[test]
    fn connector_requires_the_key_of_the_certificate_and_its_password() {
        let (own, other) = (key(), key());
        let certificate = certificate(&own);
        let plain = own.private_key_to_pem_pkcs8().unwrap();
        assert_eq!(result(&certificate, &plain, None), Ok(()));
        let locked = own.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"hunter2").unwrap();
        assert_eq!(result(&certificate, &locked, Some("hunter2")), Ok(()));
        for (key, password) in [(&locked, None), (&locked, Some("hunter3")), (&b"no key".to_vec(), None)] {
            let message = result(&certificate, key, password).unwrap_err();
            assert!(message.contains("/own.key") && !message.contains("hunter"), "{message}");
        }
        let foreign = result(&certificate, &other.private_key_to_pem_pkcs8().unwrap(), None).unwrap_err();
        assert!(foreign.contains("does not belong"), "{foreign}");
        let none = result("no certificate", &plain, None).unwrap_err();
        assert!(none.contains("/own.crt"), "{none}");
    }
}
