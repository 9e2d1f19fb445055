//! What a machine is: its cores, clocks, caches and memory, without a name of a user or of a host.

mod cores;
mod emulator;
mod system;

use serde::{Deserialize, Serialize};
use skinny::Tier;

use self::system::System;

/// What the system says about a machine. What it does not say is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The board, as its device tree calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `aarch64`, `x86_64`, ...
    pub architecture: String,
    /// `linux`, `macos`, ...
    pub system: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What says that this is a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// What says that another processor pretends to be this one. Then nothing is known about cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emulator: Option<String>,
    /// The kernels that it has, plainest first.
    pub tiers: Vec<String>,
    /// Its kinds of cores.
    #[serde(default)]
    pub cores: Vec<Cores>,
}

/// Cores of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cores {
    /// The numbers by which the system knows them.
    pub numbers: Vec<usize>,
    /// `cortex-a72`, or what an x86 processor calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Arm's codes of the implementer and of the part, as in `0x41` and `0xd08`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub implementer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Variant and revision, as in `r0p3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The lowest and the highest clock that the system sets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mhz_range: Option<[f64; 2]>,
    /// What decides the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// Caches of data, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<Cache>,
}

/// A cache that holds data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    pub level: u32,
    pub bytes: u64,
    /// How many cores share it.
    pub shared_by: usize,
}

/// What changes from one moment to the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The core that this thread ran on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core: Option<usize>,
    /// Its clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mhz: Option<f64>,
    /// The highest temperature that a sensor of the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius: Option<f64>,
}

impl Machine {
    /// The machine that this program runs on.
    pub fn here() -> Self {
        Self::of(&System::here(), std::env::consts::ARCH)
    }

    fn of(system: &System, architecture: &str) -> Self {
        let emulator = emulator::found(system, architecture);
        // Under an emulator, what the system says is about another machine.
        let told = emulator.is_none();
        Self {
            model: system.line("proc/device-tree/model").filter(|_| told),
            architecture: architecture.into(),
            system: std::env::consts::OS.into(),
            memory_bytes: system.memory_bytes().filter(|_| told),
            hypervisor: system.hypervisor().filter(|_| told),
            emulator,
            tiers: Tier::available().iter().map(|tier| tier.name().into()).collect(),
            cores: if told { cores::of(system) } else { Vec::new() },
        }
    }

    /// The state of the core that runs this thread.
    pub fn moment(&self) -> Moment {
        if self.emulator.is_some() { Moment::default() } else { System::here().moment() }
    }

    /// The cores of the same kind as one of them.
    pub fn cores_like(&self, core: usize) -> Option<&Cores> {
        self.cores.iter().find(|cores| cores.numbers.contains(&core))
    }

    /// The bytes of the largest cache, if caches are known.
    pub fn largest_cache(&self) -> Option<u64> {
        self.cores.iter().flat_map(|cores| &cores.caches).map(|cache| cache.bytes).max()
    }

    /// What to call the machine: the board, or the cores that it has most of, or the architecture.
    pub fn name(&self) -> &str {
        let kind = || self.cores.iter().rev().max_by_key(|cores| cores.numbers.len())?.name.as_deref();
        self.model.as_deref().or_else(kind).unwrap_or(&self.architecture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_an_architecture_and_tiers() {
        let machine = Machine::here();
        assert_eq!(machine.architecture, std::env::consts::ARCH);
        assert_eq!(machine.tiers[0], "portable");
        assert!(!machine.name().is_empty());
        // Of another machine nothing is told.
        assert!(machine.emulator.is_none() || (machine.cores.is_empty() && machine.moment() == Moment::default()));
    }

    /// A Raspberry Pi 4, a phone with two kinds of cores, a virtual machine of x86, and a system that says nothing.
    #[test]
    fn machines_are_what_their_files_say() {
        let core =
            |part: &str| format!("CPU implementer : 0x41\nCPU variant : 0x0\nCPU part : {part}\nCPU revision : 3\n");
        let cpuinfo = |parts: &[&str]| -> String {
            parts.iter().enumerate().map(|(i, part)| format!("processor : {i}\n{}\n", core(part))).collect()
        };
        let cpufreq = |i: usize, file: &str| format!("sys/devices/system/cpu/cpu{i}/cpufreq/{file}");
        let cache =
            |i: usize, index: usize, file: &str| format!("sys/devices/system/cpu/cpu{i}/cache/index{index}/{file}");
        let pi = system::tests::fake(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("proc/cpuinfo", &cpuinfo(&["0xd08", "0xd08"])),
            ("proc/meminfo", "MemTotal:        3885396 kB\nMemFree: 1 kB\n"),
            (&cpufreq(0, "cpuinfo_min_freq"), "600000\n"),
            (&cpufreq(0, "cpuinfo_max_freq"), "1800000\n"),
            (&cpufreq(0, "scaling_governor"), "ondemand\n"),
            (&cpufreq(0, "scaling_cur_freq"), "1500000\n"),
            (&cpufreq(1, "cpuinfo_min_freq"), "600000\n"),
            (&cpufreq(1, "cpuinfo_max_freq"), "1800000\n"),
            (&cpufreq(1, "scaling_governor"), "ondemand\n"),
            (&cache(0, 0, "level"), "1\n"),
            (&cache(0, 0, "type"), "Data\n"),
            (&cache(0, 0, "size"), "32K\n"),
            (&cache(0, 0, "shared_cpu_list"), "0\n"),
            (&cache(0, 1, "level"), "2\n"),
            (&cache(0, 1, "type"), "Unified\n"),
            (&cache(0, 1, "size"), "1024K\n"),
            (&cache(0, 1, "shared_cpu_list"), "0-1\n"),
            (&cache(1, 0, "level"), "1\n"),
            (&cache(1, 0, "type"), "Data\n"),
            (&cache(1, 0, "size"), "32K\n"),
            (&cache(1, 0, "shared_cpu_list"), "1\n"),
            (&cache(1, 1, "level"), "2\n"),
            (&cache(1, 1, "type"), "Unified\n"),
            (&cache(1, 1, "size"), "1024K\n"),
            (&cache(1, 1, "shared_cpu_list"), "0-1\n"),
            (
                "proc/thread-self/stat",
                "12 (a) b) R 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0\n",
            ),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ]);
        let machine = Machine::of(&pi.system, "aarch64");
        assert_eq!((machine.name(), machine.memory_bytes), ("Raspberry Pi 4 Model B Rev 1.4", Some(3_885_396 * 1024)));
        assert_eq!(machine.cores.len(), 1, "{:?}", machine.cores);
        let kind = machine.cores_like(1).unwrap();
        assert_eq!((kind.name.as_deref(), kind.revision.as_deref()), (Some("cortex-a72"), Some("r0p3")));
        assert_eq!((kind.mhz_range, kind.governor.as_deref()), (Some([600.0, 1800.0]), Some("ondemand")));
        let level = |level, bytes, shared_by| Cache { level, bytes, shared_by };
        assert_eq!(kind.caches, [level(1, 32 << 10, 1), level(2, 1 << 20, 2)]);
        assert_eq!((machine.largest_cache(), machine.emulator.as_deref()), (Some(1 << 20), None));
        assert_eq!(pi.system.moment(), Moment { core: Some(0), mhz: Some(1500.0), celsius: Some(48.3) });

        let phone = system::tests::fake(&[("proc/cpuinfo", &cpuinfo(&["0xd05", "0xd0b", "0xd05", "0xfff"]))]);
        let machine = Machine::of(&phone.system, "aarch64");
        let kinds: Vec<_> = machine.cores.iter().map(|cores| (cores.name.as_deref(), cores.numbers.clone())).collect();
        assert_eq!(kinds, [(Some("cortex-a55"), vec![0, 2]), (Some("cortex-a76"), vec![1]), (None, vec![3])]);
        assert_eq!(machine.name(), "cortex-a55");

        let x86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.1\nflags\t\t: fpu hypervisor\n";
        let cloud = system::tests::fake(&[("proc/cpuinfo", x86)]);
        let machine = Machine::of(&cloud.system, "x86_64");
        assert_eq!((machine.name(), machine.hypervisor.is_some()), ("AMD EPYC", true));
        assert_eq!((cloud.system.moment().mhz, machine.emulator.as_deref()), (Some(2596.1), None));

        let silent = system::tests::fake(&[]);
        let machine = Machine::of(&silent.system, "riscv64");
        assert_eq!((machine.name(), machine.cores.len(), machine.memory_bytes), ("riscv64", 0, None));
        assert_eq!(silent.system.moment(), Moment::default());

        // What a program for aarch64 sees under qemu-user on x86.
        let machine = Machine::of(&cloud.system, "aarch64");
        assert!(machine.emulator.as_deref().unwrap().contains("another architecture"), "{machine:?}");
        assert_eq!((machine.cores.len(), machine.model, machine.hypervisor), (0, None, None));
    }
}
