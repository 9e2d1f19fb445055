//! Signs that an emulator runs this program. Times are then those of the emulator.

use super::system::System;

/// What the names of emulators of programs begin with.
const NAMES: [&str; 4] = ["qemu-", "box64", "FEX", "rosetta"];

/// A sign of an emulator, if there is one.
///
/// qemu's user mode answers for `/proc/self` in the program's place, but not for `/proc/thread-self` (in version 7.2), and it
/// passes on the host's `/proc/cpuinfo`, at least where host and program differ in their architecture. A machine that is
/// emulated as a whole shows neither sign.
pub fn found(system: &System, architecture: &str) -> Option<String> {
    let program = system.link("proc/thread-self/exe");
    let name = program.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    if let Some(emulator) = name.and_then(|name| NAMES.into_iter().find(|begin| name.starts_with(begin))) {
        return Some(format!("the program that runs begins with `{emulator}`"));
    }
    let processors = system.processors();
    let entry = |name: &str| processors.iter().flatten().any(|(found, _)| found == name);
    let (x86, arm) = (entry("vendor_id"), entry("CPU implementer"));
    let other = match architecture {
        "aarch64" | "arm" => x86 && !arm,
        "x86_64" | "x86" => arm && !x86,
        _ => false,
    };
    other.then(|| format!("/proc/cpuinfo is of another architecture than {architecture}"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::machine::system::tests::fake;

    #[test]
    fn an_emulator_is_seen_by_its_name_or_by_the_other_processor() {
        let arm = "processor : 0\nCPU implementer : 0x41\nCPU part : 0xd08\n";
        let run_by = |program: &str, architecture: &str| {
            let fake = fake(&[("proc/cpuinfo", arm), ("proc/thread-self/x", "")]);
            std::os::unix::fs::symlink(program, fake.path("proc/thread-self/exe")).unwrap();
            found(&fake.system, architecture)
        };
        assert_eq!(run_by("/home/someone/bin/skinny", "aarch64"), None);
        let sign = run_by("/home/someone/bin/qemu-aarch64-static", "aarch64").unwrap();
        assert!(sign.contains("qemu-") && !sign.contains("someone"), "{sign}");
        assert!(run_by("/usr/bin/skinny", "x86_64").unwrap().contains("another architecture"));
        assert_eq!(run_by("/usr/bin/skinny", "riscv64"), None);
    }
}
