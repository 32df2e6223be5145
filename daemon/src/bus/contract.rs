//! Tables of members: what is not listed is refused, and what is listed is introspected.

use std::fmt::Write;

/// An argument: its name and D-Bus type.
pub(super) type Arg = (&'static str, &'static str);

/// The argument that ends every method.
pub(super) const OPTIONS: Arg = ("options", "a{sv}");

/// A method.
#[derive(Debug)]
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// What goes in.
    pub(super) takes: &'static [Arg],
    /// What comes out.
    pub(super) gives: &'static [Arg],
}

impl Method {
    /// The signature that a call's body must have.
    pub(super) fn signature(&self) -> String {
        self.takes.iter().map(|(_, kind)| *kind).collect()
    }
}

/// Whether and how a property's changes are signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Emits {
    /// With the new value.
    Value,
    /// Not at all.
    Nothing,
    /// It never changes.
    Constant,
}

/// A property.
#[derive(Debug)]
pub(super) struct Property {
    /// Its name.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: &'static str,
    /// Whether it can be set.
    pub(super) writable: bool,
    /// How it signals.
    pub(super) emits: Emits,
}

/// A property that signals its changes.
pub(super) const fn changing(name: &'static str, kind: &'static str) -> Property {
    Property { name, kind, writable: false, emits: Emits::Value }
}

/// A property that never changes.
pub(super) const fn constant(name: &'static str, kind: &'static str) -> Property {
    Property { name, kind, writable: false, emits: Emits::Constant }
}

/// A property that changes without a signal.
pub(super) const fn silent(name: &'static str, kind: &'static str) -> Property {
    Property { name, kind, writable: false, emits: Emits::Nothing }
}

/// An interface.
#[derive(Debug)]
pub(super) struct Interface {
    /// Its name.
    pub(super) name: &'static str,
    /// Its methods.
    pub(super) methods: &'static [Method],
    /// Its signals with their arguments.
    pub(super) signals: &'static [(&'static str, &'static [Arg])],
    /// Its properties.
    pub(super) properties: &'static [Property],
}

impl Interface {
    /// The method called `name`.
    pub(super) fn method(&self, name: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The property called `name`.
    pub(super) fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| property.name == name)
    }

    /// Appends its introspection data.
    pub(super) fn introspect(&self, xml: &mut String) {
        push(xml, format_args!("  <interface name=\"{}\">\n", self.name));
        for method in self.methods {
            push(xml, format_args!("    <method name=\"{}\">\n", method.name));
            args(xml, method.takes, " direction=\"in\"");
            args(xml, method.gives, " direction=\"out\"");
            xml.push_str("    </method>\n");
        }
        for (name, given) in self.signals {
            push(xml, format_args!("    <signal name=\"{name}\">\n"));
            args(xml, given, "");
            xml.push_str("    </signal>\n");
        }
        self.properties.iter().for_each(|it| property(xml, it));
        xml.push_str("  </interface>\n");
    }
}

fn args(xml: &mut String, args: &[Arg], direction: &str) {
    for (name, kind) in args {
        push(xml, format_args!("      <arg name=\"{name}\" type=\"{kind}\"{direction}/>\n"));
    }
}

fn property(xml: &mut String, property: &Property) {
    let Property { name, kind, .. } = property;
    let access = if property.writable { "readwrite" } else { "read" };
    let annotation = match property.emits {
        Emits::Value => {
            return push(xml, format_args!("    <property name=\"{name}\" type=\"{kind}\" access=\"{access}\"/>\n"));
        }
        Emits::Nothing => "false",
        Emits::Constant => "const",
    };
    push(xml, format_args!("    <property name=\"{name}\" type=\"{kind}\" access=\"{access}\">\n"));
    push(
        xml,
        format_args!(
            "      <annotation name=\"org.freedesktop.DBus.Property.EmitsChangedSignal\" value=\"{annotation}\"/>\n"
        ),
    );
    xml.push_str("    </property>\n");
}

/// Writing to a string cannot fail.
fn push(xml: &mut String, text: std::fmt::Arguments<'_>) {
    if xml.write_fmt(text).is_err() {
        tracing::error!("introspection data could not be formatted");
    }
}
