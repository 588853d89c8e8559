//! TLS towards PostgreSQL, with the meaning libpq gives to its parameters (PostgreSQL documentation, "SSL
//! Support").

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use postgres_openssl::{MakeTlsConnector, set_postgresql_alpn};

use super::source::Source;

/// What is to be known of the server before it is trusted, and what it is shown. It holds a secret, so it
/// has no `Debug`.
#[derive(Default)]
pub(crate) struct TlsOptions {
    pub(crate) verify: Verify,
    pub(crate) root: Option<RootCertificates>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) password: Option<String>,
    /// Without asking the server first, which then expects to hear what protocol follows.
    pub(crate) direct: bool,
}

/// How much of the server's certificate is checked ("Protection Provided in Different Modes").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verify {
    #[default]
    Nothing,
    /// That it was issued by a trusted authority.
    Chain,
    /// That, and that it names the host connected to.
    ChainAndHost,
}

/// Who is trusted to issue the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    File(PathBuf),
    /// The authorities the operating system trusts.
    System,
}

/// The connector; else what is wrong with the certificates, in words without a secret.
pub(crate) fn connector(options: &TlsOptions, source: &Source) -> Result<MakeTlsConnector, String> {
    let failed = |error: ErrorStack| format!("TLS cannot be set up: {error}");
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
    match options.verify {
        Verify::Nothing => {
            builder.set_verify(SslVerifyMode::NONE);
            // The system's authorities, which nobody asks here, take megabytes.
            builder.set_cert_store(X509StoreBuilder::new().map_err(failed)?.build());
        }
        Verify::Chain | Verify::ChainAndHost => {
            builder.set_verify(SslVerifyMode::PEER);
            trust(&mut builder, options, source)?;
        }
    }
    if let (Some(certificate), Some(key)) = (&options.certificate, &options.key) {
        show(&mut builder, certificate, key, options.password.as_deref(), source)?;
    }
    if options.direct {
        set_postgresql_alpn(&mut builder).map_err(failed)?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let verify_host = options.verify == Verify::ChainAndHost;
    connector.set_callback(move |connection, _| {
        connection.set_verify_hostname(verify_host);
        Ok(())
    });
    Ok(connector)
}

/// Trusts the named authorities and, unlike openssl's default, no others.
fn trust(builder: &mut SslConnectorBuilder, options: &TlsOptions, source: &Source) -> Result<(), String> {
    let path = match &options.root {
        Some(RootCertificates::System) => return Ok(()),
        Some(RootCertificates::File(path)) => path.clone(),
        None => {
            let home = source.variables.get(OsStr::new("HOME")).map(PathBuf::from).unwrap_or_default();
            let path = home.join(".postgresql/root.crt");
            if (source.read)(&path).is_err() {
                return Err(format!(
                    "asks to verify the server without saying whom to trust: add sslrootcert=FILE, \
                     sslrootcert=system, or put the authority's certificate in {}",
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

fn show(
    builder: &mut SslConnectorBuilder,
    certificate: &Path,
    key: &Path,
    password: Option<&str>,
    source: &Source,
) -> Result<(), String> {
    let chain = X509::stack_from_pem(&read(certificate, "sslcert", source)?).unwrap_or_default();
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or_else(|| unusable(certificate, "sslcert", "certificate"))?;
    // With no password at all openssl would ask for one on the terminal.
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
    set(builder).map_err(|_| "names an sslkey that does not belong to the certificate in sslcert".to_owned())
}

fn read(path: &Path, parameter: &str, source: &Source) -> Result<Vec<u8>, String> {
    (source.read)(path)
        .map_err(|error| format!("names an {parameter} that cannot be read: {}: {error}", path.display()))
}

fn unusable(path: &Path, parameter: &str, what: &str) -> String {
    format!("names an {parameter} that holds no usable {what} in PEM form: {}", path.display())
}

#[cfg(test)]
mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::Private;
    use openssl::rsa::Rsa;
    use openssl::symm::Cipher;

    use super::super::fixture;
    use super::*;

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
    fn a_client_certificate_goes_with_its_key_and_the_keys_password() {
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
