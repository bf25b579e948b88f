//! What the manifest promises: the oldest compiler, and what is in the package.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const README: &str = include_str!("../../README.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// What cargo knows of the crate and of everything below it, with every feature, on every platform.
fn metadata() -> Value {
    let ask = |more: &[&str]| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut cargo = Command::new(cargo);
        cargo.args(["metadata", "--format-version", "1", "--all-features", "--locked"]).args(more);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
    };
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]); // it may never have fetched what other platforms need
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `1.88` is `1.88.0`.
fn version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// The packages that a user builds, tests of ours left out.
fn of_users(metadata: &Value) -> BTreeSet<&str> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<_, _> =
        nodes.iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![metadata["resolve"]["root"].as_str().unwrap()];
    while let Some(id) = next.pop() {
        if !seen.insert(id) {
            continue;
        }
        for below in nodes[id]["deps"].as_array().unwrap() {
            let kinds = below["dep_kinds"].as_array().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                next.push(below["pkg"].as_str().unwrap());
            }
        }
    }
    seen
}

#[test]
fn nothing_that_a_user_builds_asks_for_a_newer_compiler_than_we_do() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|package| package["name"] == "seawall").unwrap();
    let ours = version(ours["rust_version"].as_str().unwrap());
    let users = of_users(&metadata);
    assert!(users.len() > 50, "{users:?}");
    let newer: Vec<_> = packages
        .iter()
        .filter(|package| users.contains(package["id"].as_str().unwrap()))
        .filter_map(|package| Some((package["id"].as_str()?, package["rust_version"].as_str()?)))
        .filter(|(_, wants)| version(wants) > ours)
        .collect();
    assert!(newer.is_empty(), "they want more than {ours:?}: {newer:?}");
}

/// The value of a key in the first table.
fn said(key: &str) -> &str {
    let line = MANIFEST.lines().find(|line| line.starts_with(&format!("{key} = ")));
    line.unwrap_or_else(|| panic!("{key}")).split('"').nth(1).unwrap()
}

#[test]
fn the_documents_say_what_the_manifest_says() {
    let oldest = format!("Rust {}.", said("rust-version"));
    assert!(README.contains(&oldest), "README.md does not say: {oldest}");
    // It is a placeholder until there is one, so that it is to be changed in two places and no more.
    let repository = format!("{}/issues", said("repository"));
    assert!(README.contains(&repository), "README.md does not lead to {repository}");
}

/// Engines bring dependencies of their own: nobody builds them who does not ask for them.
#[test]
fn engines_are_packages_of_their_own() {
    let metadata = metadata();
    let ours = &metadata["resolve"]["root"];
    assert_eq!(metadata["workspace_default_members"], Value::Array(vec![ours.clone()]));
    let members = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let engines: Vec<_> = packages
        .iter()
        .filter(|package| members.contains(&package["id"]) && package["id"] != *ours)
        .collect();
    assert!(!engines.is_empty());
    for engine in engines {
        let name = engine["name"].as_str().unwrap();
        assert!(!of_users(&metadata).contains(engine["id"].as_str().unwrap()), "{name}");
        let below = engine["dependencies"].as_array().unwrap();
        let seawall =
            below.iter().find(|below| below["name"] == "seawall" && below["kind"].is_null());
        let seawall = seawall.unwrap_or_else(|| panic!("{name} is not for seawall"));
        assert_eq!(
            seawall["req"],
            format!("^{}", said("version")),
            "{name}: the version of the crate beside it"
        );
        let wants = version(engine["rust_version"].as_str().unwrap());
        assert!(wants >= version(said("rust-version")), "{name}: the crate below needs more");
        for file in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            let folder =
                std::path::Path::new(engine["manifest_path"].as_str().unwrap()).parent().unwrap();
            assert!(folder.join(file).exists(), "{name} has no {file}");
        }
        let home = format!("https://docs.rs/{name}");
        assert!(README.contains(&home), "README.md does not lead to {home}");
    }
}

/// What is left out of the package could not be linked to from the pages of docs.rs.
#[test]
fn the_package_holds_what_the_documents_lead_to() {
    const PACKAGED: &str = "https://docs.rs/crate/seawall/latest/source/";
    let lib = include_str!("../../src/lib.rs");
    let include = MANIFEST.lines().find(|line| line.starts_with("include = ")).unwrap();
    let mut links = 0;
    for line in lib.lines() {
        let Some((_, path)) = line.split_once(PACKAGED) else { continue };
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        assert!(file.exists(), "{path} is not there");
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let pattern = match (folder, name) {
            ("", name) if name.split_once(".md").is_some() => "/*.md".to_owned(),
            ("", name) => format!("/{}-*", name.split('-').next().unwrap()),
            (folder, _) => format!("/{folder}/**"),
        };
        assert!(include.contains(&format!("\"{pattern}\"")), "{path} is not in the package");
        links += 1;
    }
    assert!(links > 10, "{links}");
}
