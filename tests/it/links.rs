//! Every link of the documentation leads somewhere, as rustdoc renders it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of this build.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned() // target/debug/deps/it-…
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    files.chain(folders.iter().flat_map(|folder| self::files(folder, extension))).collect()
}

fn changed(path: &Path) -> SystemTime {
    path.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What is rendered is made of these.
fn last_change() -> SystemTime {
    let sources = [files(&root().join("src"), "rs"), files(&root().join("docs"), "md")].concat();
    let more = ["README.md", "Cargo.toml"].map(|path| root().join(path));
    sources.iter().chain(&more).map(|path| changed(path)).max().unwrap()
}

/// The pages: those of the last `cargo doc` with all features if nothing has changed since, else new
/// ones.
fn pages() -> PathBuf {
    let docs = target().join("doc/seawall");
    // Written last, and the last of the features to be looked for.
    let whole = ["grpc", "http", "reqwest", "testing"].iter().all(|wing| docs.join(wing).exists());
    if whole && changed(&docs.join("index.html")) >= last_change() {
        return docs;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["doc", "--no-deps", "--all-features", "--offline", "--quiet", "--target-dir"]);
    let output = cargo.arg(target()).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    docs
}

/// The values of an attribute.
fn values<'a>(html: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let start = format!("{attribute}=\"");
    let mut rest = html;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&start)?;
        let (value, after) = after.split_once('"')?;
        rest = after;
        Some(value)
    })
}

/// What a browser makes of `path` on a page in `folder`.
fn resolve(folder: &Path, path: &str) -> PathBuf {
    let mut resolved = folder.to_owned();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                resolved.pop();
            }
            part => resolved.push(part),
        }
    }
    resolved
}

/// Where these links of a page lead to that is not there.
fn dead<'a>(
    page: &Path,
    links: impl Iterator<Item = &'a str>,
    anchors: &mut BTreeMap<PathBuf, BTreeSet<String>>,
) -> Vec<String> {
    let mut dead = Vec::new();
    for link in links.filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let there = match path {
            "" => page.to_owned(),
            path => resolve(page.parent().unwrap(), path),
        };
        if !there.is_file() {
            dead.push(format!("{}: {link}", page.display()));
            continue;
        }
        // Lines of sources, and places that a script opens, are no anchors of the page.
        let is_source = there.components().any(|part| part.as_os_str() == "src");
        if anchor.is_empty() || is_source {
            continue;
        }
        let known = anchors.entry(there.clone()).or_insert_with(|| {
            let html = std::fs::read_to_string(&there).unwrap();
            values(&html, " id").map(str::to_owned).collect()
        });
        if !known.contains(anchor) {
            dead.push(format!("{}: {link}", page.display()));
        }
    }
    dead
}

// field: publish. Ten links of the front page and thirteen of the guides led nowhere on docs.rs.
#[test]
fn every_link_of_every_page_leads_somewhere() {
    let docs = pages();
    let (mut anchors, mut found, mut links) = (BTreeMap::new(), Vec::new(), 0);
    for page in files(&docs, "html") {
        let html = std::fs::read_to_string(&page).unwrap();
        // The text; what stands around it is rustdoc's, and what other crates say of their own traits
        // is theirs.
        let text = html.split_once("<main>").map_or(&*html, |(_, text)| text);
        let text = text.split_once("id=\"blanket-implementations\"").map_or(text, |(ours, _)| ours);
        links += values(text, " href").count();
        found.extend(dead(&page, values(text, " href"), &mut anchors));
    }
    assert!(links > 1_000, "{links}: these are no pages");
    assert!(found.is_empty(), "{} dead links:\n{}", found.len(), found.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let page = root().join("README.md"); // any file
    let find = |link: &str| dead(&page, std::iter::once(link), &mut BTreeMap::new()).len();
    for alive in ["https://docs.rs", "Cargo.toml", "src/../Cargo.toml", "src/lib.rs#1-9"] {
        assert_eq!(find(alive), 0, "{alive}");
    }
    for dead in ["nowhere.html", "src", "src/nowhere.rs", "#nowhere", "Cargo.toml#nowhere"] {
        assert_eq!(find(dead), 1, "{dead}");
    }
}
