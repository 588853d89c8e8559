use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command::{output_of, tail};
use crate::{Error, cache};

/// The supported major versions of PostgreSQL, with the release of each.
///
/// 14.23.0 is the newest release of 14 that exists for both processors.
pub const POSTGRES_VERSIONS: [(u32, &str); 5] =
    [(14, "14.23.0"), (15, "15.19.0"), (16, "16.15.0"), (17, "17.11.0"), (18, "18.6.0")];

/// The default major version of PostgreSQL.
pub const POSTGRES_DEFAULT: u32 = 17;

const KAFKA_POM: &str = include_str!("../assets/kafka-pom.xml");
const LOG4J: &str = include_str!("../assets/log4j2.properties");

/// Names the contents of the pom: a new version in one is a new name here.
const KAFKA_DIRECTORY: &str = "kafka-4.1.0-log4j-2.24.3";

const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// Fetches the programs of a PostgreSQL major version unless they are cached, and returns the directory that
/// contains `bin`. `report` receives a line before each slow step.
///
/// # Errors
/// The version is unknown, a tool is missing, or Maven could not get it.
pub fn fetch_postgres(major: u32, report: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    let Some((_, version)) = POSTGRES_VERSIONS.iter().find(|(known, _)| *known == major) else {
        return Err(Error::Unsupported(format!("PostgreSQL {major} is not one of 14, 15, 16, 17, 18")));
    };
    let processor = match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64v8",
        other => {
            return Err(Error::Unsupported(format!("there is no PostgreSQL for this processor, {other}")));
        }
    };
    cache::provide(&format!("postgresql-{version}"), |dir| {
        report(&format!("fetching PostgreSQL {version} through Maven"));
        let artifact = format!("embedded-postgres-binaries-linux-{processor}");
        output_of(
            maven(&format!("{DEPENDENCY_PLUGIN}:copy"))
                .arg(format!("-Dartifact=io.zonky.test.postgres:{artifact}:{version}:jar"))
                .arg(format!("-DoutputDirectory={}", dir.display())),
        )?;
        report(&format!("unpacking PostgreSQL {version}"));
        let jar = dir.join(format!("{artifact}-{version}.jar"));
        unpack(&jar, dir)?;
        fs::remove_file(&jar).map_err(Error::at("removing", &jar))
    })
}

/// Fetches Kafka and its tools unless they are cached, and returns the directory that contains `libs` and
/// `log4j2.properties`. `report` receives a line before each slow step.
///
/// # Errors
/// A tool is missing, or Maven could not get it.
pub fn fetch_kafka(report: &dyn Fn(&str)) -> Result<PathBuf, Error> {
    cache::provide(KAFKA_DIRECTORY, |dir| {
        report("fetching Kafka 4.1.0 and its tools through Maven (about 95 jars)");
        let pom = dir.join("pom.xml");
        fs::write(&pom, KAFKA_POM).map_err(Error::at("writing", &pom))?;
        let log4j = dir.join("log4j2.properties");
        fs::write(&log4j, LOG4J).map_err(Error::at("writing", &log4j))?;
        output_of(
            maven(&format!("{DEPENDENCY_PLUGIN}:copy-dependencies"))
                .arg("-DincludeScope=runtime")
                .arg(format!("-DoutputDirectory={}", dir.join("libs").display()))
                .arg("-f")
                .arg(&pom),
        )
        .map(drop)
    })
}

/// Reports to standard error, for tests that did not fetch beforehand.
pub(crate) fn report_to_stderr(line: &str) {
    eprintln!("testbed: {line}");
}

fn maven(goal: &str) -> Command {
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "-Dstyle.color=never", goal]);
    maven
}

/// The jar holds one .txz. Static libraries, a third of it, are left out.
fn unpack(jar: &Path, into: &Path) -> Result<(), Error> {
    let mut unzip = Command::new("unzip")
        .arg("-p")
        .arg(jar)
        .arg("*.txz")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::running("unzip"))?;
    let txz = unzip.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let tar = Command::new("tar")
        .args(["-xJ", "--no-same-owner", "--exclude=*.a", "-C"])
        .arg(into)
        .stdin(txz)
        .output()
        .map_err(Error::running("tar"))?;
    let unzipped = unzip.wait().map_err(Error::running("unzip"))?;
    if unzipped.success() && tar.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        what: format!("unpacking {}", jar.display()),
        output: tail(&String::from_utf8_lossy(&tar.stderr), 30),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_directory_names_the_versions_of_the_pom() {
        let of = |name: &str| {
            let (_, rest) = KAFKA_POM.split_once(&format!("<{name}>")).unwrap();
            rest.split_once('<').unwrap().0
        };
        assert_eq!(KAFKA_DIRECTORY, format!("kafka-{}-log4j-{}", of("kafka"), of("log4j")));
    }

    #[test]
    fn releases_belong_to_their_major_versions() {
        for (major, release) in POSTGRES_VERSIONS {
            assert!(release.starts_with(&format!("{major}.")), "{release}");
        }
    }
}
