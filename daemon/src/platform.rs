//! What this machine is called and what it runs on.

/// The host name up to its first dot, as this device's first name.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().filter(|name| !name.is_empty()).unwrap_or("linux").to_owned()
}

/// The distribution and the architecture, such as `Debian GNU/Linux 12 x86_64`.
#[must_use]
pub fn platform() -> String {
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let arch = std::env::consts::ARCH;
    match release.as_deref().and_then(distribution) {
        Some(name) => format!("{name} {arch}"),
        None => format!("Linux {arch}"),
    }
}

/// `NAME` and `VERSION_ID` of os-release(5).
fn distribution(release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(|c| c == '"' || c == '\'').to_owned())
    };
    let name = value("NAME")?;
    Some(match value("VERSION_ID") {
        Some(version) => format!("{name} {version}"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_is_read_from_os_release() {
        let text = "PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        assert_eq!(distribution(text).as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(distribution("NAME=Arch\n").as_deref(), Some("Arch"));
        assert_eq!(distribution(""), None);
    }
}
