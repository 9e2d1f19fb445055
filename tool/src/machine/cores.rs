//! The kinds of cores of a machine.

use super::system::System;
use super::{Cache, Cores};

/// Arm's names of its cores, by their parts (arch/arm64/include/asm/cputype.h of Linux).
const ARM: [(&str, &str); 25] = [
    ("0xd03", "cortex-a53"),
    ("0xd04", "cortex-a35"),
    ("0xd05", "cortex-a55"),
    ("0xd07", "cortex-a57"),
    ("0xd08", "cortex-a72"),
    ("0xd09", "cortex-a73"),
    ("0xd0a", "cortex-a75"),
    ("0xd0b", "cortex-a76"),
    ("0xd0c", "neoverse-n1"),
    ("0xd0d", "cortex-a77"),
    ("0xd40", "neoverse-v1"),
    ("0xd41", "cortex-a78"),
    ("0xd42", "cortex-a78ae"),
    ("0xd44", "cortex-x1"),
    ("0xd46", "cortex-a510"),
    ("0xd47", "cortex-a710"),
    ("0xd48", "cortex-x2"),
    ("0xd49", "neoverse-n2"),
    ("0xd4b", "cortex-a78c"),
    ("0xd4d", "cortex-a715"),
    ("0xd4e", "cortex-x3"),
    ("0xd4f", "neoverse-v2"),
    ("0xd80", "cortex-a520"),
    ("0xd81", "cortex-a720"),
    ("0xd82", "cortex-x4"),
];

/// The kinds of cores, in the order of their first numbers.
pub fn of(system: &System) -> Vec<Cores> {
    let mut kinds: Vec<Cores> = Vec::new();
    for (i, entries) in system.processors().iter().enumerate() {
        let entry = |name: &str| entries.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        let number = entry("processor").and_then(|number| number.parse().ok()).unwrap_or(i);
        let core = core(system, number, entry);
        let same = |kind: &&mut Cores| Cores { numbers: core.numbers.clone(), ..(**kind).clone() } == core;
        match kinds.iter_mut().find(same) {
            Some(kind) => kind.numbers.push(number),
            None => kinds.push(core),
        }
    }
    kinds
}

fn core<'e>(system: &System, core: usize, entry: impl Fn(&str) -> Option<&'e str>) -> Cores {
    let text = |name: &str| {
        let text: String = entry(name)?.chars().filter(|c| !c.is_control()).take(100).collect();
        Some(text).filter(|text| !text.is_empty())
    };
    let (implementer, part) = (text("CPU implementer"), text("CPU part"));
    let arm = || {
        let (_, name) = ARM.iter().find(|(code, _)| Some(*code) == part.as_deref())?;
        (implementer.as_deref() == Some("0x41")).then(|| (*name).to_owned())
    };
    let revision = || {
        let variant = u32::from_str_radix(entry("CPU variant")?.strip_prefix("0x")?, 16).ok()?;
        Some(format!("r{variant}p{}", entry("CPU revision")?.parse::<u32>().ok()?))
    };
    let cpufreq = |file: &str| format!("sys/devices/system/cpu/cpu{core}/cpufreq/{file}");
    let mhz = |file: &str| system.number(&cpufreq(file)).map(|khz| khz / 1e3).filter(|mhz| *mhz > 0.0);
    let range = || Some([mhz("cpuinfo_min_freq")?, mhz("cpuinfo_max_freq")?]);
    Cores {
        numbers: vec![core],
        name: arm().or_else(|| text("model name")),
        revision: revision(),
        mhz_range: range(),
        governor: system.line(&cpufreq("scaling_governor")),
        caches: caches(system, core),
        implementer,
        part,
    }
}

fn caches(system: &System, core: usize) -> Vec<Cache> {
    let cache = |index: usize| {
        let of = |file: &str| system.line(&format!("sys/devices/system/cpu/cpu{core}/cache/index{index}/{file}"));
        let level = of("level")?.parse().ok()?;
        let bytes = bytes(&of("size")?)?;
        let data = of("type").is_some_and(|kind| kind != "Instruction");
        data.then(|| Cache {
            level,
            bytes,
            shared_by: of("shared_cpu_list").and_then(|list| length(&list)).unwrap_or(1),
        })
    };
    let mut caches: Vec<Cache> = (0..8).filter_map(cache).collect();
    caches.sort_by_key(|cache| cache.level);
    caches
}

/// A size as in `32K`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['K', 'M']) {
        Some(number) => (number, if text.ends_with('K') { 1 << 10 } else { 1 << 20 }),
        None => (text, 1),
    };
    number.parse::<u64>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// How many numbers a list as in `0-3,8` has.
fn length(list: &str) -> Option<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').try_fold(0usize, |sum, part| sum.checked_add(range(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_read() {
        assert_eq!(
            ["32K", "2M", "64", "0K", "", "xK", "99999999999999999M"].map(bytes),
            [Some(32 << 10), Some(2 << 20), Some(64), None, None, None, None]
        );
        assert_eq!(
            ["0", "0-3", "0-3,8", "3-0", "", "a-b", "0-18446744073709551615"].map(length),
            [Some(1), Some(4), Some(5), None, None, None, None]
        );
    }
}
