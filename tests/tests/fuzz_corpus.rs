//! What the fuzzers begin with and once found, run through the same functions without a fuzzer.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]
#![allow(unreachable_pub, dead_code, reason = "a crate of its own for the fuzzers")]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kinlink_proto::key::sha256;

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// `KINLINK_BLESS=1` writes them: what two devices say to one another when they link, write and sync.
#[test]
fn every_target_begins_with_real_bytes() {
    let bless = std::env::var_os("KINLINK_BLESS").is_some();
    for (target, seed) in targets::seeds().into_iter().chain(targets::packets()) {
        if bless {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(corpus(target).join(format!("{:.16}", sha256(&[&seed]).to_string())), &seed).unwrap();
        }
    }
    for (target, _) in targets::TARGETS {
        assert!(fs::read_dir(corpus(target)).is_ok_and(|files| files.count() > 0), "{target} has no corpus");
    }
}

#[test]
fn nothing_of_the_corpus_does_harm() {
    for (target, run) in targets::TARGETS {
        let files: Vec<PathBuf> = fs::read_dir(corpus(target)).unwrap().map(|file| file.unwrap().path()).collect();
        for file in &files {
            println!("{}", file.display());
            run(&fs::read(file).unwrap());
        }
    }
}

#[test]
fn each_target_has_a_program_and_each_program_a_target() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let programs = fs::read_dir(fuzz.join("fuzz_targets")).unwrap();
    let programs: BTreeSet<String> =
        programs.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let named: BTreeSet<String> = targets::TARGETS.iter().map(|(target, _)| (*target).to_owned()).collect();
    assert_eq!(programs, named);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in &named {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in tests/fuzz/Cargo.toml");
    }
}
