//! From what a person types to the device or session that is meant.

use kinlink_proto::dbus::SESSIONS;
use kinlink_proto::id::SessionId;

use crate::bus::Bus;
use crate::error::{Candidate, Failure};
use crate::model::{Device, Session, short};
use crate::proxy::Options;

/// As few digits of an id as are taken for one. Fewer are too easily a slip.
const PREFIX: usize = 4;

/// Something with an id and a name that people chose.
pub(crate) trait Named {
    /// What it is called in a message.
    const WHAT: &'static str;
    /// The whole id, lower-case hex.
    fn id(&self) -> &str;
    /// The name.
    fn name(&self) -> &str;
    /// Whether it is in use; what is not, yields to what is.
    fn active(&self) -> bool;
    /// What tells it from others of its name.
    fn about(&self) -> String;
}

impl Named for Device {
    const WHAT: &'static str = "device";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn active(&self) -> bool {
        !self.out()
    }

    fn about(&self) -> String {
        format!("{}, {}", self.platform, self.status)
    }
}

impl Named for Session {
    const WHAT: &'static str = "session";

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.title
    }

    fn active(&self) -> bool {
        self.state != "ended"
    }

    fn about(&self) -> String {
        format!("{}, {}", self.app, self.state)
    }
}

/// The one item that `query` names: by its whole id; else by its name or the start of its id, of which
/// several are ambiguous even if one is a name and the other an id, since names are chosen freely.
pub(crate) fn pick<'a, T: Named>(items: &'a [T], query: &str) -> Result<&'a T, Failure> {
    if let Some(item) = items.iter().find(|item| item.id().eq_ignore_ascii_case(query)) {
        return Ok(item);
    }
    let exact = matching(items, query, |name| name == query);
    let found = if exact.is_empty() {
        matching(items, query, |name| name.to_lowercase() == query.to_lowercase())
    } else {
        exact
    };
    let active: Vec<&T> = found.iter().copied().filter(|item| item.active()).collect();
    match (found.as_slice(), active.as_slice()) {
        ([one], _) | (_, [one]) => Ok(*one),
        ([], _) => Err(Failure::NotFound { what: T::WHAT, name: query.to_owned() }),
        _ => Err(ambiguous(&found, query)),
    }
}

fn matching<'a, T: Named>(items: &'a [T], query: &str, named: impl Fn(&str) -> bool) -> Vec<&'a T> {
    let prefix = query.to_ascii_lowercase();
    let by_id = |item: &T| query.len() >= PREFIX && item.id().starts_with(&prefix);
    items.iter().filter(|item| named(item.name()) || by_id(item)).collect()
}

fn ambiguous<T: Named>(found: &[&T], query: &str) -> Failure {
    let candidate =
        |item: &&T| Candidate { id: short(item.id()).to_owned(), name: item.name().to_owned(), about: item.about() };
    let candidates = found.iter().map(candidate).collect();
    Failure::Ambiguous { what: T::WHAT, name: query.to_owned(), candidates }
}

/// The session that `query` names, open or ended, and its path.
pub(crate) async fn session(bus: &Bus, query: &str) -> Result<(Session, String), Failure> {
    let path = |id: &str| format!("{SESSIONS}/{id}");
    // By its whole id it need not be looked for among ten thousand.
    if let Ok(id) = query.parse::<SessionId>()
        && let Ok(session) = bus.session_state(&path(&id.to_string())).await
    {
        return Ok((session, path(&id.to_string())));
    }
    let sessions = bus.sessions(&Options::from([("state", "all".into())])).await?;
    let session = pick(&sessions, query)?.clone();
    let path = path(&session.id);
    Ok((session, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str, name: &str, status: &str) -> Device {
        Device { id: id.to_owned(), name: name.to_owned(), status: status.to_owned(), ..Device::default() }
    }

    fn devices() -> Vec<Device> {
        vec![
            device("aaaa0001", "laptop", "linked"),
            device("aaaa0002", "phone", "linked"),
            device("bbbb0003", "Phone", "linked"),
            device("cccc0004", "tablet", "revoked"),
            device("dddd0005", "tablet", "linked"),
            device("eeee0006", "cccc", "linked"),
        ]
    }

    fn found(query: &str) -> String {
        match pick(&devices(), query) {
            Ok(device) => device.id.clone(),
            Err(Failure::NotFound { .. }) => "none".to_owned(),
            Err(Failure::Ambiguous { candidates, .. }) => format!("{} fit", candidates.len()),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn by_id_name_and_prefix() {
        assert_eq!(found("aaaa0001"), "aaaa0001");
        assert_eq!(found("bbbb"), "bbbb0003");
        assert_eq!(found("laptop"), "aaaa0001");
        assert_eq!(found("LAPTOP"), "aaaa0001");
        assert_eq!(found("bbb"), "none", "three digits are too few");
        assert_eq!(found("lap"), "none", "a name is given whole");
        assert_eq!(found(""), "none");
    }

    #[test]
    fn exact_case_wins_over_similar() {
        assert_eq!(found("phone"), "aaaa0002");
        assert_eq!(found("PHONE"), "2 fit");
    }

    #[test]
    fn what_is_in_use_wins_over_what_is_not() {
        assert_eq!(found("tablet"), "dddd0005");
        assert_eq!(found("cccc0004"), "cccc0004", "by its id it is still found");
    }

    #[test]
    fn an_ambiguous_name_lists_who_fits() {
        assert_eq!(found("aaaa"), "2 fit");
        let failure = pick(&devices(), "PHONE").map(|_| ()).unwrap_err().report();
        assert!(
            failure.message.contains("aaaa0002  phone") && failure.message.contains("bbbb0003  Phone"),
            "{}",
            failure.message
        );
        assert_eq!(failure.exit as u8, 4);
    }

    /// A device must not be able to pass for another by taking the start of its id as a name.
    #[test]
    fn a_name_like_an_id_is_ambiguous() {
        let devices = [device("aaaa0001", "laptop", "linked"), device("eeee0006", "aaaa", "linked")];
        assert!(matches!(pick(&devices, "aaaa"), Err(Failure::Ambiguous { .. })));
    }
}
