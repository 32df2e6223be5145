//! `kinctl session`: the verbs on one session, a file each.

mod changes;
mod end;
mod get;
mod ls;
mod new;
mod put;
mod rm;
mod watch;

use clap::Subcommand;
use data_encoding::BASE64;
use serde_json::{Map, Value, json};

use super::Ctx;
use crate::error::Failure;
use crate::proxy::Options;

/// Make, read, write, watch and end a session
///
/// A session is given by its id, the start of its id, or its title.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    New(new::Args),
    Put(put::Args),
    Get(get::Args),
    Ls(ls::Args),
    Rm(rm::Args),
    Changes(changes::Args),
    Watch(watch::Args),
    End(end::Args),
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    match args.verb {
        Verb::New(args) => new::run(ctx, args).await,
        Verb::Put(args) => put::run(ctx, args).await,
        Verb::Get(args) => get::run(ctx, args).await,
        Verb::Ls(args) => ls::run(ctx, args).await,
        Verb::Rm(args) => rm::run(ctx, args).await,
        Verb::Changes(args) => changes::run(ctx, args).await,
        Verb::Watch(args) => watch::run(ctx, args).await,
        Verb::End(args) => end::run(ctx, args).await,
    }
}

/// `{"done": true}` with `--json`; else nothing, since there is nothing to say.
fn done(ctx: &Ctx<'_>) -> Result<(), Failure> {
    if ctx.out.json { ctx.out.json(&json!({"done": true})) } else { Ok(()) }
}

/// The options of a write: its condition, if there is one.
fn condition(version: Option<&str>) -> Options<'_> {
    version.map(|version| ("if-version", version.into())).into_iter().collect()
}

/// Puts `value` into `object`: as "value" if it is text, else as "value_base64".
fn insert_value(object: &mut Map<String, Value>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) => object.insert("value".to_owned(), text.into()),
        Err(_) => object.insert("value_base64".to_owned(), BASE64.encode(value).into()),
    };
}

/// `value` on a line of a terminal: text made safe and cut, or how many bytes it has.
fn brief(value: &[u8]) -> String {
    const CHARS: usize = 120;
    match std::str::from_utf8(value) {
        Ok(text) if text.chars().count() <= CHARS => crate::output::visible(text),
        Ok(text) => format!(
            "{}… ({} bytes)",
            crate::output::visible(&text.chars().take(CHARS).collect::<String>()),
            value.len()
        ),
        Err(_) => format!("({} bytes)", value.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_text_or_base64() {
        let json = |value: &[u8]| {
            let mut object = Map::new();
            insert_value(&mut object, value);
            Value::from(object).to_string()
        };
        assert_eq!(json(b"on"), r#"{"value":"on"}"#);
        assert_eq!(json(&[0xff, 0]), r#"{"value_base64":"/wA="}"#);
    }

    #[test]
    fn long_and_binary_values_stay_on_one_line() {
        assert_eq!(brief(b"a\nb"), "a\\u{a}b");
        assert_eq!(brief(&[0xff; 9]), "(9 bytes)");
        assert!(brief(&[b'x'; 500]).ends_with("… (500 bytes)"));
    }
}
