//! What the documents say of the source is true.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use seawall::{bulkhead, circuit_breaker, health, retry, timeout};

const README: &str = include_str!("../../README.md");
const PITFALLS: &str = include_str!("../../docs/pitfalls.md");
const SECURITY: &str = include_str!("../../docs/security.md");
const CHANGELOG: &str = include_str!("../../CHANGELOG.md");
/// The pictures as rustdoc shows them.
const EMBEDDED: &str = "docs/img/embedded.txt";
/// Set to any value, it makes the test write that file instead of comparing it.
const WRITE: &str = "SEAWALL_IMG_WRITE";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The classes of pitfalls that the comments of a file name.
fn classes(text: &str) -> BTreeSet<&str> {
    let marks = text.lines().filter_map(|line| line.split_once("pitfall").map(|(_, marks)| marks));
    let words = marks.flat_map(|marks| marks.split(|c: char| !c.is_alphanumeric()));
    let is_class =
        |word: &&str| word.strip_prefix('B').is_some_and(|number| number.parse::<u8>().is_ok());
    words.filter(is_class).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension));
    files.chain(folders.iter().flat_map(|folder| self::files(folder, extension))).collect()
}

#[test]
fn every_test_that_is_said_to_fence_a_pitfall_names_it() {
    let (by_class, _) = PITFALLS.split_once("## Not named").unwrap();
    let mut fenced = BTreeSet::new();
    for row in by_class.lines().filter(|line| line.starts_with("| B")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [class, _, places] = cells[..] else { panic!("three cells: {row}") };
        assert!(quoted(places).count() > 0, "{row}");
        for path in quoted(places) {
            assert!(classes(&read(path)).contains(class), "{path} does not name pitfall {class}");
        }
        fenced.insert(class);
    }
    let all =
        files(&root().join("src"), "rs").into_iter().chain(files(&root().join("tests"), "rs"));
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        for class in classes(&text) {
            assert!(
                fenced.contains(class),
                "{} names {class}, docs/pitfalls.md does not",
                path.display()
            );
        }
    }
}

/// Whether a file has a test of this name.
fn has_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else { return false };
    // Attributes and comments stand between the mark of a test and its name.
    let above = before.lines().rev().map(str::trim);
    let above = above.skip_while(|line| ["", "async"].contains(line));
    above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).any(|line| {
        ["#[test]", "#[tokio::test]", "#[tokio::test("].iter().any(|mark| line.starts_with(mark))
    })
}

#[test]
fn every_claim_about_security_is_held_by_a_test() {
    let mut held = 0;
    for row in SECURITY.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [claim, _, tests] = cells[..] else { panic!("three cells: {row}") };
        let tests: Vec<_> = quoted(tests).filter(|words| words.contains("::")).collect();
        for test in &tests {
            let (path, name) = test.split_once("::").unwrap();
            assert!(has_test(&read(path), name), "{claim:?}: there is no test {test}");
        }
        held += usize::from(!tests.is_empty());
    }
    let (_, claims) = SECURITY.split_once("## A dependency").unwrap();
    let rows = claims.lines().filter(|line| line.starts_with("| "));
    let claims = rows.filter(|row| !row.starts_with("| claim |") && !row.starts_with("| --- |"));
    assert_eq!(held, claims.count(), "a claim without a test");
    assert!(held > 25, "{held}");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut all = files(&root().join("docs"), "md");
    all.extend(
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|p| root().join(p)),
    );
    for document in all {
        let text = std::fs::read_to_string(&document).unwrap();
        let inline = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let inline = inline.map(|(target, _)| target);
        let defined = text.lines().filter(|line| line.starts_with('['));
        let defined = defined.filter_map(|line| line.split_once("]: ")).map(|(_, target)| target);
        for target in inline.chain(defined).filter(|target| !target.contains("://")) {
            let path = document.parent().unwrap().join(target);
            assert!(path.exists(), "{}: {target}", document.display());
        }
    }
}

#[test]
fn the_defaults_in_the_readme_are_the_defaults() {
    let row = |layer: &str| {
        let start = format!("| [`{layer}`]");
        README.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{layer}"))
    };
    let says = |layer, words: String| {
        assert!(row(layer).contains(&words), "{layer}: not {words:?} in {:?}", row(layer));
    };
    let backoff = retry::Backoff::default();
    says("retry", format!("{} attempts", retry::Config::default().attempts));
    says(
        "retry",
        format!("{:?}, doubling to {:?}, with full jitter", backoff.base, backoff.cap)
            .replace("ms", " ms")
            .replace("1s", "1 s"),
    );
    assert_eq!(backoff.factor, 2);
    assert_eq!(backoff.jitter, retry::Jitter::Full);
    let budget = retry::BudgetConfig::default();
    says("retry", format!("pays for {} retries", budget.per_success / budget.price));
    let percent = |ratio: f64| format!("{} %", ratio * 100.0);
    let breaker = circuit_breaker::Config::default();
    let [circuit_breaker::TripRule::Evidence { tolerated, broken, .. }] = *breaker.trip.rules()
    else {
        panic!("{:?}", breaker.trip)
    };
    says(
        "circuit_breaker",
        format!("fit a {} error rate better than {}", percent(broken), percent(tolerated)),
    );
    let millis = |time: std::time::Duration| format!("{} ms", time.as_millis());
    let (rest, cap) = (breaker.break_duration, breaker.max_break_duration);
    says("circuit_breaker", format!("stays open {} to {}", millis(rest), millis(cap)));
    says("bulkhead", format!("{} calls, and no queue", bulkhead::Config::default().limit));
    assert_eq!(bulkhead::Config::default().queue, 0);
    says("timeout", format!("{} s from the builder", timeout::Config::default().limit.as_secs()));
    let health = health::Config::default();
    says("health", format!("every {} s", health.interval.as_secs()));
    says("health", format!("after {} failures, up after {} successes", health.fall, health.rise));
}

#[test]
fn the_readme_and_the_changelog_know_every_layer() {
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.join("layer.rs").exists() {
            assert!(README.contains(&format!("| [`{name}`][{name}] |")), "README.md: {name}");
            assert!(CHANGELOG.contains(&format!("- **{name}**")), "CHANGELOG.md: {name}");
        }
    }
}

/// GitHub shows the files, rustdoc copies none: its pages have the same pictures as data URLs.
#[test]
fn rustdoc_shows_the_pictures_that_the_repository_shows() {
    let mut pictures = files(&root().join("docs/img"), "svg");
    pictures.sort();
    let lines = pictures.iter().map(|path| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        format!(
            "[img-{name}]: data:image/svg+xml;base64,{}\n",
            base64(&std::fs::read(path).unwrap())
        )
    });
    let now: String = lines.collect();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(root().join(EMBEDDED), &now).unwrap();
    }
    assert!(now.lines().count() >= 3, "the pictures are gone");
    assert!(read(EMBEDDED) == now, "a picture has changed: run this test with {WRITE}=1");
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit > three.len() { '=' } else { char::from(DIGITS[index]) });
        }
    }
    text
}

#[test]
fn base64_is_that_of_rfc_4648() {
    let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
    for (plain, encoded) in pairs {
        assert_eq!(base64(plain.as_bytes()), encoded);
    }
}
