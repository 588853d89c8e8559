//! Crates depend on each other in one direction only, and files import from modules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// The crates that make up the product: everything in `crates/`.
const PRODUCT_CRATES: [&str; 6] =
    ["kafka-sink", "outbox", "outbox-store", "postrider", "reconciler", "wal-reader"];

/// The dependencies of each package of the workspace, without dev-dependencies.
fn dependencies() -> Dependencies {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let of_package = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list");
        all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    let packages = metadata["packages"].as_array().expect("a list");
    packages.iter().map(|package| (name(package), of_package(package))).collect()
}

fn assert_only(dependencies: &Dependencies, package: &str, allowed: &[&str]) {
    let members: BTreeSet<&str> = dependencies.keys().map(String::as_str).collect();
    for dependency in &dependencies[package] {
        let external = !members.contains(dependency.as_str());
        assert!(external || allowed.contains(&dependency.as_str()), "{package} depends on {dependency}");
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let dependencies = dependencies();
    assert_only(&dependencies, "outbox", &[]);
    assert_only(&dependencies, "wal-reader", &["outbox"]);
    assert_only(&dependencies, "outbox-store", &["outbox"]);
    assert_only(&dependencies, "kafka-sink", &["outbox", "outbox-store"]);
    assert_only(&dependencies, "reconciler", &["outbox", "outbox-store"]);
    let libraries = ["outbox", "outbox-store", "wal-reader", "kafka-sink", "reconciler"];
    assert_only(&dependencies, "postrider", &libraries);
    assert_only(&dependencies, "shop", &[]);
    assert_only(&dependencies, "testbed", &[]);
    assert_only(&dependencies, "demo", &["shop", "testbed"]);
}

#[test]
fn crates_lack_the_clients_of_other_layers() {
    let dependencies = dependencies();
    let forbidden = [
        ("outbox", &["tokio", "tokio-postgres", "postgres-protocol", "rdkafka", "tracing"][..]),
        ("wal-reader", &["rdkafka"]),
        ("outbox-store", &["rdkafka", "postgres-protocol"]),
        ("kafka-sink", &["postgres-protocol"]),
        ("reconciler", &["rdkafka", "postgres-protocol"]),
        ("postrider", &["postgres-protocol"]),
    ];
    for (package, excluded) in forbidden {
        for dependency in excluded {
            assert!(!dependencies[package].contains(*dependency), "{package} depends on {dependency}");
        }
    }
}

fn crates_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("crates")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn crates_folder_holds_product_crates_only() {
    let directories = entries(&crates_dir()).into_iter().filter(|path| path.is_dir());
    let names: Vec<_> = directories.map(|path| path.file_name().expect("a name").to_owned()).collect();
    assert_eq!(names, PRODUCT_CRATES);
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let (directories, files): (Vec<_>, Vec<_>) =
        entries(directory).into_iter().partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(directories.iter().flat_map(|directory| source_files(directory))).collect()
}

fn without_comments(source: &str) -> String {
    source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn leading_identifier(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The modules that a `lib.rs` declares.
fn modules(lib: &str) -> BTreeSet<&str> {
    let declared = lib.lines().filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("mod ").or_else(|| line.strip_prefix("pub(crate) mod ")).map(leading_identifier)
    });
    declared.collect()
}

/// The first segments of all paths that begin with `crate::`, groups in braces included.
fn crate_path_heads(source: &str) -> Vec<&str> {
    let mut heads = Vec::new();
    for (at, prefix) in source.match_indices("crate::") {
        let path = &source[at + prefix.len()..];
        let Some(group) = path.strip_prefix('{') else {
            heads.push(leading_identifier(path));
            continue;
        };
        let mut depth = 0_usize;
        let mut start = 0;
        for (index, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    heads.push(leading_identifier(group[start..index].trim()));
                    start = index + 1;
                    if c == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

#[test]
fn crate_path_heads_include_grouped_and_nested_paths() {
    let source =
        "use crate::ledger::Ledger;\nuse crate::{Event, table::{Column, Row}, lsn::Lsn};\ncrate::run();";
    assert_eq!(crate_path_heads(source), ["ledger", "Event", "table", "lsn", "run"]);
}

/// The re-exports of `lib.rs` (`crate::Name`) are for other crates.
#[test]
fn files_import_from_modules_and_not_through_their_own_lib_rs() {
    let mut violations = Vec::new();
    for name in PRODUCT_CRATES {
        let root = crates_dir().join(name).join("src");
        let read = |path: &Path| fs::read_to_string(path).expect("a source file");
        let lib = read(&root.join("lib.rs"));
        let modules = modules(&lib);
        for file in source_files(&root) {
            let source = without_comments(&read(&file));
            let heads = crate_path_heads(&source).into_iter().filter(|head| !modules.contains(head));
            violations.extend(heads.map(|head| format!("{}: crate::{head}", file.display())));
        }
    }
    assert!(violations.is_empty(), "import from the module instead:\n{}", violations.join("\n"));
}
