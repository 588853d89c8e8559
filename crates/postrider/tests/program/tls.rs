//! What `sslmode` and its companions let through, as libpq does.

use testbed::Postgres;

use crate::postrider::{Place, Run, postgres};

/// Connects over TCP to the shared server, under the host's name, with further parameters.
fn connect(host: &str, parameters: &str) -> Run {
    let (port, password) = (postgres().port(), postgres().password());
    let text = format!(
        "host={host} hostaddr=127.0.0.1 port={port} user=postgres password={password} dbname=postgres {parameters}"
    );
    Place::for_url(&text).run(&["init", "--dry-run"])
}

fn root() -> String {
    format!("sslrootcert={}", postgres().certificate().unwrap().display())
}

#[test]
fn without_verification_any_certificate_will_do() {
    for parameters in ["", "sslmode=disable", "sslmode=prefer", "sslmode=require", "sslmode=allow"] {
        let run = connect("elsewhere.example", parameters);
        assert_eq!(run.code, Some(0), "{parameters}: {}", run.err);
    }
}

#[test]
fn verify_ca_asks_who_issued_the_certificate_and_not_for_whom() {
    for mode in ["sslmode=verify-ca", "sslmode=require", ""] {
        let run = connect("elsewhere.example", &format!("{mode} {}", root()));
        assert_eq!(run.code, Some(0), "{mode}: {}", run.err);
    }
}

#[test]
fn verify_full_asks_for_the_host_too() {
    for host in ["localhost", "127.0.0.1"] {
        let run = connect(host, &format!("sslmode=verify-full {}", root()));
        assert_eq!(run.code, Some(0), "{host}: {}", run.err);
    }
    let run = connect("elsewhere.example", &format!("sslmode=verify-full {}", root()));
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("certificate") && run.err.contains("sslmode"), "{}", run.err);
}

#[test]
fn an_authority_that_was_not_named_is_not_trusted() {
    let run = connect("localhost", "sslrootcert=system");
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("certificate"), "{}", run.err);
}

#[test]
fn verification_without_an_authority_is_a_bad_configuration() {
    for (parameters, expected) in [
        ("sslmode=verify-full", "requires a trusted certificate authority"),
        ("sslmode=verify-ca sslrootcert=/absent.crt", "sslrootcert that cannot be read: /absent.crt"),
        ("sslmode=verify-ca sslrootcert=/dev/null", "sslrootcert without a valid PEM certificate"),
        ("sslmode=require sslrootcert=system", "requires sslmode=verify-full"),
        ("sslmode=require sslcert=/absent.crt", "only one of sslcert and sslkey"),
        ("sslmode=verify", "expected disable, prefer, require, verify-ca or verify-full"),
    ] {
        let run = connect("localhost", parameters);
        assert_eq!(run.code, Some(64), "{parameters}: {}", run.err);
        assert!(run.err.contains(expected), "{parameters}: {}", run.err);
    }
}

#[test]
fn require_refuses_a_server_without_tls() {
    let plain = Postgres::start().unwrap();
    let run =
        Place::for_url(&format!("{}?sslmode=require", plain.url("postgres"))).run(&["init", "--dry-run"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("TLS"), "{}", run.err);
    let run = Place::for_url(&plain.url("postgres")).run(&["init", "--dry-run"]);
    assert_eq!(run.code, Some(0), "{}", run.err);
}
