//! Copies of `kinlink_proto::link` with one flaw each, for `tests/link_model.rs`: the checker has to find them.
//!
//! A flaw is a passage of the source and what stands there instead. A passage that is not there exactly once, because
//! that source has changed, stops the build: the flaw is to be planted anew.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

include!("tests/link_model/flaws.rs");

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let source = root.join("../proto/src/link");
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed=tests/link_model/flaws.rs");
    let model = root.join("tests/link_model/model/mod.rs");
    let mut modules = String::new();
    for (name, edits) in FLAWS {
        let copy = out.join("link_model").join(name);
        if copy.exists() {
            fs::remove_dir_all(&copy)?;
        }
        copy_tree(&source, &source, &copy, name, edits)?;
        let (link, model) = (copy.join("mod.rs"), &model);
        writeln!(modules, "pub mod {name} {{ #[path = {link:?}] pub mod link; #[path = {model:?}] pub mod model; }}")
            .map_err(io::Error::other)?;
    }
    fs::write(out.join("link_model.rs"), modules)
}

fn copy_tree(root: &Path, from: &Path, to: &Path, name: &str, edits: &[Edit]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().ok_or(io::ErrorKind::NotFound)?);
        if path.is_dir() {
            if path.ends_with("tests") {
                continue;
            }
            copy_tree(root, &path, &target, name, edits)?;
            continue;
        }
        let file = path.strip_prefix(root).map_err(io::Error::other)?;
        let mut text = fs::read_to_string(&path)?;
        for (_, old, new) in edits.iter().filter(|(edited, ..)| Path::new(edited) == file) {
            assert_eq!(
                text.matches(old).count(),
                1,
                "the flaw {name} is to be planted anew in {}: {old}",
                file.display()
            );
            text = text.replace(old, new);
        }
        fs::write(&target, adapt(&text, name))?;
    }
    Ok(())
}

/// The copy is a module of the test: what it uses of the crate that it comes from is that crate's.
fn adapt(text: &str, name: &str) -> String {
    text.replace("#[cfg(test)]\nmod tests;\n", "")
        .replace("crate::link::", "\u{0}")
        .replace("crate::", "kinlink_proto::")
        .replace('\u{0}', &format!("crate::flawed::{name}::link::"))
}
