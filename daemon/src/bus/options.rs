//! `a{sv}`: options that are taken one by one, so that what is left over is unknown.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;

use kinlink_proto::dbus::Error as Name;
use zbus::{Fd, Variant};

use super::error::Failure;

/// The options of a call.
#[derive(Debug)]
pub(super) struct Options<'m>(pub(super) BTreeMap<String, Variant<'m>>);

impl<'m> Options<'m> {
    /// A text of at most `max` bytes.
    pub(super) fn text(&mut self, name: &str, max: usize) -> Result<Option<String>, Failure> {
        let Some(value) = self.take::<String>(name, "text (s)")? else { return Ok(None) };
        bounded(name, &value, max)?;
        Ok(Some(value))
    }

    /// Some of `known` names, as a place of each: all of them unless given.
    pub(super) fn among<const N: usize>(&mut self, name: &str, known: [&str; N]) -> Result<[bool; N], Failure> {
        let Some(given) = self.take::<Vec<String>>(name, "a list of texts (as)")? else { return Ok([true; N]) };
        if let Some(unknown) = given.iter().find(|one| !known.contains(&one.as_str())) {
            return Err(Failure::argument(format!("{name}: there is none called '{}'", shown(unknown))));
        }
        Ok(known.map(|one| given.iter().any(|name| name == one)))
    }

    /// A switch; off unless given.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        Ok(self.take(name, "a boolean (b)")?.unwrap_or_default())
    }

    /// A small number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<u32>, Failure> {
        self.take(name, "a number (u)")
    }

    /// A time.
    pub(super) fn time(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.take(name, "a time in milliseconds (t)")
    }

    /// An open file.
    pub(super) fn file(&mut self, name: &str) -> Result<Option<File>, Failure> {
        let descriptor = self.take::<Fd<'m>>(name, "an open file (h)")?;
        let owned = descriptor.map(|fd| fd.as_fd().try_clone_to_owned());
        Ok(owned.transpose().map_err(Failure::internal)?.map(File::from))
    }

    /// An identifier.
    pub(super) fn id<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let text = self.take::<String>(name, "an id (s)")?;
        let parsed = text.map(|text| text.parse::<T>());
        parsed.transpose().map_err(|error| Failure::argument(format!("{name}: {error}")))
    }

    /// Refuses what nobody took: an option that is ignored would promise what does not happen.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Failure::new(Name::InvalidOption, format!("this method has no option '{}'", shown(&name))))
            }
        }
    }

    fn take<T: TryFrom<Variant<'m>>>(&mut self, name: &str, kind: &str) -> Result<Option<T>, Failure> {
        let value = self.0.remove(name).map(T::try_from).transpose();
        value.map_err(|_| Failure::new(Name::InvalidOption, format!("the option '{name}' takes {kind}")))
    }
}

/// Refuses a text longer than `max` bytes.
pub(super) fn bounded(what: &str, text: &str, max: usize) -> Result<(), Failure> {
    if text.len() > max {
        return Err(Failure::new(Name::TooLarge, format!("{what}: at most {max} bytes, this has {}", text.len())));
    }
    Ok(())
}

/// At most so much of a name as fits a message for people.
fn shown(name: &str) -> String {
    kinlink_proto::names::clean(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options<const N: usize>(given: [(&str, Variant<'static>); N]) -> Options<'static> {
        Options(given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    #[test]
    fn what_is_not_taken_is_refused_by_name() {
        let mut given = options([("timeout", 60_u32.into()), ("tiemout", 60_u32.into())]);
        assert_eq!(given.number("timeout"), Ok(Some(60)));
        let failure = given.finish().unwrap_err();
        assert_eq!(failure.name, Name::InvalidOption.name());
        assert!(failure.message.contains("'tiemout'"), "{}", failure.message);
    }

    #[test]
    fn names_are_those_that_are_known() {
        let given =
            |names: &[&'static str]| options([("properties", names.to_vec().into())]).among("properties", ["A", "B"]);
        assert_eq!(given(&["B"]), Ok([false, true]));
        assert_eq!(given(&[]), Ok([false, false]));
        assert_eq!(given(&["A", "C"]).unwrap_err().name, Name::InvalidArgument.name());
        assert_eq!(options([]).among("properties", ["A", "B"]), Ok([true, true]));
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_a_long_text_too() {
        assert_eq!(options([("timeout", "60".into())]).number("timeout").unwrap_err().name, Name::InvalidOption.name());
        assert_eq!(options([("name", "abcd".into())]).text("name", 3).unwrap_err().name, Name::TooLarge.name());
        assert_eq!(options([("name", "abc".into())]).text("name", 3), Ok(Some("abc".to_owned())));
    }
}
