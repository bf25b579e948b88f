//! Reading the source of the crate: lines that are code, and the paths they name.

use std::fs;
use std::path::Path;

/// One file, by its path in `src/`.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The lines that are code and not tests, numbered. Tests stand at the bottom of a file.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().map(str::trim_start).enumerate();
        let lines = lines.take_while(|(_, line)| !line.starts_with("mod tests {"));
        let code = lines.filter(|(_, line)| !line.starts_with("//"));
        code.map(|(at, line)| (at + 1, line.split(" // ").next().unwrap_or(line)))
    }

    /// `circuit_breaker/params.rs` is `["circuit_breaker", "params"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs");
        let mut module: Vec<_> = path.split('/').collect();
        if matches!(module.last(), Some(&"mod" | &"lib")) {
            module.pop();
        }
        module
    }

    /// The paths into this crate that the code names, with the line.
    pub(crate) fn paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut paths = Vec::new();
        for (at, line) in self.code() {
            for (start, _) in line.match_indices("crate::").chain(line.match_indices("super::")) {
                let before = line[..start].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                    continue; // within a word, or a later `super` of a path that was seen
                }
                let words = line[start..].split("::").map(|word| {
                    let end = word.find(|c: char| !c.is_alphanumeric() && c != '_');
                    (&word[..end.unwrap_or(word.len())], end.is_some())
                });
                let mut path: Vec<String> = Vec::new();
                for (word, is_last) in words {
                    match word {
                        "super" if path.is_empty() => {
                            path = self.module().iter().map(|&word| word.into()).collect();
                            path.pop();
                        }
                        "super" => drop(path.pop()),
                        "crate" | "" => {}
                        word => path.push(word.into()),
                    }
                    if is_last {
                        break;
                    }
                }
                paths.push((at, path));
            }
        }
        paths
    }
}

/// Every file of `src/`.
pub(crate) fn source() -> Vec<File> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&root, &root, &mut files);
    assert!(files.len() > 40, "only {} files were found", files.len());
    files
}

/// Every file of the engines, by its path in `engines/`.
pub(crate) fn engines() -> Vec<File> {
    let mut files = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines");
    read(&root, &root, &mut files);
    assert!(!files.is_empty());
    files
}

fn read(folder: &Path, root: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, root, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(File { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
}
